"""An API rejects a token. Which word is believed, how often, and what may be issued again."""

from __future__ import annotations

from typing import Any

import pytest

from evertoken import (
    BlockKind,
    Challenge,
    Failed,
    Granted,
    HttpResponse,
    Ignored,
    LocalProtocolError,
    Policy,
    ProblemKind,
    Rejection,
    SendReason,
    SendRequest,
    TokenMachine,
)
from evertoken import WaitReason as Why
from evertoken._grammar import TokenRejected
from evertoken._step import step
from tests.kits import canary
from tests.kits.driving import FAILED, LOCKED, attempt, bearer, error, granted, machine, serve, wait

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


def test_rejections_of_tokens_that_never_worked_are_believed_once_per_interval_which_doubles_beyond_the_burst() -> None:
    m = machine(budget_burst=1000)
    now, gaps = 0.0, list[float]()
    serve(m, now)
    assert reject(m, now) is Rejection.DROPPED
    for n in range(1, 11):
        dropped_at = now
        serve(m, now, n, expires_in=86_400)
        for gap in (60, 120, 240, 480, 960, 1920, 3600):
            assert reject(m, dropped_at + gap - TICK, n) is Rejection.KEPT
            now = dropped_at + gap
            if reject(m, now, n) is Rejection.DROPPED:
                gaps.append(gap)
                break
    assert gaps == [60, 60, 60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_with_an_api_that_rejects_everything_there_is_one_forced_refresh_per_interval() -> None:
    m = machine()
    serve(m, 0)
    now, forced, n = 0.0, 0, 0
    while now < 179:
        if reject(m, now, n) is Rejection.DROPPED:
            n, forced = n + 1, forced + 1
            serve(m, now, n)
        now += 1
    assert forced == 3


# Tokens that have worked
# -----------------------


def test_restarts_of_a_server_within_a_minute_cost_no_401_beyond_the_first() -> None:
    m = machine()
    now = 0.0
    for n in range(3):
        serve(m, now, n)
        m.token_worked(now + 1, bearer(n))
        now += 25
        assert reject(m, now, n) is Rejection.DROPPED
    serve(m, now, 3)
    m.token_worked(now + 1, bearer(3))
    assert reject(m, now + 25, 3) is Rejection.KEPT
    assert reject(m, now + 60, 3) is Rejection.DROPPED


def test_a_token_that_has_worked_is_not_dropped_at_once_in_its_first_seconds() -> None:
    for life, age in ((300, 5), (12, 3)):
        m = machine()
        serve(m, 0)
        reject(m, 0)
        serve(m, 1, 1, life)
        m.token_worked(1, bearer(1))
        assert reject(m, 1 + age - TICK, 1) is Rejection.KEPT
        assert reject(m, 1 + age, 1) is Rejection.DROPPED


def test_that_another_token_worked_says_nothing_of_the_one_in_hand() -> None:
    m = machine()
    m.token_worked(0, bearer())
    serve(m, 0)
    before = m.state_value
    m.token_worked(0, bearer(7))
    assert m.state_value == before
    reject(m, 0)
    m.token_worked(1, bearer())
    serve(m, 1, 1)
    assert reject(m, 20, 1) is Rejection.KEPT


def test_a_repeated_token_has_worked_if_it_had() -> None:
    m = machine()
    serve(m, 0)
    reject(m, 0)
    serve(m, 1, 1, 20)
    m.token_worked(2, bearer(1))
    serve(m, 16, 1)
    assert m.state_value.rejections.worked
    serve(m, 290, 2)
    assert not m.state_value.rejections.worked


def test_thin_evidence_about_a_token_that_has_worked_still_needs_a_token_of_some_age() -> None:
    m = machine()
    serve(m, 0)
    reject(m, 0)
    serve(m, 1, 1, 100)
    m.token_worked(2, bearer(1))
    assert reject(m, 26 - TICK, 1, Challenge.UNKNOWN) is Rejection.KEPT
    assert reject(m, 26, 1, Challenge.UNKNOWN) is Rejection.DROPPED


def test_a_row_of_rejections_is_over_when_a_token_works_and_none_is_heard_of_for_ten_intervals() -> None:
    m = machine()
    serve(m, 0)
    reject(m, 0)
    serve(m, 1, 1, 86_400)
    assert reject(m, 50, 1) is Rejection.KEPT
    m.token_worked(60, bearer(1))
    assert m.explain(650 - TICK).rejections == 1
    assert m.explain(650).rejections == 0


def test_a_row_of_rejections_lasts_while_no_token_works() -> None:
    m = machine()
    serve(m, 0)
    reject(m, 0)
    serve(m, 1, 1, 86_400)
    assert m.explain(10_000).rejections == 1
    m.token_worked(10_000, bearer(1))
    assert m.explain(10_000).rejections == 0


def test_a_server_that_restarts_each_half_hour_costs_no_401_beyond_the_first() -> None:
    m = machine()
    for n in range(48):
        now = n * 1800.0
        serve(m, now, n, 86_400)
        m.token_worked(now + 1, bearer(n))
        assert reject(m, now + 1799, n) is Rejection.DROPPED


@pytest.mark.no_cover
def test_a_node_that_refuses_every_third_call_costs_nine_requests_in_the_first_hour_and_two_in_each_later_one() -> None:
    m = machine()
    asked, n, hours = 0, -1, list[int]()
    for second in range(4 * 3600):
        if second % 3600 == 0:
            hours.append(0)
        if m.authorization(second) is None or isinstance(m.poll(second), SendRequest):
            n, asked = n + 1, asked + 1
            serve(m, second, n, 86_400)
            hours[-1] += 1
        if second % 3 == 0:
            reject(m, second, n)
        else:
            m.token_worked(second, bearer(n))
    assert hours[0] <= 10
    assert max(hours[1:]) <= 2


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
    closed.endpoint_blocked(1, BlockKind.LOCKED)
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


def test_a_block_after_a_drop_leaves_nothing_to_hand_out_and_says_why() -> None:
    m = machine()
    serve(m, 0)
    reject(m, 1)
    attempt(m, 1, LOCKED)
    problem = m.problem(1)
    assert problem is not None
    assert problem.kind is ProblemKind.LOCKED
    assert m.authorization(1) is None


@pytest.mark.parametrize("wrong", ["token-0", " token-0 ", "", None, b"Bearer token-0"])
def test_a_value_without_its_scheme_is_misuse(wrong: Any) -> None:  # noqa: ANN401
    m = machine()
    for call in (lambda: m.token_rejected(1, wrong, Challenge.TOKEN), lambda: m.token_worked(1, wrong)):
        with pytest.raises(LocalProtocolError, match="authorization must be"):
            call()


def test_the_step_itself_believes_only_what_speaks_of_the_token() -> None:
    policy = Policy()
    told = TokenMachine(canary.grant(), policy=policy, draw=lambda: 0.5)
    request = told.start_request(0)
    body = b'{"access_token": "%s", "token_type": "bearer", "expires_in": 1200}' % canary.token().encode()
    told.receive_response(1, request, HttpResponse(200, (), body))
    for challenge in (Challenge.SCA, Challenge.NONE, Challenge.RATE_LIMITED, Challenge.LOCKED):
        state, _ = step(policy, told.state_value, TokenRejected(400, f"Bearer {canary.token()}", challenge))
        assert state.token is not None
    bug = told.read_failure(request, "TypeError in app.py", is_bug=True)
    assert "by a bug" in str(bug)
