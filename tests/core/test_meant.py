"""ServerLaws: what the server meant is seen past the parser, by moments and headers alone."""

from __future__ import annotations

import pytest

from evertoken import Policy
from evertoken.testing import (
    ApiFault,
    Arrival,
    AuthorizationKind,
    Restart,
    Route,
    ServerLaws,
    TokenFault,
)

POLICY = Policy(leeway=5, rate_limited_wait_cap=100, locked_wait=60, refused_wait=50, unclear_wait=40)
OLD, NEW = "Bearer old", "Bearer new"
SCA = "strong customer authentication"


def answer(
    status: int | None, fault: TokenFault | ApiFault = TokenFault.NONE, *, wait: int | None = None, detail: str = ""
) -> Arrival:
    number = 1 if status in (200, None) and fault in (TokenFault.NONE, TokenFault.NO_EXPIRES_IN) else None
    route = Route.API if isinstance(fault, ApiFault) else Route.TOKEN
    kind = AuthorizationKind.BASIC
    return Arrival(0, 0.0, route, "POST", "/", status, 0.0, fault, kind, number, detail=detail, retry_after=wait)


def told(arrival: Arrival, *, lifetime: float = 1_200, after: str | None = None) -> ServerLaws:
    """Laws that have seen a request at 0 and its answer at 1, which changed nothing."""
    laws = ServerLaws(POLICY, lifetime)
    assert laws.started(0.0, 1) is None
    assert laws.answered(1.0, 1, arrival, after, after) is None
    return laws


@pytest.mark.parametrize(
    ("arrival", "wait", "law"),
    [
        (answer(429, TokenFault.RATE_LIMITED_RETRY_AFTER, wait=30), 30, "a 429 is waited out"),
        (answer(429, TokenFault.RATE_LIMITED_RETRY_AFTER, wait=900), 100, "a 429 is waited out"),
        (answer(429, TokenFault.RATE_LIMITED), 60, "a 429 is waited out"),
        (answer(503, TokenFault.SERVER_ERROR, wait=30), 30, "a 5xx that states a wait is waited out"),
        (answer(400, TokenFault.LOCKED), 60, "is left alone"),
        (answer(401, TokenFault.INVALID_CLIENT), 50, "are not tried again"),
        (answer(403, TokenFault.FORBIDDEN), 40, "is not asked again"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_request_starts_before_the_server_meant_it_to(arrival: Arrival, wait: float, law: str) -> None:
    assert law in str(told(arrival).started(1 + wait - 0.01, 2))
    assert told(arrival).started(1 + wait, 2) is None
    lifted = told(arrival)
    lifted.lifted()
    assert lifted.started(2.0, 2) is None


@pytest.mark.parametrize(
    "arrival",
    [
        answer(503, TokenFault.SERVER_ERROR),
        answer(429, TokenFault.RATE_LIMITED_RETRY_AFTER, wait=0),
        answer(429, detail="over the rate limit"),
        answer(200, TokenFault.BAD_JSON),
    ],
)
def test_what_states_no_wait_is_no_matter_of_the_servers(arrival: Arrival) -> None:
    assert told(arrival._replace(token_number=None)).started(1.5, 2) is None


def test_new_credentials_open_what_the_old_ones_closed_and_no_limit() -> None:
    for arrival in (answer(400), answer(401), answer(403)):
        laws = told(arrival)
        laws.replaced()
        assert laws.started(2.0, 2) is None
    limited = told(answer(429, wait=30))
    limited.replaced()
    assert limited.started(2.0, 2) is not None


def test_a_refusal_of_credentials_that_have_been_replaced_is_no_news() -> None:
    laws = ServerLaws(POLICY, 1_200)
    laws.started(0.0, 1)
    laws.replaced()
    laws.answered(1.0, 1, answer(401), None, None)
    assert laws.started(2.0, 2) is None
    laws.answered(3.0, 2, answer(401), None, None)
    assert laws.started(4.0, 3) is not None


def test_only_the_answer_to_the_request_in_flight_has_to_be_heeded() -> None:
    locked = answer(400)
    late, other, over = (ServerLaws(POLICY, 1_200) for _ in range(3))
    late.started(0.0, 1)
    late.answered(10.0, 1, locked, None, None)
    other.started(0.0, 1)
    other.answered(1.0, 7, locked, None, None)
    over.started(0.0, 1)
    over.ended(7)
    over.ended(1)
    over.answered(1.0, 1, locked, None, None)
    assert [laws.started(11.0, 2) for laws in (late, other, over)] == [None] * 3


def test_a_token_that_was_issued_and_came_in_time_is_handed_out() -> None:
    def granted(fault: TokenFault, lifetime: float, after: str | None) -> str | None:
        laws = ServerLaws(POLICY, lifetime)
        laws.started(0.0, 1)
        return laws.answered(1.0, 1, answer(200, fault)._replace(token_number=1), OLD, after)

    assert "is handed out" in str(granted(TokenFault.NONE, 1_200, None))
    assert "is handed out" in str(granted(TokenFault.NO_EXPIRES_IN, 1_200, None))
    assert granted(TokenFault.NONE, 1_200, NEW) is None
    assert granted(TokenFault.NONE, 6, None) is None
    assert granted(TokenFault.DEAD_ON_ARRIVAL, 1_200, None) is None


def test_an_answer_without_a_token_brings_none() -> None:
    laws, nothing = ServerLaws(POLICY, 1_200), answer(200, TokenFault.WRONG_TOKEN_TYPE)
    laws.started(0.0, 1)
    assert "grants none" in str(laws.answered(1.0, 1, nothing, OLD, NEW))
    assert "grants none" in str(laws.answered(1.0, 1, nothing, OLD, NEW))
    assert laws.answered(1.0, 1, nothing, OLD, OLD) is None
    assert laws.answered(1.0, 1, answer(200), OLD, NEW) is None


def test_only_a_401_about_the_token_costs_it() -> None:
    laws = ServerLaws(POLICY, 1_200)
    assert laws.api_answered(0.0, answer(401, ApiFault.UNAUTHORIZED), OLD, None) is None
    assert "SCA" in str(laws.api_answered(0.0, answer(401, ApiFault.SCA, detail=SCA), OLD, None))
    assert "SCA" in str(laws.api_answered(0.0, answer(403, ApiFault.FORBIDDEN), OLD, None))
    assert laws.api_answered(0.0, answer(401, ApiFault.SCA, detail=SCA), OLD, OLD) is None
    assert laws.api_answered(0.0, answer(400, ApiFault.LOCKED), OLD, OLD) is None
    assert "left alone" in str(laws.started(59.0, 1))
    assert laws.started(60.0, 1) is None


def test_a_wait_goes_on_over_a_restart_and_ends_with_what_was_known_of_it() -> None:
    for moved, replaced, until in ((-1_000.0, False, 60.0 - 1_000 + 1), (500.0, False, 561.0), (0.0, True, 0.0)):
        laws = told(answer(400))
        laws.restarted(Restart(2.0, 2.0 + moved + 10, 10.0, secrets=False, replaced=replaced))
        assert (laws.started(until - 0.01, 2) is None) == replaced
        assert laws.started(until, 2) is None
    crashed = told(answer(400))
    crashed.crashed()
    assert crashed.started(2.0, 2) is None
