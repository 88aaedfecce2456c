"""Plain http stays on this machine, whatever a test allows: only a connection that no system made may go elsewhere."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from evertoken_transports._exchange import ExchangeFailed
from evertoken_transports._exchanges import addresses as _addresses
from evertoken_transports._exchanges.addresses import refuse_to_leave
from evertoken_transports._exchanges.target import Target
from evertoken_transports.testing import allow_plain_http
from tests.kits import canary
from tests.kits.adapters import KINDS, Kind, coordinator_of, source_of
from tests.kits.httpx_kits import run_in

URL = "http://api.simulated:8080"
TARGET = Target.of(f"{URL}/v2.01/oauth/token")
ELSEWHERE = "192.0.2.1"


def test_no_grant_names_such_a_host_but_within_the_block() -> None:
    with allow_plain_http("api.simulated"):
        canary.grant(base_url=URL)
        canary.grant(base_url=URL.replace("api", "API"))
        with pytest.raises(ValueError, match="must be https"):
            canary.grant(base_url="http://another.simulated")
    with pytest.raises(ValueError, match="must be https"):
        canary.grant(base_url=URL)


def test_blocks_may_overlap() -> None:
    with allow_plain_http("api.simulated", "other"), allow_plain_http("api.simulated"):
        pass
    with allow_plain_http("api.simulated"):
        with allow_plain_http("api.simulated"):
            pass
        canary.grant(base_url=URL)


def test_it_decorates_tests() -> None:
    @allow_plain_http("api.simulated")
    def test() -> None:
        canary.grant(base_url=URL)

    test()
    with pytest.raises(ValueError, match="must be https"):
        canary.grant(base_url=URL)


@pytest.mark.parametrize("host", ["", "http://api", "api:80", "*", "[::1]", 7, None])
def test_what_is_no_host_name_is_refused(host: Any) -> None:  # noqa: ANN401 (of any kind)
    with pytest.raises(ValueError, match="hosts must be host names"), allow_plain_http(host):
        pass


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_no_exchange_sends_anything_to_a_real_host_of_that_name(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ELSEWHERE, 8080))]

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket, "getaddrinfo", elsewhere)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    with allow_plain_http("api.simulated"):
        source = source_of(kind, coordinator_of(canary.grant(base_url=URL)))
        with pytest.raises(Exception, match=f"plain http is refused: api.simulated is {ELSEWHERE}"):
            asked(kind, source)


def asked(kind: Kind, source: Any) -> object:  # noqa: ANN401 (a source of any runtime)
    if kind.runtime == "threads":
        return source.authorization(0.5)

    async def wait() -> object:
        return await source.authorization(0.5)

    return run_in(kind.runtime, wait)


def is_never_here(_: str) -> bool:
    return False


# What the operating system says of a connection
# ----------------------------------------------


@pytest.fixture
def connected() -> Any:  # noqa: ANN401 (a generator fixture)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as line:
        yield line


def test_a_connection_to_this_machine_may_be_used(connected: socket.socket) -> None:
    refuse_to_leave(TARGET, connected)


def test_one_to_another_machine_may_not(connected: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_addresses, "_is_here", is_never_here)
    with pytest.raises(ExchangeFailed, match=r"plain http is refused: api.simulated is 127.0.0.1, which is not"):
        refuse_to_leave(TARGET, connected)


def test_with_tls_it_may(connected: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_addresses, "_is_here", is_never_here)
    refuse_to_leave(Target.of("https://api.example"), connected)


def test_where_the_system_has_made_no_connection_nothing_can_leave() -> None:
    with socket.socket() as unconnected:
        refuse_to_leave(TARGET, unconnected)
    refuse_to_leave(TARGET, unconnected)  # Closed: it has no descriptor.


def test_a_pair_of_sockets_that_stands_for_a_simulated_one_is_none() -> None:
    one, other = socket.socketpair()
    with one, other:
        refuse_to_leave(TARGET, one)
