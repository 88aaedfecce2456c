"""Credentials have a generation. What a rotation lifts, and what answers to the old ones still mean."""

from __future__ import annotations

import pytest

from evertoken import (
    BasicAuthentication,
    Blocked,
    BlockKind,
    ClientCredentials,
    Failed,
    Granted,
    HttpResponse,
    LocalProtocolError,
    PostAuthentication,
    RequestState,
    Stale,
    TokenEndpoint,
)
from evertoken._secrecy import replace
from tests.kits import canary
from tests.kits.driving import (
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
    wait,
)

NEW = canary.grant(api_key=canary.secret(1))
NEWER = canary.grant(api_key=canary.secret(2))
OLD = canary.grant()


def test_a_rotation_keeps_the_live_token_and_the_next_request_carries_the_new_secret() -> None:
    m = machine()
    serve(m, 0)
    m.replace_credentials(1, NEW)
    assert m.grant is NEW
    assert m.authorization(1) == bearer()
    (expected,) = BasicAuthentication("raw").authenticate(NEW).headers
    assert expected in m.start_request(270).headers


@pytest.mark.parametrize("answers", [[REFUSED] * 4, [UNCLEAR] * 4, [REFUSED, UNCLEAR, REFUSED, UNCLEAR]], ids=str)
def test_a_rotation_lifts_refusals_and_unclear_answers_together_three_times_between_grants(
    answers: list[HttpResponse],
) -> None:
    m = machine()
    for n, answer in enumerate(answers):
        attempt(m, n, answer)
        assert m.request_state(n) is RequestState.BLOCKED
        m.replace_credentials(n, canary.grant(api_key=canary.secret(n + 1)))
        assert m.request_state(n) is (RequestState.IDLE if n < 3 else RequestState.BLOCKED)
    m.lift_block(4)
    serve(m, 4)
    attempt(m, 274, REFUSED)
    m.replace_credentials(274, NEW)
    assert m.request_state(274) is RequestState.IDLE


def test_a_rotation_lifts_a_refusal_and_an_unclear_answer_at_once_and_counts_them_once() -> None:
    m = machine()
    for n in range(3):
        attempt(m, n, UNCLEAR)
        m.endpoint_blocked(n, BlockKind.REFUSED)
        m.replace_credentials(n, canary.grant(api_key=canary.secret(n + 1)))
        assert m.explain(n).blocks == ()


def test_a_rotation_that_opens_nothing_is_not_counted() -> None:
    m = machine()
    for n in range(5):
        m.replace_credentials(n, canary.grant(api_key=canary.secret(n + 1)))
    attempt(m, 5, LOCKED)
    m.replace_credentials(5, NEW)
    attempt(m, 6, UNCLEAR)
    m.replace_credentials(6, NEWER)
    assert m.explain(6).blocks == ()


def test_a_rotation_lifts_a_lock_once_between_grants() -> None:
    m = machine()
    attempt(m, 0, LOCKED)
    m.replace_credentials(0, NEW)
    assert m.request_state(0) is RequestState.IDLE
    attempt(m, 1, LOCKED)
    m.replace_credentials(1, NEWER)
    assert m.explain(1).blocks == ((BlockKind.LOCKED, 1 + 1800),)
    serve(m, 1801)
    attempt(m, 1801 + 270, LOCKED)
    m.replace_credentials(1801 + 270, OLD)
    assert m.explain(1801 + 270).blocks == ()


def test_a_rotation_without_a_lock_does_not_use_up_the_one_that_lifts_a_lock() -> None:
    m = machine()
    m.replace_credentials(0, NEW)
    attempt(m, 0, LOCKED)
    m.replace_credentials(0, NEWER)
    assert m.request_state(0) is RequestState.IDLE


def test_a_rotation_lifts_no_rate_limit() -> None:
    m = machine()
    attempt(m, 0, LIMITED)
    before = wait(m, 0)
    m.replace_credentials(0, NEW)
    assert wait(m, 0) == before


def test_a_rotation_changes_neither_back_off_nor_budget_nor_doubling() -> None:
    m = machine()
    attempt(m, 0, REFUSED)
    m.replace_credentials(0, NEW)
    attempt(m, 1, REFUSED)
    assert m.explain(1).blocks == ((BlockKind.REFUSED, 1 + 7200),)
    m.replace_credentials(1, NEWER)
    attempt(m, 2, error(503, Retry_After="50"))
    m.replace_credentials(2, OLD)
    assert wait(m, 2) == (52, wait(m, 2)[1])  # type: ignore[index]  # pyright: ignore[reportOptionalSubscript]
    assert m.explain(2).budget_left == 7


def test_the_same_secret_again_changes_nothing() -> None:
    m = machine()
    attempt(m, 0, REFUSED)
    before = m.state_value
    m.replace_credentials(0, canary.grant())
    m.replace_credentials(0, replace(canary.grant(), api_base="https://elsewhere.example"))
    assert m.state_value == before


def test_another_manner_of_authentication_is_a_rotation() -> None:
    endpoint = TokenEndpoint("https://as.example/token")
    m = machine(credentials=ClientCredentials(endpoint, "canary", canary.secret()))
    attempt(m, 0, REFUSED)
    posted = replace(endpoint, authentication=PostAuthentication())
    m.replace_credentials(0, ClientCredentials(posted, "canary", canary.secret()))
    assert m.request_state(0) is RequestState.IDLE


@pytest.mark.parametrize(
    "other",
    [
        canary.grant(client_id="somebody-else"),
        canary.grant(mtls=True),
        replace(canary.grant(), scope="more"),
        replace(canary.grant(), audience="other"),
        replace(canary.grant(), resource=("https://r.example",)),
        replace(canary.grant(), parameters=(("tenant", "t"),)),
    ],
    ids=["client id", "endpoint", "scope", "audience", "resource", "parameters"],
)
def test_another_client_endpoint_or_scope_is_another_machine(other: ClientCredentials) -> None:
    m = machine()
    before = m.state_value
    with pytest.raises(LocalProtocolError, match="another machine"):
        m.replace_credentials(0, other)
    assert m.grant == OLD
    assert m.state_value is before


def test_a_refusal_of_older_credentials_is_stale_and_frees_the_slot_and_does_nothing_else() -> None:
    for late in (False, True):
        m = machine()
        request = m.start_request(0)
        m.replace_credentials(1, NEW)
        now = 20.0 if late else 2.0
        expected = wait(m, now) if late else None
        assert isinstance(m.receive_response(now, request, REFUSED), Stale)
        assert wait(m, now) == expected
        assert m.explain(now).blocks == ()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(UNCLEAR, BlockKind.UNCLEAR), (LOCKED, BlockKind.LOCKED), (LIMITED, BlockKind.RATE_LIMITED)],
    ids=str,
)
def test_other_blocks_count_whatever_the_generation(answer: HttpResponse, kind: BlockKind) -> None:
    m = machine()
    request = m.start_request(0)
    m.replace_credentials(1, NEW)
    outcome = m.receive_response(2, request, answer)
    assert isinstance(outcome, Blocked)
    assert outcome.kind is kind
    assert m.request_state(2) is RequestState.BLOCKED


def test_a_grant_to_older_credentials_is_taken_and_proves_none_of_the_new() -> None:
    m = machine()
    request = m.start_request(0)
    m.replace_credentials(1, NEW)
    assert isinstance(m.receive_response(2, request, granted()), Granted)
    attempt(m, 272, error(401))
    assert m.explain(272).blocks == ((BlockKind.REFUSED, 272 + 3600),)


def test_an_attempt_under_way_survives_a_rotation() -> None:
    m = machine()
    request = m.start_request(0)
    m.replace_credentials(1, NEW)
    assert m.request_state(1) is RequestState.IN_FLIGHT
    assert isinstance(m.send_failed(2, request, "reset"), Failed)


def test_a_request_that_starts_after_a_rotation_carries_the_new_secret_and_generation() -> None:
    m = machine()
    m.replace_credentials(1, NEW)
    sent = m.start_request(2)
    (expected,) = BasicAuthentication("raw").authenticate(NEW).headers
    assert expected in sent.headers
    m.receive_response(3, sent, REFUSED)
    assert m.request_state(3) is RequestState.BLOCKED


def test_what_is_no_grant_is_refused_by_name() -> None:
    nothing: ClientCredentials = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    m = machine()
    with pytest.raises((TypeError, ValueError, LocalProtocolError), match="credentials"):
        m.replace_credentials(0, nothing)
