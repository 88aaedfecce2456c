"""What a server repeats: of nothing that it was ever sent, or sent itself, does a machine show a word."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from evertoken import (
    AuthenticationParts,
    Challenge,
    ClientCredentials,
    Granted,
    HttpResponse,
    Outcome,
    PostAuthentication,
    Problem,
    ProblemKind,
    Rejection,
    TokenEndpoint,
    TokenMachine,
)
from evertoken._scrub import LEFT_OUT
from evertoken._secrecy import Unpicklable, replace
from tests.kits import canary
from tests.kits.driving import bearer, granted, machine, serve
from tests.kits.spellings import ENCODERS, WRAPPERS, Encoder, parts

URL = "https://as.example/token"
ASSERTION = f"eyJhbGciOiJSUzI1NiJ9.{canary.SECRET_MARK}.{canary.SECRET_MARK[::-1]}1234"


class Assertion:
    """A client authentication that sends a proof of its own, beside names that are public."""

    def authenticate(self, grant: ClientCredentials) -> AuthenticationParts:
        """A signed assertion in the form, and a header with a key."""
        kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        form = (("client_id", grant.client_id), ("client_assertion_type", kind), ("client_assertion", ASSERTION))
        return AuthenticationParts((("X-Api-Key", canary.secret(7)),), form)


ASSERTING = ClientCredentials(TokenEndpoint(URL, Assertion()), "canary")
POSTING = ClientCredentials(
    TokenEndpoint(URL, PostAuthentication()),
    "canary",
    canary.secret(),
    parameters={"pin": "471193", "username": "someone", "password": f"{canary.SECRET_MARK} {canary.SECRET_MARK}"},
)


STATUSES = (200, 400, 401, 403, 407, 429, 500)
PARTS_OF_AN_ASSERTION = (ASSERTION, ASSERTION[-12:], canary.secret(7))


def told(m: TokenMachine, now: float, said: str, statuses: Sequence[int] = STATUSES) -> list[str | None]:
    """The words that are shown of servers that say ``said``: as JSON of either family, and as plain text."""
    request = m.fork().start_request(now)
    canary.assert_clean(request)
    bodies = [
        json.dumps({"error": "invalid_request", "error_description": said}).encode(),
        json.dumps({"Type": said, "Message": said, "errors": {"Field": said}}).encode(),
        f"You said: {said}".encode(),
    ]
    shown: list[str | None] = []
    for body in bodies:
        for status in statuses:
            shown += texts_of(m.read_response(request, HttpResponse(status, (), body)))
    shown += texts_of(m.read_failure(request, said))
    return shown


def texts_of(outcome: Outcome) -> list[str | None]:
    """The texts of a problem, which may be shown; the outcome itself shows nothing."""
    canary.assert_clean(outcome)
    problem: object = getattr(outcome, "problem", None)
    assert isinstance(problem, Problem)
    return [problem.summary, problem.error, problem.detail]


@pytest.mark.no_cover
@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
def test_no_spelling_of_what_proves_who_we_are_is_told(encode: Encoder) -> None:
    posting, asserting = machine(credentials=POSTING), machine(credentials=ASSERTING)
    for m, whole_and_parts in ((posting, parts(canary.secret())), (asserting, PARTS_OF_AN_ASSERTION)):
        for number, part in enumerate(whole_and_parts):
            statuses = STATUSES if number == 0 else STATUSES[number % len(STATUSES) :][:1]
            for text in told(m, 0, encode(part), statuses):
                assert text is None or encode(part) not in text


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_no_parameter_is_told_whole(wrap: Encoder) -> None:
    for value in ("471193", "someone", f"{canary.SECRET_MARK} {canary.SECRET_MARK}"):
        for text in told(machine(credentials=POSTING), 0, wrap(value)):
            assert text is None or wrap(value) not in text


def test_public_names_of_an_assertion_are_told() -> None:
    said = "The client assertion of type jwt-bearer has expired"
    assert said in told(machine(credentials=ASSERTING), 0, said)


def test_a_token_in_hand_a_dropped_one_and_one_that_was_not_taken_are_told_no_more_than_secrets_are() -> None:
    m = machine()
    serve(m, 0, 1)
    assert m.token_rejected(100, bearer(1), Challenge.TOKEN) is Rejection.DROPPED
    serve(m, 100, 2)
    late = m.start_request(380)
    m.receive_response(1_000, late, granted(3))
    for n in (1, 2, 3):
        for said in (canary.token(n), canary.token(n)[:8], f"it was {canary.token(n).upper()}"):
            assert not any(text and said in text for text in told(m, 2_000 + n * 100, said))
    for machine_alike in (m.fork(), m):
        assert told(machine_alike, 3_000, f"not {canary.token(1)}")[2] == "not [redacted]"


def test_a_secret_that_was_replaced_is_still_one() -> None:
    m = machine()
    m.replace_credentials(0, m.grant.with_secret("an entirely different one"))
    assert told(m, 0, f"the key {canary.secret()} is not known")[2] == "the key [redacted] is not known"


def test_a_restored_machine_knows_the_token_that_it_was_restored_with() -> None:
    m = machine()
    serve(m, 0, 1)
    twin = TokenMachine.restore(m.grant, m.snapshot(0, secrets=True), 0, 0, draw=lambda: 0.5)
    assert told(twin, 500, f"not {canary.token(1)}")[2] == "not [redacted]"


@pytest.mark.parametrize("said", ["Bearer abcdef", "your token: abcdef", "access_token=abcdef"])
def test_a_token_that_is_named_as_one_is_not_told_whoever_it_is_for(said: str) -> None:
    shown = told(machine(), 0, said)
    assert LEFT_OUT in shown
    assert not any(text and "abcdef" in text for text in shown[:-3])  # The last are of a failure: our own words.


def test_beside_more_tokens_than_anybody_sends_no_words_are_told() -> None:
    m = machine()
    request = m.start_request(0)
    for count, shown in ((900, "why"), (1_100, LEFT_OUT)):
        body = json.dumps({"Message": "why", "token": list(range(10_000, 10_000 + count))}).encode()
        assert texts_of(m.read_response(request, HttpResponse(500, (), body)))[2] == shown


def test_what_a_proxy_says_of_its_own_credentials_is_not_told() -> None:
    m = machine()
    request = m.start_request(0)
    for body in (
        b'{"message": "user:pass is not known here"}',
        b"user:pass is not known here",
        b'{"error": "user:pass"}',
    ):
        assert "user" not in str(texts_of(m.read_response(request, HttpResponse(407, (), body))))


@pytest.mark.no_cover
@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
def test_a_scope_with_a_secret_in_it_is_no_scope(encode: Encoder) -> None:
    m = machine()
    request = m.start_request(0)
    for secret in (canary.secret(), canary.token(1)):
        body = {"access_token": canary.token(1), "token_type": "bearer", "scope": f"read {encode(secret)}"}
        outcome = m.read_response(request, HttpResponse(200, (), json.dumps(body).encode()))
        assert isinstance(outcome, Granted)
        assert outcome.scope is None
        canary.assert_clean(outcome)


def test_what_was_read_beforehand_has_the_consequences_of_what_was_not() -> None:
    for response in (granted(1), HttpResponse(400, (), b'{"error": "invalid_client"}'), HttpResponse(503)):
        one, other = machine(), machine()
        mine, its = one.start_request(0), other.start_request(0)
        read = other.read_response(its, response)
        assert other.state_value == one.state_value
        assert one.receive_response(1, mine, response) == other.receive_response(1, its, read)
        assert one.state_value == other.state_value
    one, other = machine(), machine()
    mine, its = one.start_request(0), other.start_request(0)
    assert one.send_failed(1, mine, "why") == other.send_failed(1, its, other.read_failure(its, "why"))
    assert one.state_value == other.state_value


def test_a_value_can_still_be_changed_in_one_place_and_says_what_is_wrong_with_the_change() -> None:
    grant = canary.grant()
    assert grant.__replace__(scope="read").scope == "read"
    assert grant.__replace__() == grant
    assert AuthenticationParts().__replace__(form=(("a", "b"),)) == AuthenticationParts(form=(("a", "b"),))
    for changes, kind in (({"client_id": ""}, ValueError), ({"secret": canary.secret()}, TypeError)):
        with pytest.raises(kind) as caught:
            grant.__replace__(**changes)
        canary.assert_clean(caught.value)


def test_a_value_has_no_state_to_be_written_down() -> None:
    for value in (canary.grant(), granted(1), Unpicklable()):
        with pytest.raises(TypeError):
            value.__getstate__()


def test_other_dataclasses_are_changed_as_ever() -> None:
    problem = Problem(ProblemKind.SERVER, "why")
    assert replace(problem, summary="because") == Problem(ProblemKind.SERVER, "because")
    assert replace(canary.grant(), scope="read").scope == "read"
