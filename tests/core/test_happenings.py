"""What came of an input is told by the step that brought it about: everything once, and nothing that did not happen."""

from __future__ import annotations

import pytest

from evertoken import (
    BlockKind,
    Challenge,
    Granted,
    HttpResponse,
    Ignored,
    Rejection,
    TokenMachine,
    happenings,
    outcomes,
)
from evertoken._shared_problems import LOST
from tests.kits import canary
from tests.kits.driving import FAILED, LOCKED, MALFORMED, REFUSED, attempt, bearer, error, granted, machine, serve

OTHER = canary.grant(api_key=canary.secret(1))


def told(m: TokenMachine) -> list[str]:
    """The names of the happenings, and of the outcome where a request ended."""
    return [
        type(thing.outcome).__name__ if isinstance(thing, happenings.RequestEnded) else type(thing).__name__
        for thing in m.happenings
    ]


def test_nothing_has_happened_to_a_new_machine_or_to_a_fork() -> None:
    m = machine()
    assert m.happenings == ()
    serve(m, 0)
    assert m.fork().happenings == ()


def test_the_start_and_the_end_of_a_request_are_told() -> None:
    m = machine()
    request = m.start_request(0)
    assert told(m) == ["RequestStarted"]
    outcome = m.receive_response(1, request, granted())
    assert isinstance(outcome, Granted)
    assert m.happenings == (happenings.RequestEnded(request.id, outcome),)


@pytest.mark.parametrize("answer", [FAILED, MALFORMED])
def test_a_failure_is_told_with_its_problem(answer: HttpResponse) -> None:
    m = machine()
    request = m.start_request(0)
    outcome = m.receive_response(1, request, answer)
    assert m.happenings == (happenings.RequestEnded(request.id, outcome),)
    assert isinstance(outcome, outcomes.Failed | outcomes.Malformed)
    assert m.problem(1) == outcome.problem


def test_a_lost_request_is_told_by_the_next_input_whatever_that_is() -> None:
    m = machine()
    request = m.start_request(0)
    m.lift_block(10)
    assert m.happenings == (happenings.RequestEnded(request.id, outcomes.Failed(LOST)),)
    m.lift_block(11)
    assert told(m) == []


@pytest.mark.parametrize("newer_token", [False, True])
def test_a_late_failure_is_no_second_one_even_if_it_states_a_wait(newer_token: bool) -> None:
    m = machine()
    first = m.start_request(0)
    second = m.start_request(12)
    if newer_token:
        m.receive_response(12.5, second, granted())
    late = m.receive_response(13, first, error(503, Retry_After="60"))
    assert late == Ignored()
    assert m.happenings == (happenings.RequestEnded(first.id, Ignored()),)


def test_an_answer_to_nobody_is_told_as_ignored() -> None:
    m = machine()
    request = serve(m, 0)
    m.receive_response(1, request, LOCKED)
    assert told(m) == ["Ignored"]


def test_blocks_are_told_when_they_begin_and_when_they_end() -> None:
    m = machine()
    request = m.start_request(0)
    m.receive_response(1, request, LOCKED)
    problem = m.problem(1)
    assert problem is not None
    assert m.happenings[0] == happenings.EndpointBlocked(BlockKind.LOCKED, 901, problem)
    assert told(m) == ["EndpointBlocked", "Blocked"]
    m.endpoint_blocked(2, BlockKind.LOCKED)
    assert told(m) == []
    m.lift_block(3)
    assert m.happenings == (happenings.EndpointUnblocked(BlockKind.LOCKED),)
    attempt(m, 4, REFUSED)
    m.replace_credentials(5, OTHER)
    assert told(m) == ["EndpointUnblocked", "CredentialsReplaced"]
    m.replace_credentials(6, OTHER)
    assert told(m) == []


def test_a_block_whose_time_is_over_is_told_and_so_is_one_that_begins_in_its_place() -> None:
    m = machine()
    attempt(m, 0, LOCKED)
    m.endpoint_blocked(900, BlockKind.LOCKED)
    assert told(m) == ["EndpointUnblocked", "EndpointBlocked"]


def test_a_grant_tells_of_the_blocks_that_it_opens() -> None:
    m = machine()
    m.endpoint_blocked(0, BlockKind.RATE_LIMITED, 1)
    first = m.start_request(2)
    second = m.start_request(30)
    m.receive_response(31, first, LOCKED)
    m.receive_response(32, second, granted())
    assert told(m) == ["EndpointUnblocked", "Granted"]


def test_each_verdict_on_a_rejection_is_told() -> None:
    m = machine()
    serve(m, 0)
    m.token_rejected(1, "Bearer other", Challenge.TOKEN)
    assert m.happenings == (happenings.RejectionJudged(Rejection.SUPERSEDED),)
    for challenge in (Challenge.UNKNOWN, Challenge.SCA):
        m.token_rejected(1, bearer(), challenge)
        assert m.happenings == (happenings.RejectionJudged(Rejection.KEPT),)
    m.token_rejected(1, bearer(), Challenge.TOKEN)
    assert m.happenings == (happenings.RejectionJudged(Rejection.DROPPED),)


def test_no_happening_shows_the_token() -> None:
    m = machine()
    serve(m, 0)
    canary.assert_clean(*m.happenings)
