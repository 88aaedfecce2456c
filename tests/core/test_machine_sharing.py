"""DESIGN 4, the machine's part: a claim asks a store first, then becomes an exchange, or adopts another's token."""

from __future__ import annotations

import math

import pytest

from evertoken import (
    Abandoned,
    BlockKind,
    Challenge,
    Granted,
    Ignored,
    LocalProtocolError,
    ProblemKind,
    RequestState,
    SharedRecord,
    TokenMachine,
)
from evertoken import WaitReason as Why
from tests import canary
from tests.core.driving import FAILED, LOCKED, REFUSED, attempt, bearer, granted, machine, serve, wait

TICK = 2.0**-10


def record(started: float, n: int = 0, expires_in: float = 300) -> SharedRecord:
    return SharedRecord(canary.token(n), started, expires_in)


# The claim
# ---------


def test_a_claim_has_a_deadline_of_twice_the_timeout_and_is_void_after_it_without_back_off() -> None:
    m = machine()
    claim = m.share_request(0)
    assert wait(m, 0) == (20, Why.RESPONSE)
    assert claim.deadline == 20
    assert wait(m, 20) is None
    assert m.problem(20) is None
    with pytest.raises(LocalProtocolError, match="no claim"):
        m.exchange_started(20, claim)


def test_giving_back_a_claim_is_free_always() -> None:
    m = machine()
    for _ in range(5):
        assert isinstance(m.request_abandoned(0, m.share_request(0)), Abandoned)
        assert wait(m, 0) is None
    assert m.explain(0).budget_left == 10


def test_an_exchange_gets_a_clock_of_its_own_and_may_not_start_twice() -> None:
    m = machine()
    claim = m.share_request(0)
    sent = m.exchange_started(7, claim)
    assert sent.deadline == 17
    assert wait(m, 7) == (17, Why.RESPONSE)
    m.receive_response(8, sent, granted())
    token = m.token(8)
    assert token is not None
    assert token.started == 7
    for now in (8, 9):
        with pytest.raises(LocalProtocolError, match="no claim"):
            m.exchange_started(now, claim)


def test_an_exchange_in_flight_may_not_be_started_again() -> None:
    m = machine()
    sent = m.exchange_started(7, m.share_request(0))
    before = m.state_value
    with pytest.raises(LocalProtocolError, match="no claim"):
        m.exchange_started(8, sent)
    assert m.state_value is before


def test_a_request_of_start_request_is_no_claim() -> None:
    m = machine()
    request = m.start_request(0)
    with pytest.raises(LocalProtocolError, match="no claim"):
        m.exchange_started(0, request)


def test_an_outcome_of_a_claim_that_sent_nothing_is_a_local_mistake() -> None:
    m = machine()
    claim = m.share_request(0)
    before = m.state_value
    with pytest.raises(LocalProtocolError, match="exchange_started"):
        m.receive_response(1, claim, granted())
    with pytest.raises(LocalProtocolError, match="exchange_started"):
        m.send_failed(1, claim, "reset")
    assert m.state_value is before


def test_a_report_of_a_closed_door_frees_the_claim() -> None:
    m = machine()
    claim = m.share_request(0)
    m.door_closed(1, BlockKind.LOCKED)
    assert m.request_state(1) is RequestState.BLOCKED
    with pytest.raises(LocalProtocolError, match="no claim"):
        m.exchange_started(1, claim)


def test_a_door_that_has_closed_meanwhile_releases_the_claim_and_raises() -> None:
    m = machine()
    lost = m.start_request(0)
    claim = m.share_request(11)
    m.receive_response(12, lost, LOCKED)
    assert m.request_state(12) is RequestState.IN_FLIGHT
    with pytest.raises(LocalProtocolError, match="released"):
        m.exchange_started(13, claim)
    assert m.request_state(13) is RequestState.BLOCKED
    assert m.explain(13).budget_left == 9


def test_freshness_is_not_checked_again_when_the_exchange_starts() -> None:
    m = machine()
    lost = m.start_request(0)
    claim = m.share_request(11)
    m.receive_response(12, lost, granted())
    sent = m.exchange_started(13, claim)
    m.receive_response(14, sent, granted(1))
    assert m.authorization(14) == bearer(1)


# Another's token
# ---------------


def test_a_usable_record_is_taken_by_its_own_issue_times_and_frees_the_claim() -> None:
    m = machine()
    claim = m.share_request(100)
    assert isinstance(m.receive_shared(101, claim, record(0)), Granted)
    token = m.token(101)
    assert token is not None
    # Halfway between now and fresh_until would be 198: that rule is for exchanges only.
    assert (token.started, token.refresh_at, token.fresh_until, token.expires_at) == (0, 270, 295, 300)
    assert wait(m, 101) == (270, Why.REFRESH)
    assert m.explain(101).budget_left == 10
    with pytest.raises(LocalProtocolError, match="no claim"):
        m.exchange_started(101, claim)


def test_a_record_that_is_due_already_is_ignored_and_the_claim_stands() -> None:
    m = machine()
    claim = m.share_request(269)
    assert isinstance(m.receive_shared(270, claim, record(0)), Ignored)
    assert m.request_state(270) is RequestState.IN_FLIGHT
    m.exchange_started(270, claim)


def test_a_record_must_be_enough_for_the_claimed_min_ttl() -> None:
    for now, kind in ((195 - TICK, Granted), (195, Ignored)):
        m = machine()
        claim = m.share_request(190, 100)
        assert isinstance(m.receive_shared(now, claim, record(0)), kind)


def test_a_record_no_younger_than_the_token_in_hand_is_ignored() -> None:
    m = machine()
    serve(m, 100)
    claim = m.share_request(370)
    for started in (99, 100):
        assert isinstance(m.receive_shared(371, claim, record(started, n=1, expires_in=9000)), Ignored)
    assert isinstance(m.receive_shared(371, claim, record(100 + TICK, n=1, expires_in=9000)), Granted)


def test_a_dropped_token_is_never_taken_from_a_store() -> None:
    m = machine(rejection_interval=10)
    serve(m, 0)
    m.token_rejected(1, bearer(), Challenge.TOKEN)
    claim = m.share_request(100)
    assert isinstance(m.receive_shared(100, claim, record(2, n=0)), Ignored)
    assert isinstance(m.receive_shared(100, claim, record(2, n=1)), Granted)


@pytest.mark.parametrize(
    "odd",
    [
        record(200),
        record(math.nan),
        record(math.inf),
        record(-math.inf),
        record(0, expires_in=math.nan),
        record(0, expires_in=0),
        record(0, expires_in=-5),
        SharedRecord("", 0, 300),
        SharedRecord("two words", 0, 300),
        SharedRecord("injected\r\nX-Header: y", 0, 300),
        SharedRecord("schlüssel", 0, 300),
    ],
    ids=repr,
)
def test_a_record_from_the_future_or_of_nonsense_is_ignored(odd: SharedRecord) -> None:
    m = machine()
    claim = m.share_request(100)
    assert isinstance(m.receive_shared(100, claim, odd), Ignored)
    assert m.authorization(100) is None
    assert m.request_state(100) is RequestState.IN_FLIGHT


def test_a_record_for_a_claim_that_is_over_is_ignored() -> None:
    m = machine()
    claim = m.share_request(0)
    m.request_abandoned(1, claim)
    assert isinstance(m.receive_shared(2, claim, record(0)), Ignored)


@pytest.mark.parametrize("lost", [False, True])
def test_an_exchange_that_was_sent_cannot_be_answered_by_a_record(lost: bool) -> None:
    m = machine()
    request = m.start_request(0)
    now = 20.0 if lost else 1.0
    state = m.request_state(now)
    assert isinstance(m.receive_shared(now, request, record(0)), Ignored)
    assert m.request_state(now) is state
    assert m.authorization(now) is None


def test_a_record_ends_back_off_and_opens_only_doors_older_than_itself() -> None:
    m = machine()
    lost = m.start_request(0)
    claim = m.share_request(11)
    m.receive_response(12, lost, LOCKED)
    m.receive_shared(13, claim, record(5))
    assert m.explain(13).blocks == ()
    assert m.explain(13).failures == 0

    m = machine()
    attempt(m, 0, FAILED)
    claim = m.share_request(1)
    m.receive_shared(2, claim, record(-5))
    assert m.authorization(2) == bearer()
    assert m.explain(2).failures == 1
    problem = m.problem(2)
    assert problem is not None
    assert problem.kind is ProblemKind.SERVER


def test_a_record_is_no_proof_that_our_own_credentials_work() -> None:
    m = machine()
    m.receive_shared(0, m.share_request(0), record(0))
    attempt(m, 270, REFUSED)
    assert m.explain(270).blocks == ((BlockKind.REFUSED, 270 + 3600),)


def test_a_record_tunes_the_budgets_interval_and_ends_a_row_of_repetitions() -> None:
    m = machine()
    serve(m, 0)
    serve(m, 270)
    m.receive_shared(540, m.share_request(540), record(530, n=1, expires_in=20))
    assert m.state_value.budget.interval == 10
    assert m.state_value.backoff.repeats == 0


def test_a_record_outdates_the_late_news_of_older_attempts() -> None:
    m = machine()
    lost = m.start_request(0)
    claim = m.share_request(11)
    m.receive_shared(12, claim, record(11))
    assert isinstance(m.receive_response(13, lost, LOCKED), Ignored)


def test_a_claim_draws_once_and_its_exchange_not_again() -> None:
    m = machine(draw=[0.5])
    sent = m.exchange_started(0, m.share_request(0))
    m.receive_response(0, sent, FAILED)
    assert wait(m, 0) == (0.75, Why.RETRY)


def test_a_claim_is_refused_like_a_start() -> None:
    m: TokenMachine = machine()
    m.door_closed(0, BlockKind.RATE_LIMITED)
    with pytest.raises(LocalProtocolError, match="unblock"):
        m.share_request(0)
