"""Attempts. One slot, a deadline, late outcomes, what giving up costs, what repeated tokens cost."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from evertoken import (
    Abandoned,
    Blocked,
    BlockKind,
    Challenge,
    Failed,
    Freshness,
    Granted,
    HttpResponse,
    Ignored,
    LocalProtocolError,
    Malformed,
    ProblemKind,
    RequestState,
    TokenMachine,
)
from evertoken import WaitReason as Why
from evertoken._secrecy import replace
from tests.kits import canary
from tests.kits.driving import (
    FAILED,
    LIMITED,
    LOCKED,
    MALFORMED,
    REFUSED,
    UNCLEAR,
    attempt,
    bearer,
    error,
    granted,
    machine,
    serve,
    wait,
)

TICK = 2.0**-10


# One slot
# --------


def test_there_is_never_a_second_attempt_before_the_deadline_of_the_first() -> None:
    m = machine()
    m.start_request(0)
    before = m.state_value
    with pytest.raises(LocalProtocolError, match="response"):
        m.start_request(10 - TICK)
    assert m.state_value is before


@pytest.mark.parametrize("report", ["receive_response", "send_failed", "request_abandoned"])
def test_an_outcome_is_told_to_the_machine_that_made_the_request_and_to_no_other(report: str) -> None:
    bank, shop = machine(), machine(credentials=canary.grant(client_id="shop"))
    asked, other = bank.start_request(0), shop.start_request(0)
    assert (asked.id, asked.deadline) == (other.id, other.deadline)
    arguments = {"receive_response": (granted(),), "send_failed": ("reset",), "request_abandoned": ()}[report]
    before = shop.state_value
    with pytest.raises(LocalProtocolError, match="another machine"):
        getattr(shop, report)(1, asked, *arguments)
    assert shop.state_value is before
    getattr(bank, report)(1, asked, *arguments)


def test_a_request_that_nobody_made_is_no_machines() -> None:
    m = machine()
    request = replace(m.start_request(0), owner=None)
    with pytest.raises(LocalProtocolError, match="another machine"):
        m.receive_response(1, request, granted())


def test_a_fork_takes_the_answer_to_a_request_that_was_made_before_it_was_made() -> None:
    m = machine()
    request = m.start_request(0)
    twin = m.fork()
    for each in (m, twin):
        each.receive_response(1, request, granted())
        assert each.authorization(1) == bearer()


def test_whose_a_request_is_makes_no_difference_to_what_it_equals_or_shows() -> None:
    one, other = machine().start_request(0), machine().start_request(0)
    assert one == other
    assert hash(one) == hash(other)
    assert one.owner is not other.owner
    assert "owner" not in repr(one)


def test_a_request_says_how_long_it_has_and_how_much_of_its_answer_is_worth_reading() -> None:
    request = machine(max_body=1_000).start_request(5)
    assert request.max_body == 1_000
    assert [request.seconds_left(now) for now in (5, 14.5, 15, 99)] == [10, 0.5, 0.0, 0.0]


def test_nothing_starts_while_the_token_is_valid() -> None:
    m = machine()
    serve(m, 0)
    with pytest.raises(LocalProtocolError, match="refresh"):
        m.start_request(270 - TICK)


def test_a_caller_who_needs_more_life_may_start_while_the_token_is_valid() -> None:
    m = machine()
    serve(m, 0)
    request = m.start_request(200, 100)
    assert m.freshness(200) is Freshness.VALID
    m.receive_response(200, request, granted(1))
    assert m.authorization(200, 100) == bearer(1)


def test_a_start_draws_once_and_a_refused_start_draws_nothing() -> None:
    m = machine(draw=[0.25])
    m.start_request(0)
    with pytest.raises(LocalProtocolError):
        m.start_request(1)


@pytest.mark.parametrize("number", [-0.1, 1.0, float("nan"), float("inf")])
def test_a_draw_outside_its_range_is_a_local_mistake_and_changes_nothing(number: float) -> None:
    m = machine(draw=number)
    before = m.state_value
    with pytest.raises(LocalProtocolError, match="draw"):
        m.start_request(0)
    with pytest.raises(LocalProtocolError, match="draw"):
        m.endpoint_blocked(0, BlockKind.LOCKED)
    assert m.state_value is before


@pytest.mark.parametrize("draw", [5, 0.5, None, "x"])
def test_a_draw_that_is_no_function_is_told_where_it_is_given(draw: Any) -> None:  # noqa: ANN401
    m = machine()
    with pytest.raises(TypeError, match=r"^draw must be a function"):
        TokenMachine(m.grant, draw=draw)
    with pytest.raises(TypeError, match=r"^draw must be a function"):
        TokenMachine.restore(m.grant, m.snapshot(0), 0, draw=draw)


def test_what_is_no_request_and_what_is_no_response_is_told_and_changes_nothing() -> None:
    m: Any = machine()
    request = m.start_request(0)
    before = m.state_value
    for wrong in (None, request.id, (200, (), b"")):
        with pytest.raises(TypeError, match=r"^request must be a TokenRequest, not "):
            m.receive_response(1, wrong, granted())
        with pytest.raises(TypeError, match=r"^request must be a TokenRequest, not "):
            m.send_failed(1, wrong, "no answer")
        with pytest.raises(TypeError, match=r"^request must be a TokenRequest, not "):
            m.request_abandoned(1, wrong)
        for read in (partial(m.receive_response, 1), m.read_response):
            with pytest.raises(TypeError, match=r"^response must be an HttpResponse, not ") as caught:
                read(request, wrong or canary.token())
            canary.assert_clean(caught.value)
    for moment in (None, "0"):
        with pytest.raises(ValueError, match=r"^now must be"):
            m.receive_response(moment, request, granted())
    assert m.state_value is before


# Losses
# ------


def test_an_attempt_past_its_deadline_is_lost_and_backs_off_from_the_deadline() -> None:
    m = machine(draw=0.5)
    m.start_request(0)
    assert m.request_state(10 - TICK) is RequestState.IN_FLIGHT
    assert m.request_state(10) is RequestState.BACKING_OFF
    assert wait(m, 10) == wait(m, 10.5) == (10.75, Why.RETRY)
    assert m.request_state(10.75) is RequestState.IDLE
    problem = m.problem(10)
    assert problem is not None
    assert problem.kind is ProblemKind.LOST


def test_a_loss_that_nobody_looked_at_backs_off_from_the_deadline_too() -> None:
    m = machine()
    m.start_request(0)
    assert wait(m, 10.25) == (10.5, Why.RETRY)
    assert wait(m, 11) is None


def test_losses_in_a_row_double_the_back_off_up_to_its_cap() -> None:
    m = machine(budget_burst=100)
    now, pauses = 0.0, list[float]()
    for _ in range(9):
        deadline = m.start_request(now).deadline
        action = wait(m, deadline)
        assert action is not None
        pauses.append(action[0] - deadline)
        now = action[0]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


def test_a_late_success_is_taken_with_its_life_counted_from_its_own_start() -> None:
    m = machine()
    request = m.start_request(0)
    outcome = m.receive_response(20, request, granted(0, 300))
    assert isinstance(outcome, Granted)
    token = m.token(20)
    assert token is not None
    assert (token.started, token.expires_at) == (0, 300)
    assert m.problem(20) is None
    assert m.explain(20).failures == 0


def test_a_late_success_is_taken_while_a_younger_attempt_is_in_flight_which_may_still_replace_it() -> None:
    m = machine()
    first = m.start_request(0)
    second = m.start_request(11)
    assert isinstance(m.receive_response(12, first, granted(0)), Granted)
    assert m.authorization(12) == bearer(0)
    assert m.request_state(12) is RequestState.IN_FLIGHT
    assert isinstance(m.receive_response(13, second, granted(1)), Granted)
    assert m.authorization(13) == bearer(1)


def test_a_late_success_older_than_the_token_in_hand_is_ignored() -> None:
    m = machine()
    first = m.start_request(0)
    serve(m, 11, n=1)
    assert isinstance(m.receive_response(12, first, granted(0)), Ignored)
    assert m.authorization(12) == bearer(1)


def test_a_late_success_that_is_no_longer_fresh_is_ignored_and_counts_no_failure() -> None:
    m = machine()
    request = m.start_request(0)
    failures = m.explain(20).failures
    assert isinstance(m.receive_response(20, request, granted(0, 15)), Ignored)
    assert m.authorization(20) is None
    assert m.explain(20).failures == failures


@pytest.mark.parametrize("answer", [FAILED, MALFORMED])
def test_a_late_failure_is_ignored(answer: HttpResponse) -> None:
    m = machine()
    request = m.start_request(0)
    expected = wait(m, 10)
    assert isinstance(m.receive_response(10, request, answer), Ignored)
    assert wait(m, 10) == expected
    assert m.explain(10).failures == 1


def test_a_late_failed_send_and_a_late_abandonment_are_ignored() -> None:
    abandoned, broken = machine(), machine()
    assert isinstance(abandoned.request_abandoned(10, abandoned.start_request(0)), Ignored)
    assert isinstance(broken.send_failed(10, broken.start_request(0), "reset"), Ignored)
    assert wait(abandoned, 10) == wait(broken, 10) == (10.5, Why.RETRY)


def test_of_a_late_failure_a_stated_retry_after_is_kept() -> None:
    m = machine()
    request = m.start_request(0)
    assert isinstance(m.receive_response(20, request, error(503, Retry_After="30")), Ignored)
    assert wait(m, 20) == (50, Why.RETRY)


@pytest.mark.parametrize(
    ("answer", "kind", "until"),
    [
        (REFUSED, BlockKind.REFUSED, 3620),
        (UNCLEAR, BlockKind.UNCLEAR, 80),
        (LOCKED, BlockKind.LOCKED, 920),
        (LIMITED, BlockKind.RATE_LIMITED, 80),
    ],
)
def test_late_news_of_a_block_is_applied(answer: HttpResponse, kind: BlockKind, until: float) -> None:
    m = machine()
    request = m.start_request(0)
    outcome = m.receive_response(20, request, answer)
    assert isinstance(outcome, Blocked)
    assert outcome.kind is kind
    assert wait(m, 20) == (until, Why.UNBLOCK)


@pytest.mark.parametrize("answer", [REFUSED, UNCLEAR, LOCKED, LIMITED])
def test_late_news_of_a_block_is_old_once_a_younger_attempt_was_granted(answer: HttpResponse) -> None:
    m = machine()
    first = m.start_request(0)
    serve(m, 11)
    assert isinstance(m.receive_response(20, first, answer), Ignored)
    assert m.request_state(20) is RequestState.IDLE


def test_late_news_is_still_old_when_the_younger_grant_has_been_dropped_since() -> None:
    m = machine()
    first = m.start_request(0)
    serve(m, 11)
    m.token_rejected(12, bearer(), Challenge.TOKEN)
    assert isinstance(m.receive_response(20, first, LOCKED), Ignored)


def test_late_news_beside_a_younger_attempt_in_flight_leaves_that_one_in_flight() -> None:
    m = machine()
    first = m.start_request(0)
    second = m.start_request(11)
    assert isinstance(m.receive_response(12, first, LOCKED), Blocked)
    assert m.request_state(12) is RequestState.IN_FLIGHT
    m.receive_response(13, second, granted())
    assert m.request_state(13) is RequestState.IDLE


def test_only_the_latest_lost_attempt_is_remembered() -> None:
    m = machine()
    first = m.start_request(0)
    second = m.start_request(11)
    m.start_request(23)
    assert isinstance(m.receive_response(24, first, LOCKED), Ignored)
    assert isinstance(m.receive_response(24, second, granted()), Granted)


# Each id is consumed by its first outcome
# ----------------------------------------


@pytest.mark.parametrize("first", [granted(), FAILED, MALFORMED, REFUSED, UNCLEAR, LOCKED, LIMITED])
def test_the_second_outcome_of_an_attempt_is_ignored(first: HttpResponse) -> None:
    m = machine()
    request = m.start_request(0)
    m.receive_response(1, request, first)
    before = m.state_value
    assert isinstance(m.receive_response(1, request, granted(5)), Ignored)
    assert isinstance(m.send_failed(1, request, "reset"), Ignored)
    assert isinstance(m.request_abandoned(1, request), Ignored)
    assert m.state_value == before


def test_the_second_outcome_of_a_lost_attempt_is_ignored() -> None:
    m = machine()
    request = m.start_request(0)
    m.receive_response(20, request, FAILED)
    assert isinstance(m.receive_response(21, request, granted()), Ignored)


def test_an_answer_after_the_request_was_abandoned_is_ignored() -> None:
    m = machine()
    request = m.start_request(0)
    m.request_abandoned(1, request)
    assert isinstance(m.receive_response(2, request, granted()), Ignored)


# Failures
# --------


def test_a_failure_backs_off_between_half_and_whole_of_the_base_as_drawn() -> None:
    for draw, pause in ((0.0, 0.5), (0.5, 0.75), (1 - TICK, 1 - TICK)):
        m = machine(draw=draw)
        assert isinstance(attempt(m, 0, FAILED), Failed)
        assert wait(m, 0) == (pause, Why.RETRY)


def test_back_off_is_never_zero() -> None:
    m = machine(retry_base=2 * TICK)
    attempt(m, 0, FAILED)
    assert wait(m, 0) == (TICK, Why.RETRY)


def test_failures_double_the_back_off_and_a_grant_forgets_them() -> None:
    m = machine()
    now = 0.0
    for pause in (0.5, 1, 2):
        attempt(m, now, FAILED)
        assert wait(m, now) == (now + pause, Why.RETRY)
        now += pause
    serve(m, now)
    attempt(m, now + 270, FAILED)
    assert wait(m, now + 270) == (now + 270.5, Why.RETRY)


def test_a_failed_send_is_a_failure_of_transport_and_names_the_reason_without_a_secret() -> None:
    m = machine()
    request = m.start_request(0)
    outcome = m.send_failed(1, request, f"connection reset by {canary.secret()}\r\n")
    assert isinstance(outcome, Failed)
    assert outcome.problem.kind is ProblemKind.TRANSPORT
    assert "connection reset by" in outcome.problem.summary
    assert wait(m, 1) == (1.5, Why.RETRY)
    canary.assert_clean(outcome, m.explain(1))


def test_a_failed_send_without_a_reason_does_not_speak_of_none() -> None:
    m = machine()
    outcome = m.send_failed(1, m.start_request(0), "")
    assert isinstance(outcome, Failed)
    assert "None" not in str(outcome.problem)


def test_a_5xx_never_takes_the_live_token_away() -> None:
    m = machine()
    serve(m, 0)
    now = 270.0
    while now < 295:
        assert m.authorization(now) == bearer()
        attempt(m, now, FAILED)
        assert m.authorization(now) == bearer()
        action = wait(m, now)
        assert action is not None
        now = action[0]
    problem = m.problem(now)
    assert problem is not None
    assert problem.kind is ProblemKind.SERVER


def test_at_most_five_requests_in_ten_seconds_of_500s() -> None:
    for draw in (0.0, 0.99):
        m = machine(draw=draw)
        serve(m, 0)
        starts, now = list[float](), 270.0
        while now < 290:
            attempt(m, now, error(500))
            starts.append(now)
            action = wait(m, now)
            assert action is not None
            now = action[0]
        assert max(sum(1 for other in starts if start <= other < start + 10) for start in starts) <= 5


def test_malformed_answers_back_off_further_than_failures() -> None:
    m = machine(budget_burst=100)
    now, pauses = 0.0, list[float]()
    for _ in range(14):
        outcome = attempt(m, now, MALFORMED)
        assert isinstance(outcome, Malformed)
        action = wait(m, now)
        assert action is not None
        pauses.append(action[0] - now)
        now = action[0]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1800, 1800]


def test_failures_that_name_a_refusal_back_off_as_far_as_malformed_answers_and_are_counted_with_them() -> None:
    m = machine(budget_burst=100, draw=0.5)
    now, pauses = 0.0, list[float]()
    for n in range(14):
        outcome = attempt(m, now, error(500, "invalid_client") if n % 2 else MALFORMED)
        assert isinstance(outcome, Malformed | Failed)
        action = wait(m, now)
        assert action is not None
        assert action[1] is Why.RETRY
        pauses.append(action[0] - now)
        now = action[0]
    assert pauses == [0.75 * min(3600, 2**n) for n in range(14)]


def test_a_failure_between_two_malformed_answers_starts_their_row_anew() -> None:
    m = machine(budget_burst=100, retry_cap=1)
    now, pauses = 0.0, list[float]()
    for answer in (MALFORMED, MALFORMED, MALFORMED, FAILED, MALFORMED, MALFORMED):
        attempt(m, now, answer)
        action = wait(m, now)
        assert action is not None
        pauses.append(action[0] - now)
        now = action[0]
    assert pauses == [0.5, 1, 2, 0.5, 0.5, 1]


def test_retry_after_of_a_failure_is_honoured_capped_and_spread_and_never_shortens_the_back_off() -> None:
    for stated, draw, until in (("9", 0.0, 9), ("0", 0.0, 0.5), ("100", 0.5, 105), ("999999", 0.0, 86_400)):
        m = machine(draw=draw)
        attempt(m, 0, error(503, Retry_After=stated))
        assert wait(m, 0) == (until, Why.RETRY)


def test_the_spread_of_a_stated_wait_is_at_most_thirty_seconds() -> None:
    m = machine(draw=0.5)
    attempt(m, 0, error(503, Retry_After="10000"))
    assert wait(m, 0) == (10_015, Why.RETRY)


# Abandoned requests
# ------------------


def test_abandoned_requests_cost_nothing_but_their_budget_however_many_there_are() -> None:
    m = machine(budget_burst=4)
    for left in (3, 2, 1, 0):
        m.request_abandoned(0, m.start_request(0))
        assert m.explain(0).budget_left == left
        assert m.explain(0).failures == 0
    assert wait(m, 0) == (60, Why.BUDGET)


def test_an_abandoned_request_leaves_the_back_off_before_it_alone() -> None:
    m = machine()
    attempt(m, 0, FAILED)
    before = m.state_value
    m.request_abandoned(2, m.start_request(1))
    assert m.state_value.backoff == before.backoff
    assert m.problem(2) == before.problem


def test_an_abandoned_request_is_no_trouble() -> None:
    m = machine()
    request = m.start_request(0)
    assert isinstance(m.request_abandoned(1, request), Abandoned)
    assert m.request_state(1) is RequestState.IDLE
    assert m.problem(1) is None
    assert m.explain(1).budget_left == 9
    assert m.explain(1).failures == 0


# Repeated tokens
# ---------------


def test_a_repeated_token_is_not_due_again_before_the_back_off_which_doubles() -> None:
    m = machine(leeway=0)
    serve(m, 0, expires_in=4)
    now, pauses = 3.0, list[float]()
    for _ in range(5):
        serve(m, now, expires_in=4)
        token = m.token(now)
        assert token is not None
        pauses.append(token.refresh_at - now)
        now = token.refresh_at
    # The back-off would be 0.5, 1, 2, 4 and 8, and no refresh is due later than the end of the token.
    assert pauses == [3, 3, 3, 4, 4]
    assert m.explain(now).failures == 0


def test_a_repeated_token_of_a_second_of_life_is_asked_for_no_more_often_than_failures_are() -> None:
    m = machine()
    serve(m, 0, expires_in=1)
    for now, pause in ((0.75, 0.75), (1.5, 0.95 - TICK), (3, 0.95 - TICK)):
        serve(m, now, expires_in=1)
        token = m.token(now)
        assert token is not None
        assert pause - TICK <= token.refresh_at - now <= pause + TICK
        assert token.refresh_at <= token.fresh_until


def test_another_token_ends_the_row_of_repetitions() -> None:
    m = machine()
    serve(m, 0)
    serve(m, 270)
    assert m.state_value.backoff.repeats == 1
    serve(m, 540, n=1)
    assert m.state_value.backoff.repeats == 0


def test_failures_between_repetitions_do_not_shorten_their_pauses() -> None:
    m = machine()
    serve(m, 0)
    serve(m, 270)
    attempt(m, 540, FAILED)
    serve(m, 541)
    assert m.state_value.backoff.repeats == 2
