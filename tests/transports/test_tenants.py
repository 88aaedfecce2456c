"""Many clients in one process: nobody gets another's token, waits for another, or is forgotten for a stranger."""

from __future__ import annotations

import dataclasses
import gc
import logging
import threading
import tracemalloc
from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evertoken import (
    BasicAuthentication,
    ClientCredentials,
    EndpointLocked,
    HttpResponse,
    Policy,
    PostAuthentication,
    TokenEndpoint,
    TokenMachine,
    TokenRequest,
)
from evertoken_transports import Coordinator, _coordinator
from evertoken_transports.threads import TokenSource
from tests.kits import canary
from tests.kits.worlds import LIMIT, Clock

OK = '{{"access_token":"{}","token_type":"bearer","expires_in":1200}}'
MOST = 5_000
"""Bytes that a tenant takes on any Python, its grant and token included. `make bench` says how many on this one."""


def forget() -> None:
    _coordinator._registry.clear()


class Mint:
    """A token endpoint whose tokens say what was asked for, and by whom."""

    def __init__(self) -> None:
        self.named: dict[str, tuple[str, bytes, str]] = {}

    def __call__(self, request: TokenRequest, /) -> HttpResponse:
        name = canary.token(len(self.named))
        headers = dict(request.headers)
        self.named[f"Bearer {name}"] = (request.url, request.body, headers.get("Authorization", ""))
        return HttpResponse(200, (), OK.format(name).encode())


words = st.sampled_from(["a", "b", "a b"])
grants = st.builds(
    ClientCredentials,
    st.builds(
        TokenEndpoint,
        st.sampled_from(["https://one.example/token", "https://two.example/token"]),
        st.sampled_from([BasicAuthentication(), BasicAuthentication("raw"), PostAuthentication()]),
    ),
    st.sampled_from(["client", "another"]),
    st.sampled_from([canary.secret(), canary.secret(1)]),
    scope=st.none() | words,
    audience=st.none() | words,
    resource=st.sampled_from([(), ("https://api.example/",), ("https://api.example/", "https://b.example/")]),
    parameters=st.sampled_from([(), (("tenant", "a"),), (("tenant", "b"),)]),
)


def copied(grant: ClientCredentials) -> ClientCredentials:
    """An equal grant that is another object, as one that is made anew in each view."""
    endpoint = dataclasses.replace(grant.endpoint)
    rest = {name: getattr(grant, name) for name in ("scope", "audience", "resource", "parameters")}
    return ClientCredentials(endpoint, grant.client_id, grant.client_secret, **rest)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(grants, st.integers(0, 2)), min_size=1, max_size=25))
def test_nobody_ever_gets_a_token_that_was_asked_for_with_other_parameters(
    calls: list[tuple[ClientCredentials, int]],
) -> None:
    forget()
    mint, kept = Mint(), list[TokenSource]()
    policies = (Policy(), Policy(leeway=4.0), Policy(request_timeout=9.0))
    for grant, policy in calls:
        source = TokenSource(copied(grant), policy=policies[policy], exchange=mint, background=False)
        kept += [source] * (policy == 0)  # Some live on, the others are dropped at once.
        url, body, proof = mint.named[source.authorization()]
        message = grant.message()
        assert (url, body) == (grant.endpoint.url, message.body)
        assert proof == dict(message.headers).get("Authorization", "")
        assert parse_qs(body.decode()).get("scope", [None]) == [grant.scope]
    assert len(mint.named) == len({(grant, policy) for grant, policy in calls})


def test_one_locked_tenant_and_one_whose_endpoint_hangs_delay_nobody() -> None:
    gate = threading.Event()

    def hangs(_: TokenRequest) -> HttpResponse:
        assert gate.wait(LIMIT)
        raise ConnectionResetError

    def locks(_: TokenRequest) -> HttpResponse:
        return HttpResponse(400, (), b'{"error":"unauthorized_client"}')

    stuck = TokenSource(canary.grant(client_id="stuck"), exchange=hangs)
    assert stuck.authorization_nowait() is None  # Its request is under way in a thread.
    locked = TokenSource(canary.grant(client_id="locked"), exchange=locks, background=False)
    with pytest.raises(EndpointLocked):
        locked.authorization()
    mint = Mint()
    with locked.coordinator._lock, stuck.coordinator._lock:  # As if each were in the midst of a step for ever.
        others = threading.Thread(target=lambda: [serve(mint, number) for number in range(20)], daemon=True)
        others.start()
        others.join(LIMIT)
        assert not others.is_alive()
    assert len(mint.named) == 20
    gate.set()


def serve(mint: Mint, number: int) -> str:
    grant = canary.grant(client_id=f"other{number}")
    return TokenSource(grant, exchange=mint, background=False).authorization()


def test_who_asked_for_nothing_is_forgotten_before_anybody_who_has_a_token() -> None:
    mint = Mint()
    for number in range(50):
        serve(mint, number)
    for number in range(60):
        Coordinator.shared(canary.grant(client_id=f"passer-by{number}"), Policy())
    registry = _coordinator._registry
    assert len(registry._kept) == 50
    assert len(registry._new) <= 2
    for number in range(50):
        serve(mint, number)
    assert len(mint.named) == 50


def test_a_block_outlasts_any_number_of_strangers() -> None:
    asked: list[str] = []

    def locks(request: TokenRequest) -> HttpResponse:
        asked.append(request.url)
        return HttpResponse(400, (), b'{"error":"unauthorized_client"}')

    def is_locked() -> bool:
        try:
            TokenSource(canary.grant(client_id="locked"), exchange=locks, background=False).authorization()
        except EndpointLocked:
            return True
        return False

    for number in range(20):
        assert is_locked()
        for stranger in range(5):
            Coordinator.shared(canary.grant(client_id=f"stranger{number}-{stranger}"), Policy())
    assert len(asked) == 1


def test_a_tenant_costs_a_few_kilobytes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "evertoken")
    mint = Mint()
    sources = [TokenSource(canary.grant(client_id="first"), exchange=mint, background=False)]
    sources[0].authorization()
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(100):
            grant = canary.grant(client_id=f"client{number}")
            sources.append(TokenSource(grant, exchange=mint, background=False))
            sources[-1].authorization()
        mint.named.clear()
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / 100 < MOST


def test_a_machine_remembers_three_tokens_and_not_every_one_that_it_ever_had() -> None:
    clock = Clock()
    machine = TokenMachine(canary.grant(), draw=lambda: 0.5)
    issued = [canary.token(number) for number in range(9)]
    request = machine.start_request(clock())
    machine.request_abandoned(clock(), request)
    for token in issued:
        request = machine.start_request(clock())
        machine.receive_response(clock(), request, HttpResponse(200, (), OK.format(token).encode()))
        clock.now += 1_190
    assert [token for token in issued if token in machine._secrets(request)] == issued[-3:]
