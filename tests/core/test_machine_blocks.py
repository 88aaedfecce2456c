"""Blocks. How long each kind stands, what ends it, what doubles, what a report does."""

from __future__ import annotations

import math

import pytest

from evertoken import (
    BlockKind,
    Freshness,
    HttpResponse,
    LocalProtocolError,
    Policy,
    ProblemKind,
    RequestState,
    TokenEndpoint,
    TokenMachine,
    TokenState,
)
from evertoken import WaitReason as Why
from evertoken._grant import ClientCredentials
from tests.kits import canary
from tests.kits.driving import (
    FAILED,
    LIMITED,
    LOCKED,
    REFUSED,
    UNAUTHORIZED,
    UNCLEAR,
    attempt,
    bearer,
    error,
    granted,
    machine,
    serve,
    wait,
)


def until(m: TokenMachine, now: float) -> float:
    action = wait(m, now)
    assert action is not None
    return action[0]


@pytest.mark.parametrize(
    ("answer", "seconds", "kind"),
    [
        (LOCKED, 900, BlockKind.LOCKED),
        (REFUSED, 3600, BlockKind.REFUSED),
        (UNAUTHORIZED, 3600, BlockKind.REFUSED),
        (error(400, "invalid_scope"), 3600, BlockKind.REFUSED),
        (UNCLEAR, 60, BlockKind.UNCLEAR),
        (error(403), 60, BlockKind.UNCLEAR),
        (error(302, Location="https://elsewhere.example/"), 60, BlockKind.UNCLEAR),
        (LIMITED, 60, BlockKind.RATE_LIMITED),
    ],
)
def test_each_kind_of_block_has_a_wait_of_its_own_and_nothing_starts_before_it_is_over(
    answer: HttpResponse, seconds: float, kind: BlockKind
) -> None:
    m = machine()
    attempt(m, 5, answer)
    assert m.state(5) is TokenState.BLOCKED
    assert wait(m, 5) == (5 + seconds, Why.UNBLOCK)
    assert m.explain(5).blocks == ((kind, 5 + seconds),)
    for now in (5, 5 + seconds / 2, 5 + seconds - 2**-10):
        with pytest.raises(LocalProtocolError, match="unblock"):
            m.start_request(now)
    assert m.request_state(5 + seconds) is RequestState.IDLE


def test_elsewhere_than_at_mangopay_unauthorized_client_is_a_refusal() -> None:
    grant = ClientCredentials(TokenEndpoint("https://as.example/token"), "canary", canary.secret())
    m = machine(credentials=grant)
    attempt(m, 0, LOCKED)
    assert m.explain(0).blocks == ((BlockKind.REFUSED, 3600),)


@pytest.mark.parametrize(
    ("answer", "waits"),
    [
        (LOCKED, [900, 1800, 3600, 7200, 14_400, 21_600, 21_600]),
        (REFUSED, [3600, 7200, 14_400, 28_800, 57_600, 86_400, 86_400]),
        (UNCLEAR, [60, 120, 240, 480, 960, 1920, 3600, 3600]),
        (LIMITED, [60, 120, 240, 480, 960, 1920, 3600, 3600]),
    ],
)
def test_each_kind_of_block_doubles_its_wait_up_to_a_cap(answer: HttpResponse, waits: list[float]) -> None:
    m = machine()
    now, got = 0.0, list[float]()
    for _ in waits:
        attempt(m, now, answer)
        got.append(until(m, now) - now)
        now += got[-1]
    assert got == waits


def test_a_grant_resets_the_doubling() -> None:
    m = machine()
    attempt(m, 0, LOCKED)
    attempt(m, 900, LOCKED)
    serve(m, 900 + 1800)
    attempt(m, 900 + 1800 + 270, LOCKED)
    assert until(m, 2970) == 2970 + 900


def test_each_kind_doubles_for_itself() -> None:
    m = machine()
    attempt(m, 0, LOCKED)
    attempt(m, 900, UNCLEAR)
    assert until(m, 900) == 960
    attempt(m, 960, LOCKED)
    assert until(m, 960) == 960 + 1800


def test_a_live_token_is_handed_out_while_a_block_stands() -> None:
    m = machine()
    serve(m, 0)
    attempt(m, 270, LOCKED)
    assert m.state(270) is TokenState.BLOCKED
    assert m.freshness(270) is Freshness.REFRESH_DUE
    assert m.authorization(294) == bearer()


# What servers state
# ------------------


def test_a_stated_wait_after_429_counts_in_full_capped_and_spread() -> None:
    for stated, draw, seconds in (("5", 0.0, 5), ("100", 0.5, 105), ("9999999", 0.0, 86_400)):
        m = machine(draw=draw)
        attempt(m, 0, error(429, Retry_After=stated))
        assert wait(m, 0) == (seconds, Why.UNBLOCK)


def test_a_429_that_states_its_wait_doubles_nothing() -> None:
    m = machine()
    now = 0.0
    for answer, seconds in ((LIMITED, 60), (error(429, Retry_After="90"), 90), (LIMITED, 120), (LIMITED, 240)):
        attempt(m, now, answer)
        assert until(m, now) == now + seconds
        now += seconds


def test_a_rate_limit_that_nobody_states_doubles_to_an_hour_and_no_longer_than_a_policy_lets_servers_state() -> None:
    capped, patient = Policy(rate_limited_wait_cap=100), Policy(rate_limited_wait=7200)
    for policy, longest in ((Policy(), 3600), (capped, 100), (patient, 7200)):
        m = machine(policy)
        now = 0.0
        waits = list[float]()
        for _ in range(9):
            attempt(m, now, LIMITED)
            waits.append(until(m, now) - now)
            now += waits[-1]
        assert max(waits) == waits[-1] == longest


def test_a_429_is_never_shorter_than_the_back_off_that_so_many_failures_ask_for() -> None:
    m = machine(budget_burst=100)
    now, waits = 0.0, list[float]()
    for answer in (FAILED, FAILED, FAILED, error(429, Retry_After="0"), error(429, Retry_After="1")):
        attempt(m, now, answer)
        waits.append(until(m, now) - now)
        now += waits[-1]
    assert waits == [0.5, 1, 2, 4, 8]


def test_a_stated_wait_lengthens_any_other_block_up_to_its_cap_and_never_shortens_it() -> None:
    for status, code, stated, seconds in (
        (400, "unauthorized_client", "10", 900),
        (400, "unauthorized_client", "2000", 2000),
        (400, "unauthorized_client", "99999", 21_600),
        (404, None, "10", 60),
        (404, None, "99999", 3600),
        (401, None, "10", 3600),
        (401, "invalid_client", "9000", 9000),
        (400, "invalid_scope", "999999", 86_400),
    ):
        m = machine()
        attempt(m, 0, error(status, code, Retry_After=stated))
        assert until(m, 0) == seconds


def test_a_stated_wait_is_kept_where_a_first_refusal_is_doubted() -> None:
    m = machine()
    serve(m, 0)
    attempt(m, 270, error(401, Retry_After="1000"))
    assert until(m, 270) == 1270


# What ends blocks
# ----------------


def test_a_block_that_is_over_is_remembered_until_a_grant() -> None:
    m = machine()
    attempt(m, 0, LOCKED)
    for now in (900, 100_000):
        assert m.explain(now).blocks == ()
        assert [(block.until, block.times) for block in m.state_value.blocks] == [(900, 1)]
    serve(m, 100_000)
    assert m.state_value.blocks == ()


def test_a_grant_forgets_of_each_kind_what_was_found_before_it_and_of_no_other() -> None:
    m = machine()
    attempt(m, 0, UNCLEAR)
    first = m.start_request(60)
    attempt(m, 71, LOCKED)
    m.receive_response(72, first, granted(0))
    assert [(block.kind, block.times) for block in m.state_value.blocks] == [(BlockKind.LOCKED, 1)]
    attempt(m, 971, UNCLEAR)
    assert until(m, 971) == 971 + 60


def test_lift_block_ends_every_block_and_keeps_counters_back_off_and_budget() -> None:
    m = machine()
    attempt(m, 0, error(503, Retry_After="9000"))
    m.endpoint_blocked(1, BlockKind.LOCKED)
    m.endpoint_blocked(1, BlockKind.REFUSED)
    m.lift_block(2)
    assert m.explain(2).blocks == ()
    assert wait(m, 2) == (3, Why.RETRY)
    assert m.explain(2).failures == 1
    assert m.explain(2).budget_left == 9
    m.endpoint_blocked(3, BlockKind.LOCKED)
    assert m.explain(3).blocks == ((BlockKind.LOCKED, 3 + 1800),)


def test_a_grant_opens_what_was_learnt_from_attempts_started_no_later_and_reported_before_it_started() -> None:
    m = machine()
    first = m.start_request(0)
    second = m.start_request(11)
    m.receive_response(12, first, LOCKED)
    m.receive_response(13, second, granted())
    assert m.explain(13).blocks == ()


def test_a_grant_leaves_a_block_that_was_reported_after_it_started() -> None:
    for reported_at in (5, 6):
        m = machine()
        request = m.start_request(5)
        m.endpoint_blocked(reported_at, BlockKind.LOCKED)
        m.receive_response(7, request, granted())
        assert m.state(7) is TokenState.BLOCKED
        assert m.authorization(7) == bearer()


def test_a_late_grant_leaves_a_block_that_a_younger_attempt_found() -> None:
    m = machine()
    first = m.start_request(0)
    attempt(m, 11, LOCKED)
    m.receive_response(12, first, granted(0))
    assert m.authorization(12) == bearer()
    assert until(m, 12) == 911
    attempt(m, 911, LOCKED)
    assert until(m, 911) == 911 + 1800


def test_a_late_grant_forgets_no_failure_of_a_younger_attempt() -> None:
    for answer in (FAILED, LIMITED):
        m = machine()
        first = m.start_request(0)
        attempt(m, 11, answer)
        assert m.explain(11).failures == 2
        m.receive_response(12, first, granted(0))
        assert m.explain(12).failures == 2
        assert m.problem(12) is not None


# News of a block that stands already
# -------------------------------------


def test_news_of_the_same_kind_keeps_the_later_moment() -> None:
    m = machine()
    m.endpoint_blocked(0, BlockKind.LOCKED, 5000)
    m.endpoint_blocked(1, BlockKind.LOCKED, 10)
    assert until(m, 1) == 5000
    m.endpoint_blocked(2, BlockKind.LOCKED, 6000)
    assert until(m, 2) == 6002


def test_a_report_while_its_block_stands_never_doubles_it() -> None:
    m = machine()
    for now in range(10):
        m.endpoint_blocked(now, BlockKind.LOCKED)
        assert until(m, now) == now + 900
    m.endpoint_blocked(2000, BlockKind.LOCKED)
    assert until(m, 2000) == 2000 + 1800
    m.endpoint_blocked(2001, BlockKind.LOCKED)
    assert until(m, 2001) == 2001 + 1800


def test_the_latest_of_all_blocks_counts_and_the_gravest_problem_is_told() -> None:
    m = machine()
    m.endpoint_blocked(0, BlockKind.RATE_LIMITED, 5000)
    m.endpoint_blocked(0, BlockKind.LOCKED, 50)
    assert wait(m, 0) == (5000, Why.UNBLOCK)
    problem = m.problem(0)
    assert problem is not None
    assert problem.kind is ProblemKind.LOCKED
    after = m.problem(50)
    assert after is not None
    assert after.kind is ProblemKind.RATE_LIMITED


def test_lifting_ends_the_wait_that_a_failure_stated_and_leaves_at_most_our_own_back_off() -> None:
    m = machine()
    attempt(m, 0, error(503, Retry_After="86400"))
    assert wait(m, 10) == (86_400, Why.RETRY)
    m.lift_block(10)
    assert wait(m, 10) == (11, Why.RETRY)
    assert m.explain(10).failures == 1
    problem = m.problem(10)
    assert problem is not None
    assert problem.kind is ProblemKind.SERVER
    m.lift_block(10.25)
    assert wait(m, 10.25) == (11, Why.RETRY)


def test_lifting_ends_a_stated_wait_at_once_where_nothing_has_failed_since() -> None:
    m = machine()
    late = m.start_request(0)
    m.receive_response(13, m.start_request(12), granted(0, 20))
    m.receive_response(14, late, error(503, Retry_After="600"))
    assert wait(m, 40) == (614, Why.RETRY)
    m.lift_block(40)
    assert wait(m, 40) is None


def test_blocks_are_told_in_one_order_whatever_the_order_of_the_news() -> None:
    m = machine()
    for kind in (BlockKind.RATE_LIMITED, BlockKind.REFUSED, BlockKind.LOCKED):
        m.endpoint_blocked(0, kind, 50)
    kinds = [kind for kind, _ in m.explain(0).blocks]
    assert kinds == [BlockKind.LOCKED, BlockKind.REFUSED, BlockKind.RATE_LIMITED]


# endpoint_blocked
# -----------


@pytest.mark.parametrize(
    ("kind", "seconds"), [(BlockKind.LOCKED, 900), (BlockKind.REFUSED, 3600), (BlockKind.RATE_LIMITED, 60)]
)
def test_a_report_without_a_duration_blocks_for_the_wait_of_its_kind(kind: BlockKind, seconds: float) -> None:
    m = machine()
    m.endpoint_blocked(0, kind)
    assert wait(m, 0) == (seconds, Why.UNBLOCK)
    assert m.problem(0) is not None


def test_a_stated_duration_is_capped_by_kind_and_spread() -> None:
    for kind, cap in ((BlockKind.LOCKED, 21_600), (BlockKind.REFUSED, 86_400), (BlockKind.RATE_LIMITED, 86_400)):
        m = machine(draw=0.5)
        m.endpoint_blocked(0, kind, 10**9)
        assert until(m, 0) == cap + 15


def test_a_report_of_nothing_left_to_wait_blocks_nothing() -> None:
    m = machine()
    m.endpoint_blocked(0, BlockKind.LOCKED, 0)
    assert wait(m, 0) is None


def test_a_report_draws_once() -> None:
    m = machine(draw=[0.1])
    m.endpoint_blocked(0, BlockKind.LOCKED, 10)
    assert until(m, 0) == 10.099609375


def test_an_exchange_under_way_goes_on_when_a_block_is_reported() -> None:
    m = machine()
    request = m.start_request(0)
    m.endpoint_blocked(1, BlockKind.LOCKED)
    assert m.request_state(1) is RequestState.IN_FLIGHT
    assert wait(m, 1) == (request.deadline, Why.RESPONSE)
    m.receive_response(2, request, FAILED)
    assert wait(m, 2) == (901, Why.UNBLOCK)


@pytest.mark.parametrize("kind", [BlockKind.UNCLEAR, "locked", None])
def test_what_is_true_of_one_host_only_is_never_a_report(kind: BlockKind) -> None:
    m = machine()
    with pytest.raises(LocalProtocolError, match="kind"):
        m.endpoint_blocked(0, kind)
    assert wait(m, 0) is None


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, 2**40, True, "5"], ids=repr)
def test_a_report_with_seconds_that_are_no_duration_is_refused(seconds: float) -> None:
    m = machine()
    with pytest.raises(ValueError, match="seconds"):
        m.endpoint_blocked(0, BlockKind.LOCKED, seconds)
    assert wait(m, 0) is None


# Doubted refusals
# ----------------


def test_the_first_refusal_of_credentials_that_were_granted_with_before_is_doubted() -> None:
    m = machine()
    serve(m, 0)
    attempt(m, 270, UNAUTHORIZED)
    assert until(m, 270) == 270 + 300
    attempt(m, 570, UNAUTHORIZED)
    assert until(m, 570) == 570 + 3600
    attempt(m, 4170, UNAUTHORIZED)
    assert until(m, 4170) == 4170 + 7200


def test_a_grant_makes_the_next_refusal_a_doubted_one_again() -> None:
    m = machine()
    serve(m, 0)
    attempt(m, 270, UNAUTHORIZED)
    serve(m, 570)
    attempt(m, 840, UNAUTHORIZED)
    assert until(m, 840) == 840 + 300


def test_a_refusal_of_the_request_as_such_is_never_doubted() -> None:
    m = machine()
    serve(m, 0)
    attempt(m, 270, error(400, "invalid_scope"))
    assert until(m, 270) == 270 + 3600


def test_granted_before_means_this_generation() -> None:
    m = machine()
    serve(m, 0)
    m.replace_credentials(1, canary.grant(api_key=canary.secret(1)))
    attempt(m, 270, UNAUTHORIZED)
    assert until(m, 270) == 270 + 3600
