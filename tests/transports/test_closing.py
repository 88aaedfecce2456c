"""Closing never costs an answer that is whole: not by raising, whatever it raises, and not by taking its time."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from importlib import import_module
from inspect import iscoroutinefunction
from typing import Any

import pytest

from evertoken import HttpResponse
from evertoken._http import build_request
from evertoken_transports import suspend_aware_clock
from evertoken_transports._exchanges.on_asyncio import _AsyncioLine
from evertoken_transports._exchanges.on_trio import _TrioLine
from evertoken_transports._exchanges.streams import Line
from evertoken_transports._httpx import beside
from tests.kits import canary
from tests.kits.adapters import EVERYWHERE, Kind, exchange_of
from tests.kits.httpx_kits import run_in
from tests.kits.wire import answer, serving
from tests.kits.worlds import run_in_threads

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
ENDED_BY_CLOSING = b"HTTP/1.1 200 OK\r\n\r\n{}"

_SHUTDOWN = socket.socket.shutdown
"""As it is before a test spoils it."""

# What belongs to httpx or httpx2.
Theirs = Any


class Trouble(Exception):
    """What nobody expects of a close."""


@pytest.fixture(autouse=True)
def environment_without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Opened when the test is over."""
    made = threading.Event()
    yield made
    made.set()


def sent(kind: Kind, data: bytes) -> object:
    """What comes of a token request that is answered by ``data``."""

    def script(connection: socket.socket, server: Theirs) -> None:
        answer(data)(connection, server)
        if data == ENDED_BY_CLOSING:
            _SHUTDOWN(connection, socket.SHUT_WR)

    with serving(script) as server:
        url = f"http://127.0.0.1:{server.port}"
        # Half a minute: a close that hangs must not be waited for until then.
        request = build_request(canary.grant(base_url=url), 1, suspend_aware_clock() + 30.0)
        exchange = exchange_of(kind)

        def send(_: int) -> object:
            return exchange(request) if kind.runtime == "threads" else run_in(kind.runtime, lambda: exchange(request))

        (came,) = run_in_threads(1, send)()
    return came


@pytest.mark.parametrize("data", [GOOD, CHUNKED, ENDED_BY_CLOSING], ids=["length", "chunked", "closed"])
@pytest.mark.parametrize("error", [OSError, TypeError, Trouble])
@pytest.mark.parametrize("kind", EVERYWHERE, ids=str)
def test_a_close_that_raises_anything_costs_no_answer(
    kind: Kind, error: type[Exception], data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[object] = []
    _spoil_closing(kind, monkeypatch, closed, error)
    came = sent(kind, data)
    assert isinstance(came, HttpResponse), came
    assert (came.status, came.body) == (200, b"{}")
    assert closed, "nothing was closed at all"


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
@pytest.mark.parametrize("data", [GOOD, CHUNKED], ids=["length", "chunked"])
def test_a_close_that_hangs_is_not_waited_for(
    library: str, data: bytes, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs: Theirs = import_module(library)

    def hang(*_: object) -> None:
        gate.wait(25.0)

    monkeypatch.setattr(theirs.Client, "__exit__", hang)
    came = sent(Kind("threads", library), data)
    assert isinstance(came, HttpResponse), came


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
@pytest.mark.parametrize("runtime", ["asyncio", "uvloop", "trio"])
def test_a_close_that_hangs_in_a_loop_is_not_waited_for(
    library: str, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs: Theirs = import_module(library)

    async def hang(*_: object) -> None:
        if runtime == "trio":
            import trio

            await trio.sleep_forever()
        await asyncio.Event().wait()

    monkeypatch.setattr(theirs.AsyncClient, "__aexit__", hang)
    monkeypatch.setattr(beside, "CLOSING", 0.02)
    came = sent(Kind(runtime, library), GOOD)
    assert isinstance(came, HttpResponse), came


def _spoil_closing(kind: Kind, monkeypatch: pytest.MonkeyPatch, closed: list[object], error: type[Exception]) -> None:
    """Let whatever closes raise ``error`` once it has done its work, and note it."""

    def spoil(owner: Theirs, name: str) -> None:
        real = getattr(owner, name)

        def spoilt(self: Theirs, *arguments: Theirs) -> None:
            real(self, *arguments)
            closed.append(self)
            raise error

        async def spoilt_there(self: Theirs, *arguments: Theirs) -> None:
            await real(self, *arguments)
            closed.append(self)
            raise error

        monkeypatch.setattr(owner, name, spoilt_there if iscoroutinefunction(real) else spoilt)

    if kind.library == "h11":
        if kind.runtime == "threads":
            spoil(socket.socket, "shutdown")
        else:
            lines: dict[str, type[Line]] = {"trio": _TrioLine}
            spoil(lines.get(kind.runtime, _AsyncioLine), "close")
        return
    theirs: Theirs = import_module(kind.library)
    if kind.runtime == "threads":
        spoil(theirs.Response, "close")
        spoil(theirs.Client, "__exit__")
    else:
        spoil(theirs.Response, "aclose")
        spoil(theirs.AsyncClient, "__aexit__")
