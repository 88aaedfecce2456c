"""The budget. A bucket over every exchange, charged at the start and never refunded."""

from __future__ import annotations

import pytest

from evertoken import HttpResponse, LocalProtocolError, ProblemKind, RequestState, TokenMachine
from evertoken import WaitReason as Why
from tests.kits.driving import FAILED, attempt, bearer, error, granted, machine, serve, wait

TICK = 2.0**-10


def left(m: TokenMachine, now: float) -> tuple[int, float | None]:
    shown = m.explain(now)
    return (shown.budget_left, shown.budget_refill_at)


@pytest.mark.parametrize(
    "answer", [granted(), FAILED, HttpResponse(200), error(404), error(400, "invalid_client"), error(429)]
)
def test_an_exchange_costs_one_whatever_becomes_of_it(answer: HttpResponse) -> None:
    m = machine()
    request = m.start_request(0)
    assert left(m, 0) == (9, 60)
    m.receive_response(0, request, answer)
    assert left(m, 0) == (9, 60)


def test_an_abandoned_exchange_is_not_refunded_nor_is_a_lost_one() -> None:
    m = machine()
    m.request_abandoned(0, m.start_request(0))
    assert left(m, 0) == (9, 60)
    m.start_request(1)
    assert left(m, 12) == (8, 60)


def test_the_clock_of_the_refill_starts_when_the_bucket_leaves_full_and_stops_when_it_is_full_again() -> None:
    m = machine()
    m.request_abandoned(7, m.start_request(7))
    assert left(m, 7) == (9, 67)
    assert left(m, 67 - TICK) == (9, 67)
    assert left(m, 67) == (10, None)
    m.request_abandoned(1000, m.start_request(1000))
    assert left(m, 1000) == (9, 1060)


def test_the_refill_keeps_its_rhythm_while_the_bucket_is_not_full() -> None:
    m = machine(budget_burst=3)
    m.request_abandoned(0, m.start_request(0))
    m.request_abandoned(50, m.start_request(50))
    m.request_abandoned(59, m.start_request(59))
    assert left(m, 59) == (0, 60)
    assert left(m, 60) == (1, 120)
    assert left(m, 120) == (2, 180)
    assert left(m, 180) == (3, None)


def test_a_spent_budget_is_a_back_off_that_ends_with_the_next_refill() -> None:
    m = machine(budget_burst=1)
    m.request_abandoned(0, m.start_request(0))
    assert m.request_state(0) is RequestState.BACKING_OFF
    assert wait(m, 0) == (60, Why.BUDGET)
    problem = m.problem(0)
    assert problem is not None
    assert problem.kind is ProblemKind.BUDGET
    with pytest.raises(LocalProtocolError, match="budget"):
        m.start_request(60 - TICK)
    m.start_request(60)


def test_a_problem_of_the_endpoint_is_told_before_that_of_the_budget() -> None:
    m = machine(budget_burst=1)
    attempt(m, 0, FAILED)
    problem = m.problem(1)
    assert problem is not None
    assert problem.kind is ProblemKind.SERVER


def test_a_spent_budget_is_no_problem_while_the_token_is_valid() -> None:
    m = machine(budget_burst=1)
    serve(m, 0)
    assert m.authorization(1) == bearer()
    assert m.problem(1) is None


@pytest.mark.parametrize(("life", "interval"), [(1000, 60), (120, 60), (60, 30), (5, 2.5), (4, 2), (1, 2)])
def test_the_interval_is_half_the_granted_life_where_that_is_shorter_and_never_under_the_floor(
    life: int, interval: float
) -> None:
    m = machine()
    serve(m, 0, expires_in=life)
    assert m.state_value.budget.interval == interval


def test_a_longer_life_lengthens_the_interval_again_and_the_next_refill_keeps_its_moment() -> None:
    m = machine()
    serve(m, 0, expires_in=10)
    serve(m, 100, n=1, expires_in=10)
    assert left(m, 100) == (9, 105)
    serve(m, 108, n=2, expires_in=1000)
    assert left(m, 108) == (9, 113)
    m.request_abandoned(1108, m.start_request(1108))
    assert left(m, 1108) == (9, 1168)


@pytest.mark.parametrize("seconds", [59, 61, 600, 3601])
def test_no_window_holds_more_exchanges_than_the_burst_and_its_refills(seconds: float) -> None:
    m = machine(retry_base=2 * TICK, retry_cap=2 * TICK)
    starts, now = list[float](), 0.0
    while now < seconds:
        action = wait(m, now)
        if action is None:
            starts.append(now)
            attempt(m, now, FAILED)
        else:
            now = action[0]
    for first, start in enumerate(starts):
        for last in range(first, len(starts)):
            assert last - first + 1 <= 10 + (starts[last] - start) // 60


def test_with_the_default_policy_the_longest_back_off_averages_slower_than_the_budget_refills() -> None:
    m = machine(draw=0.5)
    now = 0.0
    for _ in range(200):
        attempt(m, now, FAILED)
        action = wait(m, now)
        assert action is not None
        assert action[1] is Why.RETRY
        now = action[0]
