"""One request that goes by a store, from the first look to the answer that the machine is told."""

from __future__ import annotations

import math

import pytest

from evertoken import (
    Blocked,
    BlockKind,
    Challenge,
    ClientCredentials,
    Failed,
    GiveUp,
    Granted,
    HttpResponse,
    LocalProtocolError,
    Policy,
    Postponed,
    Problem,
    ProblemKind,
    RequestState,
    Seen,
    SendRequest,
    TokenEndpoint,
    TokenMachine,
    TokenRequest,
    Wait,
    next_move,
)
from evertoken._shared_problems import ASKED_ELSEWHERE
from evertoken.outcomes import Abandoned
from evertoken.sharing import (
    Acquire,
    Answer,
    Ask,
    Fail,
    Found,
    Keep,
    Load,
    Over,
    Postpone,
    Release,
    Send,
    Sharing,
    Sleep,
    Swapped,
)
from tests.core.sharing.test_codec import Own
from tests.kits import canary
from tests.kits.driving import FAILED, LIMITED, LOCKED, MALFORMED, REFUSED, UNCLEAR, bearer, granted
from tests.kits.fleet import Fleet, Process, Scrambled


def sending(process: Process) -> Ask:
    """A request that has the lease and is about to be sent."""
    ask = process.begin()
    assert isinstance(process.until(ask, Send), Send)
    return ask


def answered(process: Process, ask: Ask, answer: HttpResponse) -> Seen:
    """What the machine is told besides."""
    ask.answered(process.fleet.now, answer)
    process.until(ask, Answer)
    return said(ask)


def said(ask: Ask) -> Seen:
    assert isinstance(ask.action, Answer)
    seen = ask.action.response.seen
    assert seen is not None
    return seen


# One for all
# -----------


def test_one_process_asks_and_the_others_have_its_token() -> None:
    fleet = Fleet()
    outcomes = [fleet.process().fetch() for _ in range(20)]
    assert all(isinstance(outcome, Granted) for outcome in outcomes)
    assert len(fleet.sent) == 1
    assert fleet.stock.calls == 3 + 19


def test_a_life_later_one_process_asks_again_and_nobody_waits() -> None:
    fleet = Fleet()
    fleet_of = [fleet.process() for _ in range(5)]
    for process in fleet_of:
        process.fetch()
    for _ in range(2):  # Each looks once early, and once when it is due.
        for process in fleet_of:
            action = process.machine.poll(fleet.now)
            fleet.now = max(fleet.now, action.until if isinstance(action, Wait) else fleet.now)
            assert process.machine.authorization(fleet.now) is not None
            process.fetch()
    assert len(fleet.sent) == 2
    assert {process.machine.authorization(fleet.now) for process in fleet_of} == {bearer(1)}


def test_who_finds_the_lease_taken_waits_and_has_the_token_soon() -> None:
    fleet = Fleet()
    first, second = fleet.process(), fleet.process()
    ask = sending(first)
    other = second.begin()
    second.step(other)
    assert isinstance(other.action, Sleep)
    assert other.action.until == fleet.now + 0.625
    answered(first, ask, granted(0, 1_200))
    other.woken(fleet.now)
    second.until(other, Answer)
    assert isinstance(second.tell(other), Granted)
    assert said(other).asked is False


def test_who_looked_before_a_token_was_kept_is_not_charged_and_does_not_ask() -> None:
    fleet = Fleet()
    first, second = fleet.process(), fleet.process()
    other = second.begin()
    second.step(other)
    assert isinstance(other.action, Acquire)
    first.fetch()
    second.until(other, Answer)
    assert said(other).asked is False
    assert len(fleet.sent) == 1
    assert fleet.record().account.budget.level == fleet.policy.budget_burst - 1


def test_a_wait_in_vain_is_postponed() -> None:
    fleet = Fleet()
    first, second = fleet.process(), fleet.process()
    began = fleet.now
    sending(first)
    other = second.begin()
    assert isinstance(second.until(other, Postpone), Postpone)
    assert fleet.now == began + 10
    outcome = second.tell(other)
    assert isinstance(outcome, Postponed)
    assert outcome.until == fleet.now + 3
    assert second.machine.explain(fleet.now).budget_left == fleet.policy.budget_burst


def test_a_holder_that_died_is_a_failure_with_a_back_off_and_then_the_next_one_asks() -> None:
    fleet = Fleet()
    first, second = fleet.process(), fleet.process()
    began = fleet.now
    sending(first)
    fleet.now += 6
    other = second.begin()
    second.until(other, Send)
    assert began + 15.5 <= fleet.now <= began + 16
    fleet.stock.holder_lives = False
    third = fleet.process()
    fleet.now += 10
    third.until(third.begin(), Send)
    assert fleet.now < began + 28


def test_a_store_that_knows_its_own_holder_alive_does_not_take_the_lease_from_ourselves() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = process.begin()
    process.step(ask)
    assert isinstance(ask.action, Acquire)
    fleet.stock.swap(ask.action)
    fleet.stock.holder_lives = False
    ask.store_failed(fleet.now, "The store was slow.")
    assert isinstance(process.until(ask, Send), Send)


# What is told of our own exchange
# --------------------------------


def test_a_token_lives_from_when_it_was_asked_for_and_not_from_the_claim() -> None:
    fleet = Fleet()
    first, second = fleet.process(), fleet.process()
    ask = sending(first)
    other = second.begin()
    fleet.now += 3
    answered(first, ask, FAILED)
    second.until(other, Send)
    sent = fleet.now
    fleet.now += 1
    assert answered(second, other, granted(0, 1_200)) == Seen(sent)
    second.tell(other)
    token = second.machine.token(fleet.now)
    assert token is not None
    assert token.started == pytest.approx(sent, abs=0.001)


def test_a_stored_token_is_as_old_as_it_is_at_the_most() -> None:
    fleet = Fleet()
    fleet.process().fetch()
    asked = fleet.now
    fleet.now += 100
    second = fleet.process()
    ask = second.begin()
    fleet.now += 1  # The call took so long, and the clock was read at its end or at its beginning.
    found = fleet.stock.found(ask.action.key if isinstance(ask.action, Load) else "")
    ask.loaded(fleet.now, found)
    assert said(ask).asked_at == asked - 1


def test_what_a_pause_in_mid_call_has_made_useless_is_loaded_once_more() -> None:
    fleet = Fleet()
    fleet.process().fetch(granted(0, 20))
    fleet.now += 10
    for pause, again in ((5, False), (9, True)):
        process = fleet.process()
        ask = process.begin()
        assert isinstance(ask.action, Load)
        found = Found(fleet.stock.values[ask.action.key], fleet.now + fleet.stock.ahead)
        assert isinstance(ask.loaded(fleet.now + pause, found), Load if again else Answer)
    assert isinstance(ask.loaded(fleet.now + 19, found), Acquire | Postpone)


def test_with_no_time_left_for_an_exchange_nobody_asks() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = process.begin()
    fleet.now += 16
    process.step(ask)
    assert isinstance(ask.action, Postpone)
    ask = fleet.process().begin()
    fleet.now += 16
    ask.store_failed(fleet.now, AWAY)
    assert isinstance(ask.store_failed(fleet.now, AWAY), Postpone)


def test_with_two_clocks_the_older_word_counts_unless_it_is_absurd() -> None:
    fleet = Fleet()
    fleet.process().fetch()
    asked = fleet.now
    fleet.now += 100
    fleet.stock.ahead -= 20
    for wall, age in ((0.0, 100), (30.0, 130), (-50.0, 80), (500.0, 80)):
        process = fleet.process(wall=wall)
        ask = process.begin()
        process.step(ask)
        assert said(ask).asked_at == asked + 100 - age
    assert any("wall clock" in note for note in ask.notes)


def test_a_token_of_the_future_is_void() -> None:
    fleet = Fleet()
    fleet.process().fetch()
    fleet.stock.ahead -= 2
    fleet.process().fetch()
    assert len(fleet.sent) == 2


def test_a_refusal_is_kept_for_all_with_its_end_and_looked_at_within_a_minute() -> None:
    fleet = Fleet()
    first, second = fleet.process(), fleet.process()
    seen = answered(first, sending(first), LOCKED)
    assert seen == Seen(fleet.now, look_at=fleet.now + 42, ends=fleet.now + 900)
    fleet.now += 10
    ask = second.begin()
    second.step(ask)
    seen = said(ask)
    assert (seen.asked, seen.asked_at, seen.ends) == (False, fleet.now - 10, fleet.now + 890)
    assert seen.look_at == fleet.now + 42
    assert isinstance(ask.action, Answer)
    assert (ask.action.response.status, dict(ask.action.response.headers).get("Retry-After")) == (400, None)
    outcome = second.tell(ask)
    assert isinstance(outcome, Blocked)
    assert outcome.kind is BlockKind.LOCKED
    assert second.machine.request_state(fleet.now) is RequestState.BLOCKED
    assert len(fleet.sent) == 0


def test_a_block_never_hides_a_live_token_from_who_has_none() -> None:
    fleet = Fleet()
    first = fleet.process()
    first.fetch(granted(0, 1_200))
    fleet.now += 1_175
    answered(first, sending(first), LOCKED)
    assert isinstance(fleet.process().fetch(), Granted)


def test_nobody_looks_for_longer_than_a_block_stands() -> None:
    fleet = Fleet()
    fleet.process().fetch(LIMITED)
    fleet.now += 50
    second = fleet.process()
    ask = second.begin()
    second.step(ask)
    assert said(ask).look_at == fleet.now + 10


@pytest.mark.parametrize("answer", [FAILED, MALFORMED])
def test_a_failure_makes_the_whole_fleet_back_off_and_says_until_when(answer: HttpResponse) -> None:
    fleet = Fleet()
    first = fleet.process()
    ask = sending(first)
    seen = answered(first, ask, answer)
    assert seen == Seen(fleet.now, look_at=fleet.now + 0.75)
    first.tell(ask)
    second = fleet.process()
    other = second.begin()
    began = fleet.now
    second.until(other, Send)
    assert fleet.now == began + 0.75


def test_a_back_off_that_no_caller_can_wait_for_is_told_at_once_with_its_cause() -> None:
    fleet = Fleet()
    fleet.process().fetch(HttpResponse(503, [("Retry-After", "3000")]))
    second = fleet.process()
    ask = second.begin()
    second.step(ask)
    assert isinstance(ask.action, Postpone)
    assert ask.action.until == fleet.now + 60
    assert ask.action.problem.kind is ProblemKind.SERVER
    fleet.now += 2_980
    third = fleet.process()
    ask = third.begin()
    third.step(ask)
    assert isinstance(ask.action, Postpone)
    assert ask.action.until < fleet.now + 171


def test_the_budget_of_the_fleet_is_one() -> None:
    policy = Policy(budget_burst=2, retry_base=0.01, retry_cap=0.01)
    fleet = Fleet(policy)
    for _ in range(2):
        fleet.process().fetch(FAILED)
        fleet.now += 1
    process = fleet.process()
    ask = process.begin()
    process.step(ask)
    assert isinstance(ask.action, Postpone)
    assert ask.action.problem.kind is ProblemKind.SERVER
    fleet.process().fetch(granted(0, 1_200))
    fleet.now += 60
    assert isinstance(fleet.process().fetch(), Granted)


def test_a_host_that_is_turned_away_is_told_so_and_looks_again_soon() -> None:
    fleet = Fleet()
    barred, same, other = fleet.process(), fleet.process(), fleet.process(host="there")
    seen = answered(barred, sending(barred), UNCLEAR)
    assert seen == Seen(fleet.now, look_at=fleet.now + 3, ends=fleet.now + 60)
    fleet.now += 10
    ask = same.begin()
    same.step(ask)
    assert (said(ask).asked, said(ask).ends, said(ask).look_at) == (False, fleet.now + 50, fleet.now + 3)
    assert isinstance(same.tell(ask), Blocked)
    assert isinstance(other.fetch(), Granted)
    fleet.now += 3
    assert isinstance(same.fetch(), Granted)
    assert len(fleet.sent) == 1


def test_a_rejected_token_is_not_given_again_and_stays_for_the_others() -> None:
    fleet = Fleet()
    first, second = fleet.process(), fleet.process()
    first.fetch()
    second.fetch()
    fleet.now += 100
    for process in (first, second):
        process.machine.token_rejected(fleet.now, bearer(0), Challenge.TOKEN)
    first.fetch()
    assert fleet.sent == [1_000, 1_100]
    second.fetch()
    assert first.machine.authorization(fleet.now) == second.machine.authorization(fleet.now) == bearer(1)
    assert len(fleet.sent) == 2


def test_a_caller_who_demands_more_life_than_there_is_makes_the_fleet_ask() -> None:
    fleet = Fleet()
    process = fleet.process()
    process.fetch()
    fleet.now += 700
    process.request = process.machine.start_request(fleet.now, 500)
    ask = process.sharing.ask(fleet.now, process.request, nonce=fleet.nonce(), unix_time=fleet.now)
    assert isinstance(process.until(ask, Send), Send)


def test_a_token_without_a_stated_life_is_shared_without_one() -> None:
    fleet = Fleet()
    fleet.process().fetch(HttpResponse(200, (), b'{"access_token":"cAnArYtOkEn0","scope":"a b"}'))
    outcome = fleet.process().fetch()
    assert outcome == Granted("cAnArYtOkEn0", None, "a b")


def test_when_the_exchange_raised_all_back_off_and_it_is_raised_again() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = sending(process)
    ask.failed(fleet.now)
    assert isinstance(ask.action, Release)
    assert isinstance(process.until(ask, Fail), Fail)
    assert fleet.record().account.failures == 1
    assert isinstance(process.tell(ask), Failed)
    problem = fleet.record().account.problem
    assert problem is not None
    canary.assert_clean(problem, ask)


def test_a_failure_that_comes_after_its_lease_was_lost_is_not_counted_again() -> None:
    fleet = Fleet()
    first = fleet.process()
    ask = sending(first)
    fleet.now += 20
    fleet.process().fetch()
    seen = answered(first, ask, FAILED)
    assert seen.look_at == fleet.now
    assert fleet.record().account.failures == 0


# Leases
# ------


def test_a_lease_that_is_too_short_for_an_exchange_is_given_back_unused() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = process.begin()
    process.step(ask)
    assert isinstance(ask.action, Acquire)
    swapped = fleet.stock.swap(ask.action)
    fleet.now += 6
    ask.swapped(fleet.now, swapped)
    assert isinstance(ask.action, Release)
    process.step(ask)
    assert isinstance(ask.action, Sleep)
    assert fleet.record().account.budget.level == fleet.policy.budget_burst
    assert isinstance(process.until(ask, Send), Send)


def test_a_lease_that_was_lost_before_it_could_be_given_back_is_let_go() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = process.begin()
    process.step(ask)
    assert isinstance(ask.action, Acquire)
    swapped = fleet.stock.swap(ask.action)
    fleet.now += 30
    ask.swapped(fleet.now, swapped)
    assert isinstance(ask.action, Release)
    fleet.process().fetch()
    process.step(ask)
    assert isinstance(ask.action, Postpone)


def test_an_exchange_ends_with_the_time_of_its_attempt() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = sending(process)
    assert isinstance(ask.action, Send)
    assert process.request is not None
    assert ask.action.request == process.request.__replace__(deadline=fleet.now + 10)
    assert ask.action.request.owner is process.machine.owner


@pytest.mark.parametrize("sent", [False, True])
def test_who_gives_up_gives_the_lease_back_and_what_was_sent_stays_charged(sent: bool) -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = process.begin()
    assert isinstance(process.sharing.ask(fleet.now, process.request, nonce="x", unix_time=0).given_up(0), Over)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    process.until(ask, Send)
    if not sent:
        ask._sent = None  # It was cancelled just before.
    ask.given_up(fleet.now)
    assert isinstance(ask.action, Release)
    assert isinstance(process.until(ask, Over), Over)
    record = fleet.record()
    assert record.lease is None
    assert record.account.budget.level == fleet.policy.budget_burst - sent


def test_what_two_processes_write_at_once_is_written_one_after_the_other() -> None:
    fleet = Fleet()
    first, operator = fleet.process(), fleet.process()
    ask = sending(first)
    ask.answered(fleet.now, granted(0, 1_200))
    assert isinstance(ask.action, Keep)
    grant, policy = first.machine.grant, fleet.policy
    fleet.edit(operator, operator.sharing.unblock(fleet.now, grant, policy, nonce="op"))
    first.until(ask, Answer)
    assert fleet.record().grant is not None
    assert fleet.record().floor > 0


def test_a_swap_that_always_finds_another_value_is_given_up() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = sending(process)
    ask.answered(fleet.now, granted(0, 1_200))
    for _ in range(20):
        if isinstance(ask.action, Answer):
            break
        assert isinstance(ask.action, Keep)
        ask.swapped(fleet.now, Swapped(done=False, found=fleet.stock.found(ask.action.key)))
    assert isinstance(ask.action, Answer)
    assert ask.action.unsaved


# An operator, and an API
# -----------------------


def test_an_operator_unblocks_for_all_and_each_sees_it_at_its_next_look() -> None:
    fleet = Fleet()
    first, second = fleet.process(), fleet.process()
    first.fetch(LOCKED)
    second.fetch()
    fleet.edit(second, second.sharing.unblock(fleet.now, second.machine.grant, fleet.policy, nonce="op"))
    assert fleet.record().block is None
    assert isinstance(second.machine.poll(fleet.now + 42), SendRequest)
    fleet.now += 42
    assert isinstance(second.fetch(), Granted)


def test_what_an_api_reports_is_known_to_all() -> None:
    fleet = Fleet()
    first, second = fleet.process(), fleet.process()
    edit = first.sharing.block(fleet.now, first.machine.grant, fleet.policy, BlockKind.LOCKED, 600, nonce="api")
    fleet.edit(first, edit)
    ask = second.begin()
    second.step(ask)
    assert said(ask).ends == fleet.now + 615


def test_a_change_that_the_store_did_not_take_is_tried_once_more() -> None:
    fleet = Fleet()
    process = fleet.process()
    process.fetch(LOCKED)
    edit = process.sharing.unblock(fleet.now, process.machine.grant, fleet.policy, nonce="op")
    process.step(edit)
    assert isinstance(edit.action, Keep)
    process.fleet.stock.values[edit.action.key] += b" "
    process.step(edit)
    assert isinstance(edit.action, Keep)
    assert isinstance(edit.store_failed(fleet.now, "The store is away."), Load)
    assert isinstance(edit.store_failed(fleet.now, "The store is away."), Fail)
    assert edit.notes[-1] == "The store is away."


# The store in trouble
# --------------------

AWAY = "The store is away: start it again."


def test_a_call_that_fails_is_repeated_once() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = process.begin()
    assert isinstance(ask.store_failed(fleet.now, AWAY), Load)
    assert isinstance(process.until(ask, Send), Send)
    assert ask.notes == (AWAY,)


@pytest.mark.parametrize("acted", [True, False])
def test_a_swap_whose_answer_was_lost_is_found_out_by_a_look(acted: bool) -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = process.begin()
    process.step(ask)
    assert isinstance(ask.action, Acquire)
    if acted:
        fleet.stock.swap(ask.action)
    ask.store_failed(fleet.now, AWAY)
    assert isinstance(ask.action, Load)
    process.step(ask)
    assert isinstance(ask.action, Send if acted else Acquire)
    process.until(ask, Send)
    assert fleet.record().account.budget.level == fleet.policy.budget_burst - 1


def test_who_finds_its_own_lease_beside_a_block_gives_it_back_and_does_not_knock() -> None:
    fleet = Fleet()
    process, api = fleet.process(), fleet.process()
    ask = process.begin()
    process.step(ask)
    assert isinstance(ask.action, Acquire)
    fleet.stock.swap(ask.action)
    fleet.edit(api, api.sharing.block(fleet.now, api.machine.grant, fleet.policy, BlockKind.LOCKED, nonce="api"))
    ask.store_failed(fleet.now, AWAY)
    process.step(ask)
    assert isinstance(ask.action, Release)
    process.step(ask)
    assert said(ask).ends == fleet.now + 900
    assert fleet.record().lease is None


def gone(process: Process, *, times: int = 2) -> Ask:
    """A request while the store is away: its calls have failed."""
    ask = process.begin()
    for _ in range(times):
        assert isinstance(ask.action, Load)
        ask.store_failed(process.fleet.now, AWAY)
    return ask


def looks_in_vain(fleet: Fleet, ask: Ask) -> None:
    """The drawn pause is over, and the last look and its repetition fail too: the request is sent."""
    fleet.now += 5
    ask.woken(fleet.now)
    ask.store_failed(fleet.now, AWAY)
    assert isinstance(ask.store_failed(fleet.now, AWAY), Send)


def test_with_the_store_down_a_process_asks_for_itself_at_a_drawn_moment_after_one_last_look() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = gone(process)
    assert isinstance(ask.action, Sleep)
    assert ask.action.until == fleet.now + 5
    assert isinstance(ask.woken(fleet.now + 1), Sleep)
    fleet.now += 5
    assert isinstance(ask.woken(fleet.now), Load)
    assert isinstance(ask.store_failed(fleet.now, AWAY), Load)
    assert isinstance(ask.store_failed(fleet.now, AWAY), Send)
    ask.answered(fleet.now, granted(0, 1_200))
    assert said(ask) == Seen(fleet.now, store_down=True)
    assert isinstance(process.tell(ask), Granted)
    assert fleet.stock.values == {}


@pytest.mark.parametrize("holds_a_token", [False, True])
def test_with_a_store_that_can_be_read_and_not_written_a_process_asks_for_itself(holds_a_token: bool) -> None:
    fleet = Fleet()
    process = fleet.process()
    if holds_a_token:
        assert isinstance(process.fetch(granted(0, 1_200)), Granted)
        fleet.now += 1_180
    ask = process.begin()
    for _ in range(2):
        process.step(ask)
        assert isinstance(ask.action, Acquire)
        ask.store_failed(fleet.now, AWAY)
    if isinstance(ask.action, Sleep):  # Who has a token comes at a drawn moment anyway.
        fleet.now += 5
        ask.woken(fleet.now)
    process.step(ask)
    assert isinstance(ask.action, Acquire)
    assert isinstance(ask.store_failed(fleet.now, AWAY), Send)
    ask.answered(fleet.now, granted(1, 1_200))
    assert said(ask) == Seen(fleet.now, store_down=True)
    assert isinstance(process.tell(ask), Granted)


def test_the_last_look_finds_a_store_that_is_back() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = gone(process)
    fleet.process().fetch()
    fleet.now += 5
    ask.woken(fleet.now)
    process.step(ask)
    assert said(ask).asked is False
    assert ask.memory.down_until == -math.inf


def test_a_lone_request_is_made_once_a_minute_at_most() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = gone(process)
    looks_in_vain(fleet, ask)
    sent = fleet.now
    assert isinstance(ask.failed(fleet.now), Fail)
    process.tell(ask)
    fleet.now += 2
    ask = process.begin()
    assert isinstance(ask.action, Postpone)
    assert ask.action.until == sent + 60


def test_tokens_that_live_shortly_are_asked_for_as_often_as_they_need() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = gone(process)
    looks_in_vain(fleet, ask)
    ask.answered(fleet.now, granted(0, 20))
    assert ask.memory.lone_at == fleet.now + 10
    process = fleet.process()
    ask = gone(process)
    looks_in_vain(fleet, ask)
    ask.answered(fleet.now, granted(0, None))
    assert ask.memory.lone_at == fleet.now + 60


def test_with_the_store_down_a_failure_is_told_with_no_moment_but_our_own() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = gone(process)
    looks_in_vain(fleet, ask)
    ask.answered(fleet.now, FAILED)
    assert said(ask) == Seen(fleet.now, store_down=True)
    assert ask.memory.lone_at == fleet.now + 60


def test_who_has_a_live_token_makes_its_lone_request_when_it_looks_since_that_moment_was_drawn() -> None:
    fleet = Fleet()
    process = fleet.process()
    process.fetch()
    action = process.machine.poll(fleet.now)
    fleet.now = action.until if isinstance(action, Wait) else math.nan
    ask = gone(process)
    assert isinstance(ask.action, Load)
    ask.store_failed(fleet.now, AWAY)
    assert isinstance(ask.store_failed(fleet.now, AWAY), Send)


def test_while_the_store_is_left_alone_what_it_said_last_stays_in_force() -> None:
    fleet = Fleet()
    process = fleet.process()
    process.fetch(LOCKED)
    fleet.now += 42
    ask = gone(process)
    assert said(ask) == Seen(fleet.now - 42, False, fleet.now + 42, fleet.now + 858, read=said(ask).read)
    process.tell(ask)
    fleet.now += 42
    ask = process.begin()
    assert isinstance(ask.action, Load)
    fleet = Fleet()
    process = fleet.process()
    process.fetch(HttpResponse(503, [("Retry-After", "300")]))
    fleet.now += 60
    ask = gone(process)
    assert isinstance(ask.action, Postpone)
    assert ask.action.until == fleet.now + 60


def test_a_store_that_is_required_is_waited_for_and_nobody_waits_who_cannot_wait_that_long() -> None:
    fleet = Fleet()
    process = fleet.process(required=True)
    ask = gone(process)
    assert isinstance(ask.action, Postpone)
    assert ask.action.until == ask.memory.down_until == fleet.now + 30
    assert "Mend the store" in ask.action.problem.advice
    process.tell(ask)
    now = fleet.now
    assert isinstance(next_move(process.machine, now, since=now, deadline=now + 29), GiveUp)
    move = next_move(process.machine, now, since=now, deadline=now + 31)
    assert isinstance(move, Wait)
    assert move.until == now + 30
    fleet.now += 3
    ask = process.sharing.ask(fleet.now, ask._request, nonce=fleet.nonce(), unix_time=0.0)
    assert isinstance(ask.action, Postpone)
    assert ask.action.until == now + 30


def test_a_store_that_is_required_is_what_a_person_is_told_of_also_while_the_fleet_backs_off() -> None:
    fleet = Fleet()
    process = fleet.process(required=True)
    process.fetch(HttpResponse(503, [("Retry-After", "300")]))
    fleet.now += 60
    ask = gone(process)
    assert isinstance(ask.action, Postpone)
    assert ask.action.until == fleet.now + 30
    assert "no token is asked for without it" in ask.action.problem.summary


def test_a_store_that_comes_and_goes_does_not_keep_a_request_going_round() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = process.begin()
    for _ in range(20):
        match ask.action:
            case Load():
                process.step(ask)
            case Acquire():
                ask.store_failed(fleet.now, AWAY)
            case Sleep(until):
                fleet.now = until
                ask.woken(fleet.now)
            case _:
                break
    assert isinstance(ask.action, Send)


def test_with_no_time_left_the_last_look_is_taken_at_once() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = process.begin()
    fleet.now += 11
    ask.store_failed(fleet.now, AWAY)
    for _ in range(2):
        assert isinstance(ask.store_failed(fleet.now, AWAY), Load)
    assert isinstance(ask.store_failed(fleet.now, AWAY), Send)


def test_an_answer_that_the_store_did_not_take_is_told_and_saved_later() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = sending(process)
    ask.answered(fleet.now, granted(0, 1_200))
    assert isinstance(ask.store_failed(fleet.now, AWAY), Answer)
    assert ask.action == Answer(ask.action.response, unsaved=True) if isinstance(ask.action, Answer) else False
    process.tell(ask)
    assert isinstance(ask.save(fleet.now), Sleep)
    fleet.now += 2
    ask.woken(fleet.now)
    assert isinstance(ask.store_failed(fleet.now, AWAY), Sleep)
    process.until(ask, Over)
    assert fleet.record().grant is not None
    assert fleet.record().lease is None


def test_what_cannot_be_saved_while_the_lease_lasts_is_let_go() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = sending(process)
    ask.answered(fleet.now, granted(0, 1_200))
    ask.store_failed(fleet.now, AWAY)
    fleet.now += 16
    assert isinstance(ask.save(fleet.now), Over)


def test_a_failure_that_the_store_did_not_take_is_told_all_the_same() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = sending(process)
    ask.answered(fleet.now, FAILED)
    assert isinstance(ask.action, Release)
    ask.store_failed(fleet.now, AWAY)
    assert isinstance(ask.action, Answer)
    assert not ask.action.unsaved
    assert said(ask).look_at == fleet.now + 0.75


# What is not believed
# --------------------


def test_a_record_that_is_damaged_is_reported_and_written_anew() -> None:
    fleet = Fleet()
    process = fleet.process()
    process.fetch()
    key = next(iter(fleet.stock.values))
    fleet.stock.values[key] = fleet.stock.values[key][:50]
    second = fleet.process()
    ask = second.begin()
    second.until(ask, Send)
    assert "not believed" in ask.notes[0]
    canary.assert_clean(ask.notes)


def test_an_old_record_that_somebody_has_put_back_is_reported_and_not_believed() -> None:
    fleet = Fleet()
    process = fleet.process()
    process.fetch(granted(0, 1_200))
    old = dict(fleet.stock.values)
    fleet.now += 1_180
    process.fetch(granted(1, 1_200))
    fleet.now += 1_180
    fleet.stock.values.update(old)
    ask = process.begin()
    process.until(ask, Send)
    assert any("older" in note for note in ask.notes)


def test_an_encrypted_record_is_shared_by_those_who_have_the_key() -> None:
    fleet = Fleet(cipher=Scrambled())
    fleet.process().fetch()
    assert isinstance(fleet.process().fetch(), Granted)
    assert len(fleet.sent) == 1
    assert canary.token().encode() not in next(iter(fleet.stock.values.values()))


def test_without_a_client_secret_nothing_is_shared_unless_it_is_encrypted() -> None:
    grant = ClientCredentials(TokenEndpoint("https://as.example", Own()), "one")
    for cipher in (None, Scrambled()):
        machine = TokenMachine(grant, draw=lambda: 0.5, tiers=1)
        sharing = Sharing(host="here", draw=lambda: 0.5, cipher=cipher)
        ask = sharing.ask(0, machine.start_request(0), nonce="a", unix_time=0)
        assert isinstance(ask.action, Send if cipher is None else Load)
        if cipher is None:
            ask.answered(1, granted(0, 1_200))
            assert isinstance(ask.action, Answer)
            assert ask.action.response.seen is None
            assert "keys" in ask.notes[0]


def test_a_request_that_no_machine_made_is_refused() -> None:
    sharing = Sharing(host="here", draw=lambda: 0.5)
    with pytest.raises(LocalProtocolError, match="TokenMachine"):
        sharing.ask(0, TokenRequest(1, "POST", "https://as.example", (), b"", 10.0), nonce="a", unix_time=0)


def test_a_process_remembers_only_so_many_keys() -> None:
    sharing = Sharing(host="here", draw=lambda: 0.5)
    fleet = Fleet()
    request = fleet.process().begin()._request
    ask = sharing.ask(0, request, nonce="a", unix_time=0)
    for n in range(300):
        sharing._memories[str(n)] = ask.memory
    ask.loaded(0, Found(None, 5.0))
    assert len(sharing._memories) == 1


# Tiers
# -----


def behind(seen: Seen, answer: HttpResponse) -> HttpResponse:
    return HttpResponse(answer.status, answer.headers, answer.body, seen)


def test_a_token_of_a_store_behind_is_as_old_as_it_says_and_costs_no_charge() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = sending(process)
    seen = answered(process, ask, behind(Seen(fleet.now - 100, asked=False), granted(0, 1_200)))
    assert seen == Seen(fleet.now - 100, asked=False)
    assert fleet.record().account.budget.level == fleet.policy.budget_burst
    second = fleet.process()
    other = second.begin()
    second.step(other)
    assert said(other).asked_at == fleet.now - 100


def test_a_block_of_a_store_behind_is_looked_at_there_when_that_says() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = sending(process)
    read = Blocked(BlockKind.LOCKED, Problem(ProblemKind.LOCKED, "Locked out", detail="for long"))
    given = Seen(fleet.now - 5, asked=False, look_at=fleet.now + 30, ends=fleet.now + 800, read=read)
    assert answered(process, ask, behind(given, HttpResponse(400))) == given
    second = fleet.process()
    fleet.now += 10
    other = second.begin()
    second.step(other)
    assert said(other).look_at == fleet.now + 20
    assert isinstance(other.action, Answer)
    assert b"for long" in other.action.response.body
    fleet.now += 25
    third = fleet.process()
    assert isinstance(third.until(third.begin(), Send), Send)


def test_a_block_without_a_moment_to_look_is_looked_at_when_it_ends() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = sending(process)
    assert answered(process, ask, behind(Seen(fleet.now, ends=fleet.now + 50), LOCKED)).look_at == fleet.now + 50


def test_where_a_store_behind_has_not_asked_the_lease_is_given_back_and_the_wait_is_its_own() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = sending(process)
    problem = Problem(ProblemKind.SERVER, "busy")
    ask.postponed(fleet.now, fleet.now + 4, problem)
    assert process.until(ask, Postpone) == Postpone(fleet.now + 4, problem)
    assert fleet.record().lease is None
    assert fleet.record().account.budget.level == fleet.policy.budget_burst
    ask = sending(process) if isinstance(process.tell(ask), Granted) else sending(fleet.process())
    ask.postponed(fleet.now, fleet.now + 4)
    assert isinstance(ask.action, Release)


def test_an_outer_store_leaves_time_for_the_one_behind_it() -> None:
    fleet = Fleet()
    machine = TokenMachine(canary.grant(), draw=lambda: 0.5, tiers=2)
    sharing = Sharing(host="here", draw=lambda: 0.5, behind=1)
    process = Process(fleet, machine, sharing, 0.0)
    ask = sending(process)
    assert isinstance(ask.action, Send)
    assert ask.action.request.deadline == fleet.now + 20
    lease = fleet.record().lease
    assert lease is not None
    assert lease.until - lease.since == 25
    with pytest.raises(ValueError, match="behind"):
        Sharing(host="here", draw=lambda: 0.5, behind=8)


def test_who_has_a_live_token_looks_through_to_the_store_behind_which_may_be_down() -> None:
    fleet = Fleet()
    process = Process(
        fleet,
        TokenMachine(canary.grant(), policy=fleet.policy, draw=lambda: 0.5, tiers=2),
        Sharing(host="here", draw=lambda: 0.5, behind=1),
        0.0,
    )
    process.fetch()
    action = process.machine.poll(fleet.now)
    fleet.now = action.until if isinstance(action, Wait) else math.nan
    ask = sending(process)
    ask.postponed(fleet.now, fleet.now + 140)
    assert process.until(ask, Postpone) == Postpone(fleet.now + 140, ASKED_ELSEWHERE)
    assert fleet.record().account.budget.level == fleet.policy.budget_burst
    assert isinstance(process.tell(ask), Postponed)


def test_alone_with_a_store_behind_its_word_is_told_as_it_is() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = gone(process)
    looks_in_vain(fleet, ask)
    given = Seen(fleet.now - 9, asked=False)
    ask.answered(fleet.now, behind(given, granted(0, 1_200)))
    assert said(ask) == given


def test_what_a_store_behind_has_read_as_nothing_is_given_back() -> None:
    fleet = Fleet()
    process = fleet.process()
    ask = sending(process)
    answered(process, ask, behind(Seen(fleet.now, read=Abandoned()), HttpResponse(200)))
    assert fleet.record().lease is None


def test_a_refusal_that_something_newer_has_overtaken_is_looked_at_again_soon() -> None:
    fleet = Fleet()
    process, operator = fleet.process(), fleet.process()
    ask = sending(process)
    fleet.edit(operator, operator.sharing.unblock(fleet.now, operator.machine.grant, fleet.policy, nonce="op"))
    seen = answered(process, ask, REFUSED)
    assert fleet.record().block is None
    assert (seen.look_at, seen.ends) == (fleet.now + 3, fleet.now + 3)
