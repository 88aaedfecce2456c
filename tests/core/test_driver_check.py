"""DriverCheck, rule by rule: what a driver does wrong is said, and what looks like it and is right is not."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from evertoken import (
    BlockKind,
    Challenge,
    ClientCredentials,
    HttpResponse,
    LocalProtocolError,
    Policy,
    SendRequest,
    Snapshot,
    TokenMachine,
    TokenRequest,
    Wait,
    mangopay,
)
from evertoken.testing import BrokenRule, DriverCheck, DriverRule

GRANT = mangopay.sandbox("shop", "the-secret-key")
BANK = mangopay.sandbox("bank", "another-secret")
POLICY = Policy(refresh_jitter_share=0.0)
BAD_TOKEN = HttpResponse(401, [], b'{"Type": "invalid_credentials"}')
LOCKED = HttpResponse(400, [], b'{"error": "unauthorized_client"}')


class Simulation:
    """A clock, a check, and a driver whose every move is made by hand."""

    def __init__(self, *, snapshots: bool = True, grace: float = 1.0) -> None:
        self.now = 1_000.0
        self.check = DriverCheck(lambda: self.now, grace=grace, snapshots=snapshots)
        self.machine = self.made()
        self.issued = 0

    def made(self, grant: ClientCredentials = GRANT) -> TokenMachine:
        return self.check.machine_class(grant, policy=POLICY, draw=random.Random(7).random)

    def claim(self) -> TokenRequest:
        return self.machine.start_request(self.now)

    def sent(self) -> TokenRequest:
        request = self.claim()
        self.check.sent(request)
        return request

    def grant(self, request: TokenRequest) -> None:
        self.check.answered(request)
        self.machine.receive_response(self.now, request, self.token())

    def token(self) -> HttpResponse:
        self.issued += 1
        body = {"access_token": f"hidden-{self.issued}", "token_type": "bearer", "expires_in": 1_200}
        return HttpResponse(200, [], json.dumps(body).encode())

    def header(self) -> str:
        header = self.machine.authorization(self.now)
        assert header is not None
        return header

    @property
    def rules(self) -> list[DriverRule]:
        return [breach.rule for breach in self.check.end()]


@pytest.fixture
def run() -> Simulation:
    return Simulation()


@pytest.fixture
def served(run: Simulation) -> Simulation:
    run.grant(run.sent())
    run.now += 10
    return run


def only(run: Simulation, rule: DriverRule) -> BrokenRule:
    (breach,) = run.check.end()
    assert breach.rule is rule
    assert repr(breach) == f"<{breach}>"
    assert "hidden" not in str(breach)
    assert "secret" not in str(breach)
    return breach


def test_a_right_driver_is_told_nothing(served: Simulation) -> None:
    served.check.api_call(served.header())
    served.check.api_answer(served.header(), HttpResponse(200))
    served.machine.token_worked(served.now, served.header())
    served.now += 1_160
    request = served.sent()
    served.check.failed(request)
    served.machine.send_failed(served.now, request, "reset")
    assert not served.rules
    assert served.check.broken == ()


# Requests
# --------


def test_a_claim_against_poll_is_said_though_the_machine_refuses_it(run: Simulation) -> None:
    run.sent()
    with pytest.raises(LocalProtocolError):
        run.claim()
    assert "wait (response)" in only(run, DriverRule.ALLOWED).did


def test_a_request_of_nobodys_is_not_to_be_sent(run: Simulation) -> None:
    run.check.sent(TokenRequest(1, "POST", "https://api.example", (), b"", 2_000.0))
    only(run, DriverRule.CLAIMED)


def test_a_request_is_not_to_be_sent_once_its_outcome_has_been_told(run: Simulation) -> None:
    request = run.claim()
    run.machine.request_abandoned(run.now, request)
    run.check.sent(request)
    assert "after its outcome had been told at 1000 s" in only(run, DriverRule.CLAIMED).did


def test_a_request_is_sent_once(run: Simulation) -> None:
    run.check.sent(run.sent())
    only(run, DriverRule.SENT_ONCE)


def test_on_a_network_of_bytes_what_is_sent_is_the_latest_claim(served: Simulation) -> None:
    neighbour = served.made(BANK)
    request = neighbour.start_request(served.now)
    with served.check.exchange():
        served.now += 1
    neighbour.receive_response(served.now, request, served.token())
    assert not served.rules
    served.check.sent()
    only(served, DriverRule.SENT_ONCE)


def test_before_any_claim_nothing_is_to_be_sent(run: Simulation) -> None:
    run.check.sent()
    only(run, DriverRule.CLAIMED)


def test_a_request_is_sent_before_its_deadline(run: Simulation) -> None:
    request = run.claim()
    run.now += 10.5
    assert not run.rules
    run.now += 1.5
    run.check.sent(request)
    assert {breach.did for breach in run.check.end()} == {
        "token request 1 was claimed at 1000 s, and neither sent nor given up until its deadline"
    }
    late = Simulation()
    request = late.claim()
    late.now += 11
    late.check.sent(request)
    assert only(late, DriverRule.IN_TIME).did == (
        "token request 1 was sent, which was claimed at 1000 s and had until 1010 s"
    )


# What came of them
# -----------------


def failed(run: Simulation) -> None:
    run.check.failed(run.sent())


def answered(run: Simulation) -> None:
    run.check.answered(run.sent())


@pytest.mark.parametrize(("bring", "what"), [(failed, "a failure"), (answered, "an answer")])
def test_what_the_network_brings_is_told(run: Simulation, bring: Callable[[Simulation], None], what: str) -> None:
    bring(run)
    run.now += 1
    assert not run.rules
    run.now += 1
    assert f"came to {what} at 1000 s" in only(run, DriverRule.TOLD).did


def test_an_exchange_that_raises_has_failed_and_one_that_is_cancelled_brings_nothing(run: Simulation) -> None:
    with pytest.raises(ConnectionError), run.check.exchange(run.claim()):
        raise ConnectionError
    run.now += 2
    assert "a failure" in only(run, DriverRule.TOLD).did
    other = Simulation()
    with pytest.raises(KeyboardInterrupt), other.check.exchange(other.claim()):
        raise KeyboardInterrupt
    other.now += 2
    assert not other.rules


def test_every_answer_that_the_network_doubles_may_be_told(run: Simulation) -> None:
    request = run.sent()
    run.grant(run_twice := request)
    run.grant(run_twice)
    assert not run.rules


def test_a_failure_at_a_timeout_of_ones_own_is_the_end_of_the_request(run: Simulation) -> None:
    request = run.sent()
    run.now += 3
    run.machine.send_failed(run.now, request, "timed out")
    run.now += 1
    assert not run.rules
    run.grant(request)
    assert "and a failure at 1003 s before" in only(run, DriverRule.ONE_OUTCOME).did


def test_an_answer_after_the_deadline_may_be_told_too(run: Simulation) -> None:
    request = run.sent()
    run.now += 10
    run.machine.send_failed(run.now, request, "timed out")
    run.now += 3
    run.grant(request)
    assert not run.rules


def test_an_answer_is_not_told_as_a_failure(run: Simulation) -> None:
    request = run.sent()
    run.check.answered(request)
    run.machine.send_failed(run.now, request, "429")
    assert "came to an answer, and a failure was told" in only(run, DriverRule.AS_IT_CAME).did


def test_a_request_that_was_postponed_was_given_up_and_is_told_once(run: Simulation) -> None:
    request = run.claim()
    run.machine.request_postponed(run.now, request, run.now + 3)
    assert not run.rules
    run.machine.request_postponed(run.now, request, run.now + 3)
    only(run, DriverRule.ONE_OUTCOME)


def test_whoever_is_cancelled_gives_up_whatever_came(run: Simulation) -> None:
    request = run.sent()
    run.check.answered(request)
    run.machine.request_abandoned(run.now, request)
    assert not run.rules


def test_an_answer_is_told_to_its_own_machine(run: Simulation) -> None:
    request, neighbour = run.sent(), run.made(BANK)
    with pytest.raises(LocalProtocolError):
        neighbour.receive_response(run.now, request, run.token())
    only(run, DriverRule.OWN_MACHINE)


# The clock and the callers
# -------------------------


def test_a_clock_that_is_set_back_is_seen_and_one_that_is_read_out_of_order_is_forgiven(served: Simulation) -> None:
    served.machine.poll(served.now)
    served.machine.poll(served.now - 0.75)
    assert not served.rules
    served.machine.poll(served.now - 60)
    assert "it is 950 s, after it had been told 1010 s" in only(served, DriverRule.CLOCK).did


def test_callers_who_come_and_go_are_seen_by_what_they_ask(served: Simulation) -> None:
    served.now += 1_180
    for _ in range(3):
        served.now += 1
        assert not served.rules
        served.machine.authorization(served.now)
    assert "from 2191 s on" in only(served, DriverRule.ASKED_FOR).did


def test_a_caller_at_the_same_moment_is_no_further_one_and_a_claim_or_a_wait_ends_the_row(run: Simulation) -> None:
    for _ in range(5):
        assert run.machine.authorization(run.now) is None
    run.sent()
    for _ in range(5):
        run.now += 1
        assert run.machine.authorization(run.now) is None
    assert not run.rules


def test_whoever_waits_while_a_request_may_be_started_is_seen(run: Simulation) -> None:
    assert isinstance(run.machine.poll(run.now), SendRequest)
    with run.check.caller():
        run.now += 0.5
        assert not run.rules
        run.now += 1.5
    assert "from 1000 s on" in only(run, DriverRule.ASKED_FOR).did


def test_a_timer_that_is_forgotten_is_seen_from_the_moment_that_poll_gave(run: Simulation) -> None:
    request = run.sent()
    run.check.failed(request)
    run.machine.send_failed(run.now, request, "reset")
    action = run.machine.poll(run.now)
    assert isinstance(action, Wait)
    with run.check.caller():
        run.now += 0.25
        assert not run.rules
        run.now = action.until + 1
        assert not run.rules
        run.now += 0.1
    assert f"from {action.until:.3f}".rstrip("0") in only(run, DriverRule.ASKED_FOR).did


def test_a_request_that_nobody_reports_is_asked_for_again_after_its_loss(run: Simulation) -> None:
    run.sent()
    with run.check.caller(run.machine):
        run.now += 60
    only(run, DriverRule.ASKED_FOR)


def test_a_caller_of_a_machine_that_was_never_asked_is_not_judged(run: Simulation) -> None:
    with run.check.caller():
        run.now += 60
    assert not run.rules


def test_whoever_can_be_served_is_served(served: Simulation) -> None:
    with served.check.caller():
        served.now += 2
    assert "since 1010 s" in only(served, DriverRule.SERVED).did


def test_whoever_needs_more_life_than_there_is_may_wait_for_it(served: Simulation) -> None:
    served.now += 1_000
    with served.check.caller(min_ttl=500):
        served.now += 2
    assert not served.rules


def test_a_host_that_slept_owes_what_fell_due_from_its_waking_on(run: Simulation) -> None:
    with run.check.caller():
        failed(run)
        run.now += 5_000
        run.check.resumed()
        run.now += 1
        assert not run.rules
        run.now += 1
    assert run.rules == [DriverRule.TOLD, DriverRule.ASKED_FOR]


# Processes
# ---------


def restored(run: Simulation, snapshot: Snapshot, elapsed: float) -> None:
    text = snapshot.to_json()
    run.machine = run.check.machine_class.restore(
        GRANT, Snapshot.from_json(text), 5.0, elapsed, policy=POLICY, draw=lambda: 0.5
    )


def test_a_process_owes_nothing_when_it_has_ended_and_goes_on_from_its_snapshot(served: Simulation) -> None:
    snapshot = served.machine.snapshot(served.now, secrets=True)
    served.now += 1_300
    failed(served)
    served.check.crashed()
    served.now += 600
    restored(served, snapshot, 1_900)
    assert served.machine.authorization(5.0) is None
    assert not served.rules


def test_what_comes_for_a_process_that_has_ended_is_nobodys(served: Simulation) -> None:
    snapshot = served.machine.snapshot(served.now)
    served.now += 1_300
    request = served.sent()
    served.check.crashed()
    restored(served, snapshot, 1_300)
    served.check.answered(request)
    served.now += 5
    assert not served.rules
    with pytest.raises(LocalProtocolError):
        served.machine.receive_response(10.0, request, served.token())
    only(served, DriverRule.OWN_MACHINE)


def test_a_snapshot_is_as_old_as_it_is(served: Simulation) -> None:
    snapshot = served.machine.snapshot(served.now)
    served.check.crashed()
    served.now += 600
    restored(served, snapshot, 0)
    assert only(served, DriverRule.ELAPSED).did == (
        "a snapshot of 1010 s was restored with 0 s as elapsed, and 600 s had passed"
    )


def test_a_snapshot_of_elsewhere_may_be_of_any_age(served: Simulation) -> None:
    snapshot = served.machine.fork().snapshot(served.now)
    served.check.crashed()
    restored(served, snapshot, 0)
    assert not served.rules


def test_a_new_machine_after_a_crash_is_seen(served: Simulation) -> None:
    served.check.crashed()
    served.made()
    assert "after the process had ended" in only(served, DriverRule.SNAPSHOT).did


def test_a_second_machine_beside_the_first_is_seen_and_ends_what_the_first_one_owed(run: Simulation) -> None:
    failed(run)
    run.made()
    run.now += 10
    assert "beside the one there is" in only(run, DriverRule.SNAPSHOT).did


def test_a_new_machine_is_right_where_there_is_no_snapshot_any_more() -> None:
    for run, lost in (Simulation(snapshots=False), False), (Simulation(), True):
        run.check.crashed(lost=lost)
        run.check.crashed(lost=lost)
        run.made()
        run.made(BANK)
        assert not run.rules


# What a token is used for
# ------------------------


def test_a_header_that_the_machine_would_not_hand_out_is_seen(served: Simulation) -> None:
    header = served.header()
    served.check.api_call(header)
    served.now += 1_195
    assert not served.rules
    served.check.api_call(header)
    assert "handed out at 1010 s, and would not now" in only(served, DriverRule.HEADER).did


def test_a_header_from_nowhere_is_seen(run: Simulation) -> None:
    run.check.api_call("Bearer hidden")
    assert "no machine of this process ever handed out" in only(run, DriverRule.HEADER).did


def test_only_the_latest_headers_are_remembered(run: Simulation) -> None:
    first = ""
    for _ in range(70):
        run.grant(run.sent())
        first = first or run.header()
        assert run.header()
        run.now += 1_199
    run.check.api_call(first)
    assert "ever handed out" in only(run, DriverRule.HEADER).did


def test_a_401_about_the_token_in_hand_is_told(served: Simulation) -> None:
    served.check.api_answer(served.header(), BAD_TOKEN)
    served.now += 2
    assert "answered 401 at 1010 s" in only(served, DriverRule.REJECTED).did


def test_a_401_about_an_older_token_need_not_be_told(served: Simulation) -> None:
    served.check.api_answer("Bearer of-yesterday", BAD_TOKEN)
    served.now += 2
    assert not served.rules


def test_what_the_machine_is_told_is_what_the_api_said(served: Simulation) -> None:
    served.check.api_answer(served.header(), HttpResponse(401))
    served.machine.token_rejected(served.now, served.header(), Challenge.UNKNOWN)
    assert not served.rules
    served.machine.token_rejected(served.now, served.header(), Challenge.TOKEN)
    assert "told token of a call whose answer says unknown" in only(served, DriverRule.EVIDENCE).did


def test_a_rejection_that_no_api_spoke_of_is_seen_where_the_api_is_looked_at(served: Simulation) -> None:
    served.machine.token_rejected(served.now, served.header(), Challenge.UNKNOWN)
    assert not served.rules
    served.check.api_answer(served.header(), HttpResponse(200))
    served.machine.token_rejected(served.now, served.header(), Challenge.SCA)
    served.now += 5
    served.check.api_answer("Bearer of-yesterday", HttpResponse(200))
    served.machine.token_rejected(served.now, served.header(), Challenge.TOKEN)
    assert "of which no answer has come just now" in only(served, DriverRule.EVIDENCE).did


def test_a_lock_that_the_api_speaks_of_is_told(served: Simulation) -> None:
    header = served.header()
    served.check.api_answer(header, LOCKED)
    served.machine.endpoint_blocked(served.now, BlockKind.RATE_LIMITED, 1.0)
    served.machine.endpoint_blocked(served.now, BlockKind.LOCKED)
    served.now += 2
    assert not served.rules
    served.check.api_answer(header, LOCKED)
    served.now += 2
    only(served, DriverRule.LOCKED)


def test_without_a_machine_what_an_api_says_is_nobodys(run: Simulation) -> None:
    run.check.crashed()
    run.check.api_answer("Bearer of-yesterday", BAD_TOKEN)
    run.now += 2
    assert not run.rules


def test_the_first_breach_of_a_rule_is_the_one_that_is_kept(run: Simulation) -> None:
    request = run.sent()
    for _ in range(3):
        run.check.sent(request)
        run.now += 1
    assert only(run, DriverRule.SENT_ONCE).now == 1_000.0
