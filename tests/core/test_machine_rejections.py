"""An API rejects a token. Which word is believed, how often, and what may be issued again."""

from __future__ import annotations

import pytest

from evertoken import (
    BlockKind,
    Challenge,
    Failed,
    Granted,
    Ignored,
    ProblemKind,
    Rejection,
    SendReason,
    SendRequest,
    TokenMachine,
)
from evertoken import WaitReason as Why
from tests.core.driving import FAILED, LOCKED, attempt, bearer, error, granted, machine, serve, wait

TICK = 2.0**-10


def reject(m: TokenMachine, now: float, n: int = 0, challenge: Challenge = Challenge.TOKEN) -> Rejection:
    return m.token_rejected(now, bearer(n), challenge)


# Superseded
# ----------


def test_a_word_about_no_token_another_token_or_a_dropped_one_is_superseded() -> None:
    m = machine()
    assert reject(m, 0) is Rejection.SUPERSEDED
    serve(m, 0)
    assert reject(m, 1, n=7) is Rejection.SUPERSEDED
    assert reject(m, 2) is Rejection.DROPPED
    assert reject(m, 3) is Rejection.SUPERSEDED


def test_a_word_about_the_token_before_is_superseded() -> None:
    m = machine()
    serve(m, 0)
    serve(m, 270, n=1)
    assert reject(m, 271, n=0) is Rejection.SUPERSEDED
    assert m.authorization(271) == bearer(1)


def test_a_word_about_an_expired_token_is_superseded() -> None:
    m = machine()
    serve(m, 0)
    assert reject(m, 295) is Rejection.SUPERSEDED


def test_superseded_changes_and_charges_nothing() -> None:
    m = machine()
    serve(m, 0)
    serve(m, 270, n=1)
    before = m.state_value
    for _ in range(10):
        assert reject(m, 270, n=0) is Rejection.SUPERSEDED
    assert m.state_value == before
    assert reject(m, 270, n=1) is Rejection.DROPPED


def test_ten_late_rejections_of_one_token_cost_one_request() -> None:
    m = machine()
    serve(m, 0)
    verdicts = [reject(m, 1) for _ in range(10)]
    assert verdicts == [Rejection.DROPPED, *[Rejection.SUPERSEDED] * 9]
    serve(m, 1, n=1)
    assert reject(m, 2) is Rejection.SUPERSEDED
    assert wait(m, 2) == (271, Why.REFRESH)


# Dropped
# -------


def test_a_dropped_token_is_gone_and_another_may_be_asked_for_at_once() -> None:
    m = machine()
    serve(m, 0)
    assert reject(m, 1) is Rejection.DROPPED
    assert m.authorization(1) is None
    assert m.poll(1) == SendRequest(SendReason.REJECTED)
    problem = m.problem(1)
    assert problem is not None
    assert problem.kind is ProblemKind.REJECTED


def test_a_token_is_dropped_while_another_is_on_its_way() -> None:
    m = machine()
    serve(m, 0)
    m.start_request(200, 100)
    assert reject(m, 201) is Rejection.DROPPED
    assert m.authorization(201) is None


def test_rejections_are_honoured_at_most_once_per_interval_which_doubles_up_to_its_cap() -> None:
    m = machine(budget_burst=1000)
    now, gaps = 0.0, list[float]()
    serve(m, now)
    assert reject(m, now) is Rejection.DROPPED
    for n in range(1, 9):
        dropped_at = now
        serve(m, now, n, expires_in=86_400)
        for gap in (60, 120, 240, 480, 960, 1920, 3600):
            assert reject(m, dropped_at + gap - TICK, n) is Rejection.KEPT
            now = dropped_at + gap
            if reject(m, now, n) is Rejection.DROPPED:
                gaps.append(gap)
                break
    assert gaps == [60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_with_an_api_that_rejects_everything_there_is_one_forced_refresh_per_interval() -> None:
    m = machine()
    serve(m, 0)
    now, forced, n = 0.0, 0, 0
    while now < 179:
        if reject(m, now, n) is Rejection.DROPPED:
            n, forced = n + 1, forced + 1
            serve(m, now, n)
        now += 1
    assert forced == 2


def test_the_count_resets_when_a_token_reaches_refresh_at_without_any_rejection() -> None:
    m = machine()
    serve(m, 0)
    reject(m, 0)
    serve(m, 0, n=1)
    assert m.explain(269).rejections == 1
    assert m.explain(270).rejections == 0
    serve(m, 270, n=2)
    assert reject(m, 271, n=2) is Rejection.DROPPED
    assert m.explain(271).next_rejection_at == 331


def test_a_rejection_that_was_kept_stops_the_count_from_being_reset() -> None:
    m = machine()
    serve(m, 0)
    reject(m, 0)
    serve(m, 0, n=1)
    assert reject(m, 30, n=1) is Rejection.KEPT
    serve(m, 270, n=2)
    assert m.explain(270).rejections == 1
    assert reject(m, 271, n=2) is Rejection.DROPPED
    assert m.explain(271).next_rejection_at == 271 + 120


def test_a_token_past_refresh_at_is_dropped_on_good_evidence_without_charging_the_interval() -> None:
    m = machine()
    serve(m, 0)
    assert reject(m, 270) is Rejection.DROPPED
    assert m.explain(270).next_rejection_at is None
    serve(m, 270, n=1)
    assert reject(m, 271, n=1) is Rejection.DROPPED
    assert m.explain(271).next_rejection_at == 331


def test_a_token_past_refresh_at_is_dropped_on_good_evidence_even_within_the_interval() -> None:
    m = machine()
    serve(m, 0)
    reject(m, 0)
    serve(m, 0, n=1, expires_in=20)
    assert reject(m, 14, n=1) is Rejection.KEPT
    assert reject(m, 15, n=1) is Rejection.DROPPED
    assert m.explain(15).next_rejection_at == 60


def test_thin_evidence_about_a_token_past_refresh_at_is_charged() -> None:
    m = machine()
    serve(m, 0)
    assert reject(m, 270, challenge=Challenge.UNKNOWN) is Rejection.DROPPED
    assert m.explain(270).next_rejection_at == 330


# Kept
# ----


def test_a_401_that_names_no_cause_counts_only_against_a_token_of_some_age() -> None:
    for life, age in ((300, 60), (100, 25)):
        m = machine()
        attempt(m, 0, granted(0, life), took=5)
        assert reject(m, age - TICK, challenge=Challenge.UNKNOWN) is Rejection.KEPT
        assert reject(m, age, challenge=Challenge.UNKNOWN) is Rejection.DROPPED


@pytest.mark.parametrize("challenge", [Challenge.SCA, Challenge.LOCKED, Challenge.RATE_LIMITED, Challenge.NONE])
def test_an_answer_that_is_not_about_the_token_is_kept_and_changes_nothing(challenge: Challenge) -> None:
    m = machine()
    serve(m, 0)
    before = m.state_value
    for n in (0, 7):
        assert reject(m, 280, n, challenge) is Rejection.KEPT
    assert m.state_value is before


def test_a_token_is_kept_while_no_other_could_be_asked_for() -> None:
    closed, backing_off, spent = machine(), machine(), machine(budget_burst=1)
    for m in (closed, backing_off, spent):
        serve(m, 0)
    closed.door_closed(1, BlockKind.LOCKED)
    attempt(backing_off, 270, error(503, Retry_After="20"))
    for m, now in ((closed, 1), (closed, 280), (backing_off, 280), (spent, 1)):
        assert reject(m, now) is Rejection.KEPT
        assert m.authorization(now) == bearer()


def test_a_kept_token_is_dropped_as_soon_as_another_could_be_asked_for() -> None:
    m = machine()
    serve(m, 0)
    attempt(m, 270, error(503, Retry_After="20"))
    assert reject(m, 290 - TICK) is Rejection.KEPT
    assert reject(m, 290) is Rejection.DROPPED


# A rejected token issued again
# -----------------------------


def test_a_rejected_token_that_is_issued_again_is_a_failure_until_the_interval_has_passed() -> None:
    m = machine()
    serve(m, 0)
    reject(m, 100)
    outcome = attempt(m, 100, granted(0))
    assert isinstance(outcome, Failed)
    assert outcome.problem.kind is ProblemKind.REISSUED
    assert m.authorization(100) is None
    assert wait(m, 100) == (100.5, Why.RETRY)
    assert isinstance(attempt(m, 160 - TICK, granted(0)), Failed)
    assert isinstance(attempt(m, 161, granted(0)), Granted)
    assert m.authorization(161) == bearer(0)


def test_the_interval_counts_at_receipt_and_ends_exactly() -> None:
    m = machine()
    serve(m, 0)
    reject(m, 100)
    assert isinstance(attempt(m, 151, granted(0), took=9), Granted)


def test_a_late_answer_with_the_rejected_token_is_ignored() -> None:
    m = machine()
    serve(m, 0)
    reject(m, 1)
    request = m.start_request(1)
    assert isinstance(m.receive_response(12, request, granted(0)), Ignored)
    assert m.authorization(12) is None


def test_a_token_that_was_vouched_for_can_be_rejected_again() -> None:
    m = machine()
    serve(m, 0)
    reject(m, 100)
    serve(m, 160, n=0)
    assert reject(m, 161) is Rejection.DROPPED
    assert isinstance(attempt(m, 161, granted(0)), Failed)


def test_a_dropped_token_is_remembered_until_it_would_have_expired_and_not_longer() -> None:
    m = machine()
    serve(m, 0)
    reject(m, 1)
    serve(m, 1, n=1, expires_in=1000)
    m.lift_block(300 - TICK)
    assert len(m.state_value.rejections.dropped) == 1
    m.lift_block(300)
    assert not m.state_value.rejections.dropped


def test_the_digest_of_a_dropped_token_does_not_give_it_away() -> None:
    m = machine()
    serve(m, 0)
    reject(m, 1)
    (entry,) = m.state_value.rejections.dropped
    assert entry.digest not in bearer()
    assert len(entry.digest) == 64


def test_another_token_beside_a_dropped_one_is_taken() -> None:
    m = machine()
    serve(m, 0)
    reject(m, 1)
    attempt(m, 1, FAILED)
    serve(m, 2, n=1)
    assert len(m.state_value.rejections.dropped) == 1


def test_a_closed_door_after_a_drop_leaves_nothing_to_hand_out_and_says_why() -> None:
    m = machine()
    serve(m, 0)
    reject(m, 1)
    attempt(m, 1, LOCKED)
    problem = m.problem(1)
    assert problem is not None
    assert problem.kind is ProblemKind.LOCKED
    assert m.authorization(1) is None
