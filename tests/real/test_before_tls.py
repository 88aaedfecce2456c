"""A man in the middle without a certificate, who answers in clear before TLS begins: no byte of his is an answer.

He sends a whole grant at once, and then lets the handshake with the real server pass through. To an exchange that reads
from the first byte and starts TLS later, his bytes are the first that it finds when it looks for the answer.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress

import pytest
import trio
import trustme

from evertoken import HttpResponse
from evertoken._http import build_request
from evertoken_transports import suspend_aware_clock
from tests.kits import canary
from tests.kits.adapters import EVERYWHERE, Kind, Ours, exchange_of
from tests.kits.httpx_kits import run_in
from tests.kits.wire import serving
from tests.kits.worlds import LIMIT, run_in_threads
from tests.real.test_h11_tls import Seen, client_context, over_tls, server_context

TRIES = 60
FEWER_TRIES = 10
"""For the exchanges of httpx, whose TLS is that of anyio and trio: it reads from the first byte."""

BUSY = 0.002
"""Seconds for which the loop is held up again and again, so that bytes lie there when it looks."""

_BODY = b'{"access_token": "planted", "token_type": "Bearer", "expires_in": 3600}'
PLANTED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)


@contextmanager
def between(port: int) -> Generator[int]:
    """The port of somebody who speaks first and in clear, and passes on what comes after to ``port``."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=_accept, args=(listener, port), daemon=True)
        accepting.start()
        yield listener.getsockname()[1]
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # Wakes the thread that accepts.
        accepting.join(LIMIT)


def _accept(listener: socket.socket, port: int) -> None:
    talks: list[threading.Thread] = []
    with suppress(OSError):
        while True:
            talks.append(threading.Thread(target=_stand_between, args=(listener.accept()[0], port), daemon=True))
            talks[-1].start()
    for talk in talks:
        talk.join(LIMIT)


def _stand_between(line: socket.socket, port: int) -> None:
    with line, socket.create_connection(("127.0.0.1", port), LIMIT) as onward:
        with suppress(OSError):
            line.sendall(PLANTED)
        back = threading.Thread(target=_pass_on, args=(onward, line), daemon=True)
        back.start()
        _pass_on(line, onward)
        back.join(LIMIT)


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def tried(kind: Kind, url: str, context: ssl.SSLContext, *, busy: bool) -> list[object]:
    """What came of many token requests, in one loop: answers and exceptions."""
    exchange = exchange_of(kind, ssl_context=context)
    tries = range(TRIES if kind.library == "h11" else FEWER_TRIES)

    def request() -> Ours:
        return build_request(canary.grant(base_url=url), 1, suspend_aware_clock() + LIMIT)

    def once() -> object:
        try:
            return exchange(request())
        except Exception as error:  # noqa: BLE001 (the test looks at it)
            return error

    async def once_there() -> object:
        try:
            return await exchange(request())
        except Exception as error:  # noqa: BLE001 (the test looks at it)
            return error

    async def all_there() -> list[object]:
        if busy:
            _keep_busy(kind.runtime)
        return [await once_there() for _ in tries]

    if kind.runtime == "threads":
        return [once() for _ in tries]
    return run_in(kind.runtime, all_there)


def _keep_busy(runtime: str) -> None:
    """Hold up the loop that runs here in each of its turns, until it ends."""

    def hold() -> None:
        threading.Event().wait(BUSY)

    if runtime == "trio":

        async def held() -> None:
            while True:
                hold()
                await trio.lowlevel.checkpoint()

        trio.lowlevel.spawn_system_task(held)
        return
    loop = asyncio.get_running_loop()

    def again() -> None:
        hold()
        loop.call_soon(again)

    again()


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.mark.parametrize(
    ("kind", "busy"),
    [(kind, busy) for kind in EVERYWHERE for busy in (False, True) if not busy or kind.runtime != "threads"],
    ids=lambda value: {True: "busy", False: "idle"}[value] if isinstance(value, bool) else str(value),
)
def test_no_byte_from_before_the_handshake_is_ever_an_answer(ca: trustme.CA, kind: Kind, busy: bool) -> None:
    with serving(over_tls(server_context(ca, "localhost"), Seen())) as server, between(server.port) as port:
        context, url = client_context(ca), f"https://localhost:{port}"
        (came,) = run_in_threads(1, lambda _: tried(kind, url, context, busy=busy))()
    assert isinstance(came, list), came
    assert len(came) in (TRIES, FEWER_TRIES)
    assert [answer for answer in came if isinstance(answer, HttpResponse)] == []
    assert server.heard == [], "the secret went out over a connection that somebody had written on"
