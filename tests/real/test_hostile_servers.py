"""Every adapter against servers that mean harm: callers are free at their deadline, memory is bounded, no secret leaks.

The servers drip for minutes, hang for good, or send without end. So every test that ends at all shows that somebody let
go, and the tests wait for what carried the request as well as for the callers.
"""

from __future__ import annotations

import socket
import tracemalloc
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from evertoken import ClientCredentials, Policy, ProblemKind, RequestState, TokenUnavailable
from evertoken.testing import Arrival, AuthorizationServer, Script, TokenBehaviour, TokenFault
from evertoken_transports.emulator import Emulator
from tests.kits import canary
from tests.kits.adapters import KINDS, Kind, ask, coordinator_of
from tests.kits.wire import Server, read_request, serving
from tests.kits.worlds import LIMIT, until

# httpx and httpcore let go of their own generators when a request ends half-way, and trio warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http(x|core):ResourceWarning")

EVERY_KIND = pytest.mark.parametrize("kind", KINDS, ids=str)

ONCE = Policy(request_timeout=LIMIT, retry_base=60.0, max_body=16_384)
"""Time enough for a token request, and no second one within the test."""
HASTY = Policy(request_timeout=0.25, retry_base=60.0)
"""The same with a quarter of a second for a token request."""
MOST_MEMORY = 8_000_000
"""Bytes. Python and the libraries need some; a server that has its way makes them need 50 MB and more."""


@contextmanager
def misbehaving(fault: TokenFault) -> Generator[Emulator]:
    script = Script(token=TokenBehaviour(fault=fault))
    model = AuthorizationServer("canary", canary.secret(), script=script, token_prefix=canary.TOKEN_MARK)
    with Emulator(model) as emulator:
        yield emulator


@contextmanager
def bounded_memory() -> Generator[None]:
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST_MEMORY


def kinds_of_problem(came: list[object]) -> list[ProblemKind]:
    for error in came:
        assert isinstance(error, TokenUnavailable)
        canary.assert_clean(error)
    return [error.problem.kind for error in came if isinstance(error, TokenUnavailable)]


def the_only_one(emulator: Emulator) -> Arrival:
    (arrival,) = emulator.arrivals
    return arrival


SLOW = pytest.mark.parametrize("fault", [TokenFault.DRIP, TokenFault.HANG], ids=lambda fault: fault.value)


@EVERY_KIND
@SLOW
def test_a_caller_leaves_at_a_deadline_of_its_own_while_the_request_goes_on(kind: Kind, fault: TokenFault) -> None:
    with misbehaving(fault) as emulator:
        coordinator = coordinator_of(emulator.grant(), Policy(request_timeout=600.0))
        still_under_way: list[bool] = []

        def look_and_end_it() -> None:
            machine = coordinator.machine
            still_under_way.append(machine.request_state(coordinator.clock()) is RequestState.IN_FLIGHT)
            emulator.close()

        came = ask(kind, coordinator, 0.05, 0.1, 0.15, then=look_and_end_it)
        assert len(kinds_of_problem(came)) == 3
        assert still_under_way == [True]


@EVERY_KIND
@SLOW
def test_a_server_that_takes_its_time_holds_nobody_past_the_requests_deadline(kind: Kind, fault: TokenFault) -> None:
    with misbehaving(fault) as emulator:
        came = ask(kind, coordinator_of(emulator.grant(), HASTY), 0.05, 0.25, LIMIT, LIMIT)
        known = {ProblemKind.CALLER_TIMEOUT, ProblemKind.LOST, ProblemKind.TRANSPORT}
        assert set(kinds_of_problem(came)) <= known
        assert len(emulator.arrivals) <= 1
        if fault is TokenFault.HANG:
            until(lambda: not emulator._connections)


@EVERY_KIND
@pytest.mark.parametrize("fault", [TokenFault.ENDLESS_BODY, TokenFault.GZIP_BOMB], ids=lambda fault: fault.value)
def test_a_body_that_is_too_big_fills_no_memory(kind: Kind, fault: TokenFault) -> None:
    with misbehaving(fault) as emulator:
        ask(kind, coordinator_of(emulator.grant(), ONCE), LIMIT)  # So that the libraries are loaded.
        with bounded_memory():
            came = ask(kind, coordinator_of(emulator.grant(), ONCE), *[LIMIT] * 5)
        assert set(kinds_of_problem(came)) == {ProblemKind.MALFORMED}
        until(lambda: not emulator._connections)


@EVERY_KIND
def test_headers_without_end_fill_no_memory(kind: Kind) -> None:
    def send_headers(connection: socket.socket, server: Server) -> None:
        read_request(connection, server)
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"X-More: " + b"x" * 4_096 + b"\r\n")

    with serving(send_headers) as server:
        coordinator = coordinator_of(canary.grant(base_url=f"http://127.0.0.1:{server.port}"), ONCE)
        with bounded_memory():
            came = ask(kind, coordinator, *[LIMIT] * 5)
        assert set(kinds_of_problem(came)) == {ProblemKind.TRANSPORT}
        assert server.connections == 1


@EVERY_KIND
def test_a_token_that_is_cut_off_is_not_taken(kind: Kind) -> None:
    with misbehaving(TokenFault.CUT_BODY) as emulator:
        came = ask(kind, coordinator_of(emulator.grant(), ONCE), *[LIMIT] * 5)
        assert set(kinds_of_problem(came)) == {ProblemKind.TRANSPORT}
        assert the_only_one(emulator).token_number == 1


@EVERY_KIND
@pytest.mark.parametrize("status", [302, 307])
def test_a_redirect_to_another_host_is_not_followed_and_nothing_is_sent_there(kind: Kind, status: int) -> None:
    with serving(read_request) as other:
        location = f"http://localhost:{other.port}/v2.01/oauth/token"
        behaviour = TokenBehaviour(fault=TokenFault.REDIRECT, status=status, location=location)
        model = AuthorizationServer("canary", canary.secret(), script=Script(token=behaviour))
        with Emulator(model) as emulator:
            grant: ClientCredentials = emulator.grant()
            came = ask(kind, coordinator_of(grant, ONCE), *[LIMIT] * 5)
            assert set(kinds_of_problem(came)) == {ProblemKind.UNCLEAR}
            assert the_only_one(emulator).status == status
        assert other.connections == 0
        assert other.heard == []
