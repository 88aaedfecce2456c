"""Time. When tokens fall due and expire, what poll waits for, what is published to readers."""

from __future__ import annotations

import math

import pytest

from evertoken import (
    BlockKind,
    Challenge,
    Failed,
    Freshness,
    Granted,
    ProblemKind,
    SendReason,
    SendRequest,
    TokenState,
    Wait,
)
from evertoken import WaitReason as Why
from tests.kits import canary
from tests.kits.driving import FAILED, LOCKED, attempt, bearer, error, granted, machine, serve, wait

TICK = 2.0**-10


def test_before_the_first_token_there_is_nothing_but_a_permission_to_ask() -> None:
    m = machine()
    assert m.poll(0) == SendRequest(SendReason.NO_TOKEN)
    assert m.state(0) is TokenState.NONE
    assert m.authorization(0) is None
    assert m.token(0) is None
    assert m.problem(0) is None
    assert m.published == (-math.inf, None)


def test_the_life_of_a_token_counts_from_the_start_of_its_request() -> None:
    m = machine()
    attempt(m, 100, granted(0, 300), took=8)
    token = m.token(108)
    assert token is not None
    assert (token.started, token.expires_at, token.lifetime) == (100, 400, 300)
    assert (token.fresh_until, token.refresh_at) == (395, 370)


def test_a_token_is_due_at_refresh_at_and_gone_at_fresh_until_with_half_open_intervals() -> None:
    m = machine()
    serve(m, 0)
    assert m.freshness(270 - TICK) is Freshness.VALID
    assert m.freshness(270) is Freshness.REFRESH_DUE
    assert m.freshness(295 - TICK) is Freshness.REFRESH_DUE
    assert m.authorization(295 - TICK) == bearer()
    assert m.freshness(295) is Freshness.EXPIRED
    assert m.authorization(295) is None
    assert m.token(295) is None


@pytest.mark.parametrize(
    ("now", "reason"), [(270, SendReason.REFRESH_DUE), (294, SendReason.REFRESH_DUE), (295, SendReason.EXPIRED)]
)
def test_poll_says_why_a_request_may_start(now: float, reason: SendReason) -> None:
    m = machine()
    serve(m, 0)
    assert m.poll(now) == SendRequest(reason)


def test_poll_says_that_the_token_was_rejected() -> None:
    m = machine()
    serve(m, 0)
    m.token_rejected(1, bearer(), Challenge.TOKEN)
    assert m.poll(1) == SendRequest(SendReason.REJECTED)


@pytest.mark.parametrize(
    ("life", "refresh_at", "fresh_until"),
    [
        (1, 0.75, 0.95),
        (2, 1.5, 1.9),
        (4, 3, 3.8),
        (100, 75, 95),
        (120, 90, 115),
        (300, 270, 295),
        (86_400, 86_370, 86_395),
        (10**9, 86_370, 86_395),
    ],
)
def test_margins_are_the_smaller_of_seconds_and_share_and_an_absurd_life_is_capped(
    life: int, refresh_at: float, fresh_until: float
) -> None:
    m = machine()
    serve(m, 0, expires_in=life)
    token = m.token(0)
    assert token is not None
    assert refresh_at - TICK < token.refresh_at <= refresh_at
    assert fresh_until - TICK < token.fresh_until <= fresh_until


def test_a_missing_lifetime_is_the_policys_default() -> None:
    m = machine(default_lifetime=77)
    serve(m, 0, expires_in=None)
    token = m.token(0)
    assert token is not None
    assert token.lifetime == 77


def test_jitter_brings_the_refresh_forward_by_a_drawn_share_of_the_life_and_moves_nothing_else() -> None:
    m = machine(draw=0.5)
    serve(m, 0)
    token = m.token(0)
    assert token is not None
    assert token.refresh_at == 270 - 0.5 * 0.02 * 300
    assert token.fresh_until == 295


def test_a_slow_answer_is_due_no_earlier_than_halfway_between_receipt_and_fresh_until() -> None:
    m = machine(request_timeout=400)
    attempt(m, 0, granted(0, 300), took=275)
    token = m.token(275)
    assert token is not None
    assert token.refresh_at == 285


def test_a_refresh_is_never_due_after_the_token_is_gone() -> None:
    m = machine(refresh_before=0, leeway=60, leeway_share=0.5)
    serve(m, 0)
    token = m.token(0)
    assert token is not None
    assert token.refresh_at == token.fresh_until == 240


def test_a_token_that_is_dead_on_arrival_is_a_failure_with_back_off() -> None:
    m = machine()
    outcome = attempt(m, 0, granted(0, 1), took=1)
    assert isinstance(outcome, Failed)
    assert outcome.problem.kind is ProblemKind.DEAD_ON_ARRIVAL
    assert m.authorization(1) is None
    assert wait(m, 1) == (1.5, Why.RETRY)


def test_dead_on_arrival_begins_at_fresh_until_exactly() -> None:
    alive, dead = machine(), machine()
    assert isinstance(attempt(alive, 0, granted(0, 10), took=9.5 - TICK), Granted)
    assert isinstance(attempt(dead, 0, granted(0, 10), took=9.5), Failed)


def test_tokens_that_die_on_arrival_back_off_further_each_time() -> None:
    m = machine()
    now = 0.0
    for pause in (0.5, 1, 2, 4):
        attempt(m, now, granted(0, 1), took=1)
        assert wait(m, now + 1) == (now + 1 + pause, Why.RETRY)
        now += 1 + pause


def test_a_dead_token_keeps_the_live_one_in_hand() -> None:
    m = machine()
    serve(m, 0)
    attempt(m, 270, granted(1, 1), took=2)
    assert m.authorization(272) == bearer(0)


def test_the_newest_token_wins_even_if_it_lives_shorter() -> None:
    m = machine()
    serve(m, 0, expires_in=300)
    serve(m, 270, n=1, expires_in=10)
    assert m.authorization(271) == bearer(1)
    assert m.authorization(280) is None


@pytest.mark.parametrize("life", [3, 4, 5, 10, 30])
def test_lifetimes_of_three_seconds_and_more_are_served_without_a_gap(life: int) -> None:
    for draw in (0.0, 0.5, 1 - TICK):
        m = machine(draw=draw)
        serve(m, 0, expires_in=life)
        now, n = 0.0, 0
        while now < 40 * life:
            action = wait(m, now)
            if action is None:
                n += 1
                serve(m, now, n, expires_in=life)
            else:
                now = action[0]
                assert m.authorization(now) == bearer(n)


@pytest.mark.parametrize("life", [1, 2, 3, 4])
def test_a_token_shorter_than_every_margin_costs_at_most_two_requests_per_lifetime(life: int) -> None:
    m = machine()
    now, count, end = 0.0, 0, 200.0 * life
    while now < end:
        action = wait(m, now)
        if action is None:
            count += 1
            attempt(m, now, granted(count, life))
        else:
            now = action[0]
    assert count <= 2 * end / life
    # With the bucket's first burst aside, it is the floor of the budget that bounds the shortest lives.
    assert count <= 10 + end / 2 + 1


def test_the_latest_deadline_ahead_is_the_one_that_poll_names() -> None:
    m = machine(budget_burst=1)
    attempt(m, 0, FAILED)
    assert wait(m, 0) == (60, Why.BUDGET)
    m = machine(budget_burst=1, locked_wait=60)
    attempt(m, 0, LOCKED)
    assert wait(m, 0) == (60, Why.UNBLOCK)
    m = machine(budget_burst=1)
    attempt(m, 0, error(503, Retry_After="60"))
    assert wait(m, 0) == (60, Why.BUDGET)
    m = machine()
    serve(m, 0)
    attempt(m, 270, error(503, Retry_After="7"))
    assert wait(m, 270) == (277, Why.RETRY)


def test_a_tie_of_retry_and_refresh_is_named_retry() -> None:
    m = machine(request_timeout=50)
    serve(m, 0)
    request = m.start_request(160, 140)
    m.receive_response(160, request, error(503, Retry_After="110"))
    assert wait(m, 160) == (270, Why.RETRY)


def test_in_flight_the_wait_is_for_the_response_until_the_attempts_deadline() -> None:
    m = machine()
    request = m.start_request(5)
    assert request.deadline == 15
    assert wait(m, 5) == wait(m, 15 - TICK) == (15, Why.RESPONSE)


def test_a_late_input_is_taken_to_happen_at_the_largest_time_of_any_input() -> None:
    m = machine()
    request = m.start_request(100)
    m.receive_response(90, request, granted(0, 300))
    token = m.token(0)
    assert token is not None
    assert m.state_value.now == 100
    assert token.refresh_at == 370
    assert wait(m, 0) == (370, Why.REFRESH)
    m.lift_block(396)
    assert m.authorization(100) is None
    assert m.freshness(100) is Freshness.EXPIRED


def _story(origin: float) -> list[float]:
    """Moments of an eventful life, seen from ``origin``."""
    m = machine(draw=0.3, budget_interval=2.7, budget_burst=2)
    moments: list[float] = []
    attempt(m, origin, FAILED)
    for n in range(3):
        while (action := wait(m, moments[-1] if moments else origin)) is not None:
            moments.append(action[0])
        attempt(m, moments[-1], granted(n, 7), took=0.25)
        moments.append(m.published[0])
    return [moment - origin for moment in moments]


@pytest.mark.parametrize("origin", [-(2.0**39), -1000.0, 7.25, 2.0**39])
def test_no_origin_of_time_changes_an_answer(origin: float) -> None:
    assert _story(origin) == _story(0)


# min_ttl
# -------


def test_min_ttl_counts_to_the_moment_from_which_the_token_is_no_longer_handed_out() -> None:
    m = machine()
    serve(m, 0)
    assert m.authorization(195 - TICK, 100) == bearer()
    assert m.authorization(195, 100) is None
    assert wait(m, 195 - TICK, 100) == (195, Why.REFRESH)
    assert m.poll(195, 100) == SendRequest(SendReason.REFRESH_DUE)
    assert wait(m, 195) == (270, Why.REFRESH)


def test_min_ttl_is_honoured_up_to_half_of_the_usable_life_and_counts_as_nothing_above() -> None:
    m = machine()
    serve(m, 0)
    assert wait(m, 200, 147.5) is None
    assert wait(m, 200, 147.5 + TICK) == (270, Why.REFRESH)


def test_min_ttl_never_makes_a_refresh_later() -> None:
    m = machine()
    serve(m, 0)
    assert wait(m, 0, 1) == (270, Why.REFRESH)


# published
# ---------


@pytest.mark.parametrize("min_ttl", [TICK, 0.5, 1.0])
def test_a_min_ttl_of_less_than_a_second_counts_too(min_ttl: float) -> None:
    m = machine(refresh_before=0, refresh_jitter_share=0, leeway=0)
    serve(m, 0)
    assert wait(m, 1, min_ttl) == (300 - min_ttl, Why.REFRESH)


# The grid
# --------


@pytest.mark.parametrize("share", [2.0**-20, 0.5, 1 - 2.0**-20])
def test_a_moment_between_two_ticks_is_the_tick_before_it(share: float) -> None:
    plain, odd = machine(), machine()
    late = share * TICK
    for m, off in ((plain, 0.0), (odd, late)):
        serve(m, 0 + off)
        serve(m, 270 + off, 1)
        m.token_rejected(400 + off, bearer(1), Challenge.TOKEN)
        m.send_failed(411 + off, m.start_request(401 + off, min_ttl=0.0), "reset")
        m.request_abandoned(421 + off, m.start_request(420 + off))
        m.endpoint_blocked(430 + off, BlockKind.LOCKED, 5.3)
        m.replace_credentials(440 + off, canary.grant(api_key=canary.secret(1)))
        m.lift_block(441 + off)
        attempt(m, 442 + off, LOCKED)
    assert odd.state_value == plain.state_value
    assert odd.published == plain.published
    for now in (443, 1341, 1342 - TICK, 1342, 1400):
        for ask in ("poll", "state", "freshness", "request_state", "token", "authorization", "explain", "problem"):
            assert getattr(odd, ask)(now + late) == getattr(plain, ask)(now), ask
        assert odd.snapshot(now + late, secrets=True) == plain.snapshot(now, secrets=True)


@pytest.mark.parametrize("min_ttl", [60.0001, 60.0004, 100.00077, 147.4999])
def test_a_wait_lies_ahead_whatever_min_ttl_is_asked_for(min_ttl: float) -> None:
    m = machine()
    serve(m, 0)
    due = 295 - min_ttl
    for now in (due - TICK, due - TICK / 2, due - TICK / 8, due, due + TICK / 2, due + TICK):
        action = m.poll(now, min_ttl)
        header = m.authorization(now, min_ttl)
        assert (header is None) is isinstance(action, SendRequest)
        if isinstance(action, Wait):
            assert action.until > now
        if header is not None:
            assert now < due


def test_a_query_about_a_moment_before_the_last_input_is_about_that_input() -> None:
    m = machine()
    attempt(m, 100, FAILED)
    assert m.poll(3) == m.poll(100)
    assert m.request_state(3) is m.request_state(100)
    assert m.explain(3) == m.explain(100)
    serve(m, 200)
    assert m.poll(3) == m.poll(200)
    assert (m.token(3), m.freshness(3)) == (m.token(200), Freshness.VALID)


def test_quiet_until_is_when_the_next_refresh_may_start() -> None:
    m = machine()
    serve(m, 0)
    assert m.published == (270, bearer())


def test_quiet_until_is_the_end_of_the_back_off_while_a_token_is_due() -> None:
    m = machine()
    serve(m, 0)
    attempt(m, 270, error(503, Retry_After="9"))
    assert m.published == (279, bearer())


def test_quiet_until_never_goes_past_fresh_until() -> None:
    m = machine()
    serve(m, 0)
    attempt(m, 270, LOCKED)
    assert m.published == (295, bearer())


def test_quiet_until_sees_past_the_attempt_in_flight_to_the_end_of_the_back_off_after_its_loss() -> None:
    m = machine(request_timeout=10)
    serve(m, 0)
    m.start_request(270)
    assert m.published == (280.5, bearer())


def test_without_a_token_there_is_nothing_to_publish() -> None:
    m = machine()
    serve(m, 0)
    m.token_rejected(1, bearer(), Challenge.TOKEN)
    assert m.published == (-math.inf, None)


# Local mistakes about time
# -------------------------

ODD_TIMES = [math.nan, math.inf, -math.inf, 2.0**40, -(2.0**40), 10**400, -(10**400), True, "1", None]


@pytest.mark.parametrize("now", ODD_TIMES, ids=repr)
def test_a_now_that_is_no_moment_is_refused_by_every_method_and_changes_nothing(now: float) -> None:
    m = machine()
    request = serve(m, 0)
    before = m.state_value
    for call in (
        lambda: m.authorization(now),
        lambda: m.token(now),
        lambda: m.freshness(now),
        lambda: m.request_state(now),
        lambda: m.state(now),
        lambda: m.poll(now),
        lambda: m.problem(now),
        lambda: m.explain(now),
        lambda: m.start_request(now),
        lambda: m.receive_response(now, request, granted()),
        lambda: m.send_failed(now, request, "refused"),
        lambda: m.request_abandoned(now, request),
        lambda: m.token_rejected(now, "Bearer of-nobody", Challenge.TOKEN),
        lambda: m.lift_block(now),
        lambda: m.replace_credentials(now, canary.grant(api_key=canary.secret(9))),
    ):
        with pytest.raises(ValueError, match=r"\bnow\b") as caught:
            call()
        canary.assert_clean(caught.value)
    assert m.state_value is before


@pytest.mark.parametrize("seconds", [-1, -TICK, math.nan, math.inf, 2.0**40, 10**400, True, "1", None], ids=repr)
def test_a_min_ttl_that_is_no_duration_is_refused(seconds: float) -> None:
    m = machine()
    serve(m, 0)
    for call in (
        lambda: m.authorization(0, seconds),
        lambda: m.poll(0, seconds),
        lambda: m.start_request(300, seconds),
    ):
        with pytest.raises(ValueError, match="min_ttl"):
            call()
