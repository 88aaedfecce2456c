"""The two messages of the wire: what a token request holds, anew each time, and that neither message shows itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import pytest

from evertoken import (
    AuthenticationParts,
    BasicAuthentication,
    ClientCredentials,
    HttpResponse,
    PostAuthentication,
    TokenEndpoint,
    TokenRequest,
)
from evertoken._http import build_request
from evertoken._secrecy import replace
from tests.kits import canary
from tests.kits.driving import granted, machine, serve

URL = "https://as.example/token"


def form(request: TokenRequest) -> list[tuple[str, str]]:
    return parse_qsl(request.body.decode(), strict_parsing=True)


def full(**more: str) -> ClientCredentials:
    return ClientCredentials(
        TokenEndpoint(URL),
        "canary",
        canary.secret(),
        scope="read write",
        audience="https://api.example",
        resource=["https://a.example", "https://b.example"],
        parameters={"tenant": "ä&b", **more},
    )


def test_a_request_is_one_post_of_the_form_with_a_deadline() -> None:
    request = build_request(full(), 7, 12.5)
    assert (request.id, request.method, request.url, request.deadline) == (7, "POST", URL, 12.5)
    names = [name for name, _ in request.headers]
    assert names == ["Accept", "Accept-Encoding", "Content-Type", "Content-Length", "Authorization"]
    headers = dict(request.headers)
    assert headers["Accept"] == "application/json"
    assert headers["Accept-Encoding"] == "identity"
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert headers["Content-Length"] == str(len(request.body))


def test_scope_audience_resources_and_parameters_stand_in_the_form_in_order() -> None:
    assert form(build_request(full(), 1, 0)) == [
        ("grant_type", "client_credentials"),
        ("scope", "read write"),
        ("audience", "https://api.example"),
        ("resource", "https://a.example"),
        ("resource", "https://b.example"),
        ("tenant", "ä&b"),
    ]


def test_extra_parameters_are_kept_on_every_renewal_and_after_a_rotation() -> None:
    m = machine(credentials=full())
    bodies = [serve(m, 0).body, serve(m, 270, n=1).body]
    m.replace_credentials(271, full().with_secret(canary.secret(1)))
    bodies.append(serve(m, 540, n=2).body)
    assert set(bodies) == {build_request(full(), 1, 0).body}


def test_client_authentication_is_built_anew_for_each_request() -> None:
    class Counting:
        calls = 0

        def authenticate(self, grant: ClientCredentials) -> AuthenticationParts:
            self.calls += 1
            return AuthenticationParts(form=(("client_assertion", f"{grant.client_id}-{self.calls}"),))

    m = machine(credentials=ClientCredentials(TokenEndpoint(URL, Counting()), "canary"))
    assertions = [dict(form(serve(m, now, n)))["client_assertion"] for n, now in enumerate((0, 270, 540))]
    assert assertions == ["canary-1", "canary-2", "canary-3"]


def test_a_variant_of_a_built_in_authentication_is_called_anew_too() -> None:
    class Dated(BasicAuthentication):
        calls = 0

        def authenticate(self, grant: ClientCredentials) -> AuthenticationParts:
            Dated.calls += 1
            return AuthenticationParts(headers=(("X-Call", f"{Dated.calls}"),))

    grant = ClientCredentials(TokenEndpoint(URL, Dated()), "canary", canary.secret())
    calls = [dict(build_request(grant, n, 0).headers)["X-Call"] for n in (1, 2, 3)]
    assert calls == ["1", "2", "3"]


def test_a_grant_that_has_made_a_request_is_still_the_same_grant() -> None:
    used, unused = full(), full()
    first, second = build_request(used, 1, 0), build_request(used, 1, 0)
    assert first == second == build_request(unused, 1, 0)
    assert first.secrets == second.secrets
    assert used.secrets() == unused.secrets()
    assert (used, hash(used), repr(used)) == (unused, hash(full()), repr(full()))
    assert replace(used, scope="write") != used
    assert b"scope=write" in build_request(replace(used, scope="write"), 1, 0).body
    canary.assert_clean(used, used.message())


def test_every_request_has_an_id_of_its_own() -> None:
    m = machine()
    ids = [serve(m, now, n).id for n, now in enumerate((0, 270, 540))]
    assert len(set(ids)) == 3


def test_a_request_names_what_must_be_taken_out_of_texts_about_it() -> None:
    basic = build_request(full(), 1, 0)
    header = dict(basic.headers)["Authorization"]
    assert basic.secrets == (header.removeprefix("Basic "), canary.secret())
    post = ClientCredentials(TokenEndpoint(URL, PostAuthentication()), "canary", canary.secret())
    assert set(build_request(post, 1, 0).secrets) == {canary.secret()}


def test_neither_message_shows_what_it_carries() -> None:
    request = build_request(full(), 1, 0)
    response = HttpResponse(200, [("X-Echo", canary.secret())], granted().body)
    canary.assert_clean(request, response)
    assert URL in repr(request)
    assert repr(response) == f"HttpResponse(status=200, 1 headers, {len(granted().body)} bytes)"


def test_a_response_takes_headers_as_pairs_or_as_a_mapping_and_keeps_them_as_pairs() -> None:
    pairs = (("Retry-After", "5"), ("Retry-After", "6"))
    assert HttpResponse(429, pairs).headers == pairs
    headers = {"Retry-After": "5"}
    response = HttpResponse(429, headers)
    headers["Retry-After"] = "6"
    assert response.headers == (("Retry-After", "5"),)
    assert response == HttpResponse(429, (("Retry-After", "5"),))
    assert replace(response, status=503).headers == response.headers


@pytest.mark.parametrize("status", [None, "200", True, 200.0])
def test_the_parts_of_a_response_that_cannot_be_read_are_refused_by_name(status: Any) -> None:  # noqa: ANN401
    make: Any = HttpResponse
    with pytest.raises(TypeError, match=r"^HttpResponse: status must be an int, not "):
        make(status)
    for headers in (None, 5, "Date: now", b"Date", dict, [("a",)], [("a", "b", "c")], ["ab"], [None]):
        with pytest.raises(TypeError, match=r"^HttpResponse: headers must be pairs of a name and a value"):
            make(200, headers)
    for body in (None, canary.token(), [canary.token()], {"access_token": canary.token()}, 5):
        with pytest.raises(TypeError, match=r"^HttpResponse: body must be bytes") as caught:
            make(200, (), body)
        canary.assert_clean(caught.value)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_a_body_is_taken_from_any_buffer_and_kept_as_bytes(kind: Callable[[bytearray], bytes]) -> None:
    buffer = bytearray(b"body")
    response = HttpResponse(200, (), kind(buffer))
    buffer[0] = 0
    assert response == HttpResponse(200, (), b"body")
    assert type(response.body) is bytes
