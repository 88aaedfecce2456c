"""A machine before which a shared store stands: what it makes of answers that another process paid for, or nobody."""

from __future__ import annotations

import math

import pytest

from evertoken import (
    Blocked,
    BlockKind,
    Challenge,
    EndpointLocked,
    Failed,
    GiveUp,
    Granted,
    HttpResponse,
    Policy,
    Postponed,
    Problem,
    ProblemKind,
    Ready,
    Rejection,
    RequestState,
    Seen,
    SendRequest,
    Snapshot,
    TokenMachine,
    Wait,
    next_move,
)
from evertoken import WaitReason as Why
from evertoken._shared_problems import ASKED_ELSEWHERE
from evertoken._step import digest
from evertoken.outcomes import Ignored, Stale
from tests.kits import canary
from tests.kits.driving import FAILED, LIMITED, LOCKED, REFUSED, attempt, bearer, granted, serve, wait

TICK = 2.0**-10


def machine(draw: float = 0.0, tiers: int = 1, **policy: float) -> TokenMachine:
    settings = Policy(**policy)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return TokenMachine(canary.grant(), policy=settings, draw=lambda: draw, tiers=tiers)


def seen(response: HttpResponse, by: Seen) -> HttpResponse:
    return HttpResponse(response.status, response.headers, response.body, by)


def unasked(asked_at: float, *, look_at: float | None = None, ends: float | None = None) -> Seen:
    return Seen(asked_at, asked=False, look_at=look_at, ends=ends)


def budget(m: TokenMachine, now: float) -> int:
    return m.explain(now).budget_left


# The time of an attempt
# ----------------------


@pytest.mark.parametrize(("tiers", "deadline"), [(0, 10.0), (1, 20.0), (2, 30.0)])
def test_an_attempt_has_time_to_wait_for_each_store(tiers: int, deadline: float) -> None:
    m = machine(tiers=tiers)
    assert m.start_request(0).deadline == deadline
    assert wait(m, 0) == (deadline, Why.RESPONSE)


@pytest.mark.parametrize("tiers", [-1, 9, 1.0, True])
def test_a_number_of_stores_that_makes_no_sense_is_refused(tiers: int) -> None:
    with pytest.raises(ValueError, match="tiers"):
        machine(tiers=tiers)


@pytest.mark.parametrize("moment", [math.nan, math.inf, 2.0**41, "now"])
def test_what_a_store_has_seen_is_seen_at_a_moment(moment: float) -> None:
    with pytest.raises(ValueError, match="Seen"):
        Seen(moment)
    with pytest.raises(ValueError, match="Seen"):
        Seen(0.0, look_at=moment)
    with pytest.raises(ValueError, match="Seen"):
        Seen(0.0, ends=moment)


def test_a_request_tells_the_exchange_what_it_must_know_and_shows_none_of_it() -> None:
    m = machine()
    serve(m, 0, 0, 1_000)
    m.token_rejected(100, bearer(0), Challenge.TOKEN)
    request = m.start_request(100)
    assert request.shunned == (digest(canary.token(0)),)
    assert (request.grant, request.policy, request.held, request.demanded) == (m.grant, m.policy, None, False)
    m.receive_response(100, request, granted(1, 1_000))
    request = m.start_request(640, 460)
    assert request.held is not None
    assert request.held.value == canary.token(1)
    assert request.demanded
    m.request_abandoned(640, request)
    assert not m.start_request(1_070).demanded
    canary.assert_clean(request, Seen(0.0, read=Granted(canary.token(0))))


# Life
# ----


@pytest.mark.parametrize("asked", [True, False])
def test_the_life_of_a_token_counts_from_when_the_endpoint_was_asked(asked: bool) -> None:
    m = machine()
    request = m.start_request(100)
    m.receive_response(109, request, seen(granted(0, 1_000), Seen(108.0001, asked=asked)))
    token = m.token(109)
    assert token is not None
    assert (token.started, token.expires_at) == (108.0, 1_108.0)


def test_a_pause_before_the_answer_is_told_is_life_lost() -> None:
    m = machine(request_timeout=10_000)
    request = m.start_request(0)
    outcome = m.receive_response(1_400, request, seen(granted(0, 1_200), Seen(1.0)))
    assert isinstance(outcome, Failed)
    assert outcome.problem.kind is ProblemKind.DEAD_ON_ARRIVAL


def test_no_token_was_asked_for_later_than_it_came() -> None:
    m = machine()
    m.receive_response(5, m.start_request(0), seen(granted(0, 100), Seen(50.0)))
    token = m.token(5)
    assert token is not None
    assert token.started == 5


def test_with_a_store_a_newer_token_is_looked_for_at_a_drawn_point_in_the_last_quarter_of_the_life() -> None:
    points = []
    for draw in (0.0, 0.5, 0.999):
        m = machine(draw)
        serve(m, 0, 0, 1_200)
        points.append(m.poll(0))
    untils = [point.until if isinstance(point, Wait) else 0.0 for point in points]
    assert untils[:2] == [1_170.0, 1_035.0]
    assert 900 <= untils[2] < 901
    alone = machine(0.5, tiers=0)
    serve(alone, 0, 0, 1_200)
    assert wait(alone, 0) == (1_158.0, Why.REFRESH)


def test_processes_that_have_a_token_from_a_store_late_in_its_life_do_not_all_look_for_the_next_at_one_moment() -> None:
    points = list[float]()
    for draw in (0.0, 0.5, 0.999):
        m = machine(draw)
        m.receive_response(700, m.start_request(700), seen(granted(0, 1_200), unasked(0.0)))
        action = m.poll(700)
        assert isinstance(action, Wait)
        points.append(action.until)
    halfway = 700 + (1_195 - 700) / 2
    assert points[:2] == [1_170, (1_170 + halfway) / 2]
    assert halfway <= points[2] < halfway + 1


# What nobody was asked for
# -------------------------


def test_a_token_from_the_store_costs_nothing_and_vouches_for_nothing() -> None:
    m = machine()
    attempt(m, 0, FAILED)
    request = m.start_request(10)
    left = budget(m, 10)
    outcome = m.receive_response(11, request, seen(granted(0, 1_000), unasked(10)))
    assert isinstance(outcome, Granted)
    assert m.authorization(11) == bearer(0)
    assert budget(m, 11) == left + 1
    state = m.state_value
    assert not state.credentials.proven
    assert (state.backoff.failures, state.backoff.repeats) == (0, 0)


def test_a_charge_that_is_given_back_never_fills_the_budget_beyond_full() -> None:
    m = machine(budget_interval=4)
    request = m.start_request(0)
    m.receive_response(5, request, seen(granted(0, 1_000), unasked(0)))
    assert budget(m, 5) == m.policy.budget_burst
    assert m.state_value.budget.refill_at == math.inf


@pytest.mark.no_cover
def test_looks_go_on_for_hours_and_the_budget_is_as_full_as_before() -> None:
    m = machine()
    now = 0.0
    for _ in range(500):
        request = m.start_request(now)
        m.receive_response(now + 1, request, seen(LOCKED, unasked(0, look_at=now + 46, ends=1e6)))
        now += 46
    assert budget(m, now) == m.policy.budget_burst


def test_a_lost_attempt_never_gets_its_charge_back() -> None:
    m = machine()
    request = m.start_request(0)
    outcome = m.receive_response(21, request, seen(granted(0, 1_000), unasked(0)))
    assert isinstance(outcome, Granted)
    assert budget(m, 21) == m.policy.budget_burst - 1
    assert isinstance(m.request_postponed(22, request, 25), Ignored)


def test_a_late_word_that_somebody_else_is_asking_is_ignored() -> None:
    m = machine()
    request = m.start_request(0)
    assert isinstance(m.request_postponed(21, request, 25), Ignored)
    assert budget(m, 21) == m.policy.budget_burst - 1


@pytest.mark.parametrize(
    "answer",
    [granted(0, 60), FAILED, HttpResponse(200, (), b"[]"), LOCKED],
    ids=["dead on arrival", "failed", "malformed", "a block that nobody knows the end of"],
)
def test_what_nobody_was_asked_for_and_is_of_no_use_is_postponed(answer: HttpResponse) -> None:
    m = machine(0.5)
    m.start_request(100)
    request = m.start_request(130)
    outcome = m.receive_response(131, request, seen(answer, unasked(50)))
    assert outcome == Postponed(134, ASKED_ELSEWHERE)
    assert wait(m, 131) == (134, Why.RETRY)
    assert m.state_value.backoff.failures == 1
    assert m.explain(131).blocks == ()
    request = m.start_request(140)
    outcome = m.receive_response(140, request, seen(answer, unasked(50, look_at=145)))
    assert outcome == Postponed(145, ASKED_ELSEWHERE)
    assert wait(m, 140) == (145, Why.RETRY)


def test_a_store_gives_only_what_lives_longer_than_the_token_in_hand() -> None:
    m = machine()
    serve(m, 0, 0, 100)
    request = m.start_request(80)
    assert isinstance(m.receive_response(80, request, seen(granted(1, 50), unasked(10))), Postponed)
    assert m.authorization(80) == bearer(0)
    request = m.start_request(90)
    m.receive_response(90, request, seen(granted(1, 200), unasked(-20)))
    assert m.authorization(90) == bearer(1)


def test_the_same_token_from_the_store_is_no_repetition_by_the_endpoint() -> None:
    m = machine()
    serve(m, 0, 0, 100)
    request = m.start_request(80)
    m.receive_response(80, request, seen(granted(0, 100), unasked(10)))
    assert m.state_value.backoff.repeats == 0
    assert isinstance(m.poll(80), Wait)


def test_a_rejected_token_that_the_store_still_holds_is_not_taken() -> None:
    m = machine()
    serve(m, 0, 0, 1_000)
    m.token_rejected(100, bearer(0), Challenge.TOKEN)
    request = m.start_request(100)
    assert isinstance(m.receive_response(100, request, seen(granted(0, 1_000), unasked(0))), Postponed)
    assert m.authorization(100) is None
    assert isinstance(m.poll(100), Wait)


def test_a_refusal_of_credentials_that_were_replaced_meanwhile_is_stale_from_a_store_too() -> None:
    m = machine()
    request = m.start_request(0)
    m.replace_credentials(1, canary.grant(api_key=canary.secret(1)))
    assert isinstance(m.receive_response(1, request, seen(REFUSED, unasked(0, ends=900))), Stale)
    assert budget(m, 1) == m.policy.budget_burst
    assert isinstance(m.poll(1), SendRequest)


# Postponed
# ---------


def test_a_request_that_was_not_sent_is_free_and_looked_at_again_at_its_moment() -> None:
    m = machine()
    attempt(m, 0, FAILED)
    request = m.start_request(10)
    outcome = m.request_postponed(12, request, 15)
    assert isinstance(outcome, Postponed)
    assert (budget(m, 12), m.state_value.backoff.failures) == (m.policy.budget_burst - 1, 1)
    assert wait(m, 12) == (15, Why.RETRY)
    problem = m.problem(12)
    assert problem is not None
    assert problem.kind is ProblemKind.POSTPONED
    told = Problem(ProblemKind.SERVER, "The server cannot serve now")
    m.request_postponed(15, m.start_request(15), 17, told)
    assert m.problem(15) == told


@pytest.mark.parametrize(("until", "looked_at"), [(-5.0, TICK), (0.0, TICK), (59.0, 59.0), (1e6, 60.0)])
def test_a_postponement_is_never_over_already_and_never_longer_than_a_minute(until: float, looked_at: float) -> None:
    m = machine()
    m.request_postponed(0, m.start_request(0), until)
    assert wait(m, 0) == (looked_at, Why.RETRY)


def test_while_there_is_a_good_token_a_postponed_refresh_is_merely_due_later() -> None:
    m = machine(0.5)
    serve(m, 0, 0, 1_200)
    request = m.start_request(1_035)
    m.request_postponed(1_036, request, 1_171)
    assert wait(m, 1_036) == (1_171, Why.REFRESH)
    assert m.published == (1_171, bearer(0))
    assert m.problem(1_036) is None
    assert m.token_rejected(1_100, bearer(0), Challenge.TOKEN) is Rejection.DROPPED
    assert isinstance(m.poll(1_100), SendRequest)


def test_a_refresh_that_is_postponed_beyond_the_life_of_the_token_waits_a_minute_at_most() -> None:
    m = machine(0.5)
    serve(m, 0, 0, 1_200)
    m.request_postponed(1_190, m.start_request(1_190), 5_000)
    assert wait(m, 1_190) == (1_250, Why.RETRY)
    assert m.authorization(1_194) == bearer(0)


# Blocks with two moments
# -----------------------


def blocked(asked: bool = False, ends: float = 20_000, look_at: float = 45) -> TokenMachine:
    m = machine()
    m.receive_response(1, m.start_request(0), seen(LOCKED, Seen(0, asked=asked, look_at=look_at, ends=ends)))
    return m


@pytest.mark.parametrize("asked", [True, False])
def test_a_block_that_a_store_knows_ends_when_it_says_and_is_looked_at_when_it_says(asked: bool) -> None:
    m = blocked(asked)
    assert m.explain(1).blocks == ((BlockKind.LOCKED, 20_000.0),)
    assert wait(m, 1) == (45, Why.UNBLOCK)
    assert m.request_state(45) is RequestState.BLOCKED
    assert isinstance(m.poll(45), SendRequest)
    block = m.state_value.block(BlockKind.LOCKED)
    assert block is not None
    assert block.times == 0


def test_the_moments_of_a_store_are_brought_into_reason() -> None:
    assert wait(blocked(look_at=500), 1) == (61, Why.UNBLOCK)
    assert wait(blocked(look_at=-5), 1) == (1 + TICK, Why.UNBLOCK)
    assert wait(blocked(ends=30), 1) == (30, Why.UNBLOCK)
    assert wait(blocked(ends=0.5), 1) == (1 + TICK, Why.UNBLOCK)
    assert blocked(ends=1e9).explain(1).blocks == ((BlockKind.LOCKED, 21_631.0),)
    m = machine()
    m.receive_response(1, m.start_request(0), seen(LOCKED, Seen(0, ends=40)))
    assert wait(m, 1) == (40, Why.UNBLOCK)


def test_callers_fail_at_once_while_a_store_is_looked_at_whether_a_block_still_stands() -> None:
    m = blocked()
    request = m.start_request(50)
    assert m.request_state(51) is RequestState.BLOCKED
    move = next_move(m, 51, since=51, deadline=60)
    assert isinstance(move, GiveUp)
    assert isinstance(move.error, EndpointLocked)
    m.receive_response(52, request, seen(granted(0, 1_000), unasked(51)))
    assert isinstance(next_move(m, 52, since=51, deadline=60), Ready)
    assert m.explain(52).blocks == ()


@pytest.mark.parametrize("now", [20, 45, 51])
def test_callers_are_told_when_a_block_ends_and_not_when_it_is_looked_at(now: float) -> None:
    m = blocked()
    if now > 45:
        m.start_request(50)
    for deadline in (now, now + 10):
        move = next_move(m, now, since=now, deadline=deadline)
        if isinstance(move, GiveUp):
            assert move.error.retry_after == 20_000 - now
        else:
            assert isinstance(move, SendRequest)
            assert deadline > now == 45


def test_who_can_wait_waits_for_the_end_of_a_rate_limit_also_during_a_look() -> None:
    m = machine()
    m.receive_response(0, m.start_request(0), seen(LIMITED, unasked(0, look_at=10, ends=15)))
    assert next_move(m, 5, since=5, deadline=20) == Wait(10, Why.UNBLOCK)
    assert isinstance(next_move(m, 5, since=5, deadline=14), GiveUp)
    m.start_request(10)
    assert next_move(m, 11, since=11, deadline=20) == Wait(20, Why.RESPONSE)
    assert isinstance(next_move(m, 11, since=11, deadline=14), GiveUp)


def test_a_store_that_says_another_block_replaces_the_one_that_was_known() -> None:
    m = blocked()
    m.receive_response(50, m.start_request(50), seen(REFUSED, unasked(49, look_at=80, ends=300)))
    assert m.explain(50).blocks == ((BlockKind.REFUSED, 300.0),)
    m.receive_response(80, m.start_request(80), seen(LOCKED, unasked(79, look_at=100, ends=200)))
    assert m.explain(80).blocks == ((BlockKind.LOCKED, 200.0),)


def test_what_is_reported_during_a_look_is_not_replaced_by_it() -> None:
    m = blocked(ends=100)
    request = m.start_request(50)
    m.endpoint_blocked(51, BlockKind.LOCKED, 600)
    m.receive_response(52, request, seen(LOCKED, unasked(49, look_at=80, ends=300)))
    assert m.explain(52).blocks == ((BlockKind.LOCKED, 651.0),)
    assert wait(m, 52) == (81, Why.UNBLOCK)


def test_a_failure_that_a_store_has_let_happen_ends_the_block_and_is_looked_at_when_it_says() -> None:
    m = blocked()
    m.receive_response(51, m.start_request(50), seen(FAILED, Seen(50, look_at=54)))
    assert m.explain(51).blocks == ()
    assert wait(m, 51) == (54, Why.RETRY)
    assert m.state_value.backoff.failures == 1


def test_a_token_is_kept_behind_a_block_that_may_be_looked_at() -> None:
    m = machine()
    serve(m, 0, 0, 1_000)
    m.receive_response(980, m.start_request(980), seen(LOCKED, unasked(970, look_at=985, ends=5_000)))
    assert m.token_rejected(990, bearer(0), Challenge.TOKEN) is Rejection.KEPT
    m.start_request(990)
    assert m.token_rejected(991, bearer(0), Challenge.TOKEN) is Rejection.KEPT
    assert m.authorization(991) == bearer(0)


def test_a_block_that_an_api_reports_is_looked_at_in_the_store_within_a_minute() -> None:
    m = machine(0.5)
    m.endpoint_blocked(0, BlockKind.LOCKED)
    assert m.explain(0).blocks == ((BlockKind.LOCKED, 900.0),)
    assert wait(m, 0) == (42, Why.UNBLOCK)
    m.endpoint_blocked(0, BlockKind.LOCKED, 10)
    assert wait(machine(0.5), 0) is None


def test_lifting_a_block_ends_both_of_its_moments() -> None:
    m = blocked()
    m.lift_block(2)
    assert m.request_state(2) is RequestState.IDLE
    assert isinstance(m.poll(2), SendRequest)


# The machine's own waits
# -----------------------


def test_with_a_store_no_failure_of_its_own_keeps_a_machine_away_for_more_than_a_minute() -> None:
    m = machine(0.999)
    now = 0.0
    for _ in range(9):
        m.send_failed(now, m.start_request(now), "reset")
        action = m.poll(now)
        assert isinstance(action, Wait)
        assert action.until <= now + 60
        now = action.until
    request = m.start_request(now)
    m.receive_response(now, request, HttpResponse(503, [("Retry-After", "4000")]))
    assert wait(m, now) == (now + 60, Why.RETRY)


def test_with_the_store_down_the_own_waits_of_the_machine_count_again() -> None:
    m = machine()
    m.receive_response(0, m.start_request(0), seen(LOCKED, Seen(0, store_down=True)))
    assert wait(m, 0) == (900, Why.UNBLOCK)
    m = machine()
    down = Seen(0, store_down=True)
    m.receive_response(0, m.start_request(0), seen(HttpResponse(503, [("Retry-After", "4000")]), down))
    assert wait(m, 0) == (4_000, Why.RETRY)
    late = machine()
    request = late.start_request(0)
    late.receive_response(25, request, seen(HttpResponse(503, [("Retry-After", "4000")]), down))
    assert wait(late, 25) == (4_025, Why.RETRY)


def test_what_another_process_has_read_already_is_not_read_again() -> None:
    m = machine()
    problem = Problem(ProblemKind.LOCKED, "Locked out")
    read = Blocked(BlockKind.LOCKED, problem)
    response = HttpResponse(400, (), b"", Seen(0, asked=False, look_at=30, ends=900, read=read))
    assert m.receive_response(1, m.start_request(0), response) is read
    assert m.problem(1) == problem


def test_an_outcome_that_was_read_before_is_told_with_what_the_store_has_seen() -> None:
    m = machine()
    request = m.start_request(0)
    response = seen(granted(0, 1_000), unasked(-100))
    m.receive_response(1, request, m.read_response(request, response), response.seen)
    token = m.token(1)
    assert token is not None
    assert token.started == -100


# Kept over a restart
# -------------------


def test_a_restored_machine_knows_both_moments_of_a_block_and_the_time_of_its_attempt() -> None:
    m = blocked()
    m.start_request(50)
    kept = Snapshot.from_json(m.snapshot(51, secrets=True).to_json())
    again = TokenMachine.restore(canary.grant(), kept, 51, draw=lambda: 0.0, tiers=1)
    assert again.state_value.attempt == m.state_value.attempt
    assert again.state_value.blocks == m.state_value.blocks
    assert again.request_state(51) is RequestState.BLOCKED
    assert again.tiers == again.fork().tiers == 1
    assert again.start_request(200).deadline == 220
