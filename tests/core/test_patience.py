"""Each waiter decides after every step, in one order. The order, by table."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest

from evertoken import (
    BlockKind,
    CredentialsRefused,
    EndpointLocked,
    GiveUp,
    HttpResponse,
    LifetimeTooShort,
    Policy,
    ProblemKind,
    RateLimited,
    Ready,
    SendReason,
    SendRequest,
    TokenMachine,
    TokenUnavailable,
    Wait,
    next_move,
)
from evertoken import WaitReason as Why
from tests.kits import canary
from tests.kits.driving import (
    FAILED,
    LIMITED,
    LOCKED,
    REFUSED,
    UNCLEAR,
    attempt,
    bearer,
    error,
    granted,
    machine,
    serve,
)

NEW = canary.grant(api_key=canary.secret(1))


def given_up(m: TokenMachine, now: float, *, deadline: float, since: float = 0.0, min_ttl: float = 0.0) -> GiveUp:
    move = next_move(m, now, since=since, deadline=deadline, min_ttl=min_ttl)
    assert isinstance(move, GiveUp)
    return move


def after(answer: HttpResponse, policy: Policy | None = None) -> TokenMachine:
    m = machine(policy)
    attempt(m, 0, answer)
    return m


def ready(m: TokenMachine) -> Ready:
    """What a caller is told who may have the token in hand, which is the first one."""
    token = m.state_value.token
    assert token is not None
    assert (token.value, token.authorization) == (canary.token(), bearer())
    return Ready(token)


# A usable token settles everything
# ---------------------------------


def test_a_usable_token_is_returned_whatever_block_stands_and_after_any_deadline() -> None:
    for answer in (None, FAILED, REFUSED, UNCLEAR, LOCKED, LIMITED):
        m = machine()
        serve(m, 0)
        if answer is not None:
            attempt(m, 270, answer)
        for deadline in (0.0, 271.0, math.inf):
            assert next_move(m, 271, since=271, deadline=deadline) == ready(m)


def test_a_usable_token_is_returned_while_another_is_on_its_way() -> None:
    m = machine()
    serve(m, 0)
    m.start_request(270)
    assert next_move(m, 271, since=271, deadline=280) == ready(m)


# A block fails at once
# ---------------------------


class Shut(NamedTuple):
    answer: HttpResponse
    kind: type[TokenUnavailable]
    retry_after: float


@pytest.mark.parametrize(
    "shut",
    [
        Shut(LOCKED, EndpointLocked, 900),
        Shut(REFUSED, CredentialsRefused, 3600),
        Shut(error(400, "invalid_scope"), CredentialsRefused, 3600),
        Shut(UNCLEAR, TokenUnavailable, 60),
    ],
    ids=lambda shut: shut.kind.__name__,
)
@pytest.mark.parametrize("deadline", [0.5, 15, 100_000, math.inf])
def test_refused_unclear_and_locked_raise_at_once_whatever_the_deadline(shut: Shut, deadline: float) -> None:
    move = given_up(after(shut.answer), 0, deadline=deadline)
    assert type(move.error) is shut.kind
    assert move.error.retry_after == shut.retry_after


def test_a_lock_raises_at_once_even_if_the_back_off_or_a_rate_limit_lasts_longer() -> None:
    backing_off = after(error(503, Retry_After="100"))
    limited = after(error(429, Retry_After="100"))
    for m in (backing_off, limited):
        m.endpoint_blocked(0, BlockKind.LOCKED, 5)
        assert type(given_up(m, 1, deadline=math.inf).error) is EndpointLocked


def test_a_block_that_is_over_raises_no_more() -> None:
    m = after(LOCKED)
    assert next_move(m, 900, since=900, deadline=915) == SendRequest(SendReason.NO_TOKEN)
    m = after(REFUSED)
    m.replace_credentials(1, NEW)
    assert next_move(m, 1, since=1, deadline=15) == SendRequest(SendReason.NO_TOKEN)


def test_an_old_refusal_gives_the_error_of_a_new_attempt_no_class() -> None:
    m = after(REFUSED)
    m.replace_credentials(1, NEW)
    m.start_request(1)
    assert type(given_up(m, 3, since=2, deadline=3).error) is TokenUnavailable
    m = after(LOCKED)
    m.start_request(900)
    assert type(given_up(m, 903, since=902, deadline=903).error) is TokenUnavailable


# A wait past the deadline fails at once, one within it is waited for
# -------------------------------------------------------------------


class Waiting(NamedTuple):
    answer: HttpResponse
    policy: Policy
    until: float
    reason: Why
    kind: type[TokenUnavailable]


@pytest.mark.parametrize(
    "waiting",
    [
        Waiting(error(503, Retry_After="10"), Policy(), 10, Why.RETRY, TokenUnavailable),
        Waiting(FAILED, Policy(budget_burst=1), 60, Why.BUDGET, TokenUnavailable),
        Waiting(LIMITED, Policy(), 60, Why.UNBLOCK, RateLimited),
    ],
    ids=lambda waiting: waiting.reason.name,
)
def test_retry_budget_and_rate_limit_are_waited_for_up_to_the_deadline_and_hopeless_beyond(waiting: Waiting) -> None:
    m = after(waiting.answer, waiting.policy)
    expected = Wait(waiting.until, waiting.reason)
    for deadline in (waiting.until, waiting.until + 1, math.inf):
        assert next_move(m, 1, since=1, deadline=deadline) == expected
    for deadline in (0, 1, waiting.until - 2**-10):
        move = given_up(m, 1, deadline=deadline)
        assert type(move.error) is waiting.kind
        assert move.error.retry_after == waiting.until - 1


def test_a_response_never_fails_fast_and_is_waited_for_until_the_earlier_of_the_two() -> None:
    m = machine()
    m.start_request(0)
    assert next_move(m, 1, since=1, deadline=5) == Wait(5, Why.RESPONSE)
    assert next_move(m, 1, since=1, deadline=50) == Wait(10, Why.RESPONSE)
    m.endpoint_blocked(1, BlockKind.LOCKED)
    assert next_move(m, 1, since=1, deadline=50) == Wait(10, Why.RESPONSE)


def test_the_deadline_ends_the_wait_for_a_response_with_an_error_that_says_so() -> None:
    m = machine()
    m.start_request(0)
    move = given_up(m, 5, deadline=5)
    assert type(move.error) is TokenUnavailable
    assert move.error.problem.kind is ProblemKind.CALLER_TIMEOUT
    assert "time that the caller gave" in str(move.error)


def test_the_error_of_an_impatient_caller_names_the_last_failure() -> None:
    m = after(FAILED)
    m.start_request(0.5)
    assert given_up(m, 2, deadline=2).error.problem.kind is ProblemKind.SERVER


# A permission is used by whoever has time left
# ---------------------------------------------


def test_a_caller_with_time_left_may_carry_the_request() -> None:
    m = machine()
    assert next_move(m, 0, since=0, deadline=1) == SendRequest(SendReason.NO_TOKEN)


def test_a_caller_without_time_may_not() -> None:
    for deadline in (0.0, 1.0):
        move = given_up(machine(), 1, deadline=deadline)
        assert move.error.retry_after == 0


# min_ttl
# -------


def test_more_life_than_tokens_have_to_give_is_refused_at_once() -> None:
    m = machine()
    serve(m, 0)
    move = given_up(m, 150, since=150, deadline=1000, min_ttl=148)
    assert type(move.error) is LifetimeTooShort
    assert next_move(m, 150, since=150, deadline=1000, min_ttl=144) == ready(m)


def test_more_life_than_the_token_in_hand_has_left_is_asked_for() -> None:
    m = machine()
    serve(m, 0)
    assert next_move(m, 160, since=160, deadline=200, min_ttl=140) == SendRequest(SendReason.REFRESH_DUE)


def test_a_caller_whose_own_fresh_grant_does_not_satisfy_it_is_told_so() -> None:
    m = machine()
    serve(m, 0, expires_in=300)
    request = m.start_request(160, 140)
    m.receive_response(161, request, granted(1, 100))
    move = given_up(m, 161, since=160, deadline=200, min_ttl=140)
    assert type(move.error) is LifetimeTooShort
    slow = machine(request_timeout=200)
    slow.receive_response(180, slow.start_request(0), granted(0, 300))
    assert type(given_up(slow, 180, since=0, deadline=400, min_ttl=140).error) is LifetimeTooShort


def test_a_caller_whose_own_grant_was_asked_for_within_the_same_tick_asks_for_no_second_one() -> None:
    m = machine()
    now = 200 + 2.0**-11
    serve(m, now)
    error = given_up(m, now + 200, deadline=1000, since=now, min_ttl=140).error
    assert isinstance(error, LifetimeTooShort)


def test_without_a_token_any_min_ttl_waits_like_any_other_caller() -> None:
    m = machine()
    assert next_move(m, 0, since=0, deadline=9, min_ttl=10_000) == SendRequest(SendReason.NO_TOKEN)
    m.start_request(0)
    assert next_move(m, 0, since=0, deadline=9, min_ttl=10_000) == Wait(9, Why.RESPONSE)


# What a move holds
# -----------------


def test_every_caller_gets_an_error_of_its_own() -> None:
    m = after(LOCKED)
    first, second = given_up(m, 1, deadline=9), given_up(m, 1, deadline=9)
    assert first.error is not second.error


def test_asking_changes_nothing_and_shows_nothing() -> None:
    m = machine()
    serve(m, 0)
    before = m.state_value
    canary.assert_clean(next_move(m, 0, since=0, deadline=9), given_up(after(REFUSED), 0, deadline=9))
    assert m.state_value is before
