"""One law for every exchange: the same request, the same words for the same failure, and nothing of the answer in them.

The servers are sockets that do what the test says. Each exchange is tried in its own runtime, that of asyncio on uvloop
as well.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from traceback import TracebackException
from typing import Any

import pytest
import trio

from evertoken import HttpResponse, Policy, TokenMachine, TokenUnavailable
from evertoken._http import build_request
from evertoken_transports import Coordinator, Event, suspend_aware_clock
from evertoken_transports._exchange import ExchangeFailed
from tests.kits import canary
from tests.kits.adapters import EVERYWHERE, Kind, coordinator_of, exchange_of, source_of
from tests.kits.httpx_kits import run_in
from tests.kits.wire import Script, Server, answer, hang_up, read_request, serving
from tests.kits.worlds import LIMIT, run_in_threads, until
from tests.transports.test_h11_exchange import Deaf

# httpx and httpcore let go of their own generators when a request ends half-way, and trio warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http(x|core):ResourceWarning")

kinds = pytest.mark.parametrize("kind", EVERYWHERE, ids=str)
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(autouse=True)
def environment_without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def sent(kind: Kind, url: str, *, seconds: float = LIMIT, **options: object) -> HttpResponse | ExchangeFailed:
    """What comes of one token request."""
    request = build_request(canary.grant(base_url=url), 1, suspend_aware_clock() + seconds)
    exchange = exchange_of(kind, **options)

    async def there() -> object:
        try:
            return await exchange(request)
        except Exception as error:  # noqa: BLE001 (the test looks at it)
            return error

    def here() -> object:
        try:
            return exchange(request)
        except Exception as error:  # noqa: BLE001 (the test looks at it)
            return error

    run = here if kind.runtime == "threads" else partial(run_in, kind.runtime, there)
    (came,) = run_in_threads(1, lambda _: run())()
    assert isinstance(came, HttpResponse | ExchangeFailed), came
    return came


async def both(kind: Kind, *works: Callable[[], Awaitable[None]]) -> None:
    """Do all of ``works`` at once, in the loop that runs here."""
    if kind.runtime == "trio":
        async with trio.open_nursery() as nursery:
            for work in works:
                nursery.start_soon(work)
    else:
        await asyncio.gather(*(work() for work in works))


# ---------------------------------------------------------------------------------------------------- what is sent


def test_every_exchange_writes_the_same_request() -> None:
    heard: dict[str, bytes] = {}
    with serving(answer(GOOD)) as server:
        for kind in EVERYWHERE:
            came = sent(kind, f"http://127.0.0.1:{server.port}")
            assert isinstance(came, HttpResponse), (kind, came)
            heard[str(kind)] = server.heard.pop()
    assert len(set(heard.values())) == 1, heard
    head = heard["threads-h11"].partition(b"\r\n\r\n")[0].decode()
    lines = head.split("\r\n")
    assert lines[0] == "POST /v2.01/oauth/token HTTP/1.1"
    assert lines[1] == f"Host: 127.0.0.1:{server.port}"
    assert {"User-Agent: evertoken", "Connection: close", "Accept-Encoding: identity"} < set(lines)


@kinds
def test_the_answer_s_fields_come_back_as_they_were_sent(kind: Kind) -> None:
    with serving(
        answer(b"HTTP/1.1 429 No\r\nRetry-After: 7\r\nX-odd: a\r\nx-Odd: b\r\nContent-Length: 2\r\n\r\n{}")
    ) as server:
        came = sent(kind, f"http://127.0.0.1:{server.port}")
    fields = (("Retry-After", "7"), ("X-odd", "a"), ("x-Odd", "b"), ("Content-Length", "2"))
    assert came == HttpResponse(429, fields, b"{}")


@kinds
def test_an_international_host_name_is_looked_up_by_one_name(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> object:  # noqa: ANN401
        if isinstance(host, bytes):
            host = host.decode()
        if not str(host)[0].isdigit():
            asked.append(host)
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *arguments, **options)

    async def of_the_loop(_: object, host: str, *__: object, **___: object) -> object:
        return getaddrinfo(host)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    came = sent(kind, "https://Straße.example")
    if kind.runtime != "uvloop":  # It looks names up in C.
        assert set(asked) == {"xn--strae-oqa.example"}
    assert str(came).startswith("the host name xn--strae-oqa.example was not resolved: ")


# ---------------------------------------------------------------------------------------- answers that are mangled

MARK = canary.token().encode()

MANGLED: dict[str, bytes] = {
    "no status line": MARK + b"\r\n\r\n",
    "mark in the version": b"HTTP/" + MARK + b" 200 OK\r\n\r\n",
    "mark in the status": b"HTTP/1.1 " + MARK + b"\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 " + MARK + b"\r\n\r\n",
    "status below 100": b"HTTP/1.1 099 " + MARK + b"\r\n\r\n",
    "control character in the phrase": b"HTTP/1.1 200 \x00" + MARK + b"\r\n\r\n",
    "an empty head": b"\r\n\r\n" + MARK,
    "a protocol switched to": b"HTTP/1.1 101 " + MARK + b"\r\nUpgrade: " + MARK + b"\r\nConnection: Upgrade\r\n\r\n",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + MARK,
    "HTTP/0.9": b'{"access_token": "' + MARK + b'"}\r\n\r\n',
    "a space before the colon": b"HTTP/1.1 200 OK\r\nX-" + MARK + b" : x\r\n\r\n",
    "no colon": b"HTTP/1.1 200 OK\r\n" + MARK + b"\r\n\r\n",
    "bytes in a name": b"HTTP/1.1 200 OK\r\n\xff" + MARK + b": x\r\n\r\n",
    "NUL in a value": b"HTTP/1.1 200 OK\r\nX: \x00" + MARK + b"\r\n\r\n",
    "a fold at the start": b"HTTP/1.1 200 OK\r\n " + MARK + b"\r\n\r\n",
    "no length": b"HTTP/1.1 200 OK\r\nContent-Length: " + MARK + b"\r\n\r\n{}",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1" + MARK + b"\r\n\r\n{}",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\nX: " + MARK + b"\r\n\r\n{}" + MARK,
    "a length of many digits": b"HTTP/1.1 200 OK\r\nContent-Length: "
    + b"9" * 40
    + b"\r\nX: "
    + MARK
    + b"\r\n\r\n"
    + MARK,
    "a coding that is none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + MARK + b"\r\n\r\n{}",
    "two codings": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
    + MARK
    + b"\r\n\r\n0\r\n\r\n",
    "chunked in name alone": b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{"access_token": "'
    + MARK
    + b'"}\r\n',
    "a chunk without its end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}"
    + MARK
    + b"\r\n0\r\n\r\n",
    "a trailer that is none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    + MARK
    + b"\r\n\r\n",
    "a chunk's endless head": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;" + MARK * 20_000,
    "an endless head": b"HTTP/1.1 200 OK\r\n" + (b"X: " + MARK + b"\r\n") * 20_000,
    "cut in the head": b"HTTP/1.1 200 OK\r\nX: " + MARK,
    "cut in the body": b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + MARK,
    "cut in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n" + MARK,
    "cut after a hint": b"HTTP/1.1 103 " + MARK + b"\r\nLink: " + MARK + b"\r\n\r\n",
}
"""Every way in which h11 objects to an answer, with a token in each place that its texts could quote."""


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    caplog.set_level(logging.DEBUG)
    return lambda: "\n".join(f"{record.getMessage()} {record.exc_text}" for record in caplog.records)


@kinds
def test_of_an_answer_that_was_mangled_no_byte_is_shown(kind: Kind, logged: Callable[[], str]) -> None:
    came: dict[str, object] = {}

    def mangled(connection: socket.socket, server: Server) -> None:
        read_request(connection, server)
        try:
            connection.sendall(MANGLED[flaw])
        except OSError:
            return  # The client has seen enough.
        hang_up(connection)

    events: list[str] = []

    def note(event: Event) -> None:
        events.append(f"{event!r} {event}")

    with serving(mangled) as server:
        url = f"http://127.0.0.1:{server.port}"
        for flaw in MANGLED:
            came[flaw] = sent(kind, url)
        coordinator = coordinator_of(canary.grant(base_url=url))
        source = source_of(kind, coordinator)
        source.on_event = note
        flaw = "chunked in name alone"
        _tried(kind, source)
        until(lambda: coordinator.explain().problem is not None)
    assert {flaw for flaw, each in came.items() if isinstance(each, HttpResponse)} == set(), came
    for each in came.values():
        assert isinstance(each, ExchangeFailed)
        assert each.__context__ is None
        assert not canary.find_marks("".join(TracebackException.from_exception(each, capture_locals=True).format()))
        canary.assert_clean(each)
    assert events
    for shown in (repr(events), str(coordinator.explain()), repr(coordinator.explain()), logged()):
        assert not canary.find_marks(shown)


def _tried(kind: Kind, source: Any) -> None:  # noqa: ANN401
    async def there() -> None:
        with pytest.raises(TokenUnavailable) as caught:
            await source.authorization(0.5)
        canary.assert_clean(caught.value)

    def here(_: int) -> None:
        with pytest.raises(TokenUnavailable) as caught:
            source.authorization(0.5)
        canary.assert_clean(caught.value)

    run_in_threads(1, here if kind.runtime == "threads" else lambda _: run_in(kind.runtime, there))()


# ------------------------------------------------------------------------------------------------- where it is stuck


STUCK = "while reading the answer's body, 5 of 100 bytes so far"


def stuck_after(data: bytes) -> tuple[Script, threading.Event]:
    """Read the request, send ``data``, and say no more until the event."""
    over = threading.Event()

    def script(connection: socket.socket, server: Server) -> None:
        answer(data)(connection, server)
        over.wait(LIMIT)
        hang_up(connection)

    return script, over


@kinds
@pytest.mark.parametrize(
    ("data", "stage"),
    [
        (b"", "while waiting for the answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n12345", STUCK),
    ],
    ids=["silent", "in the body"],
)
def test_waiting_callers_are_told_where_the_request_is_stuck(kind: Kind, data: bytes, stage: str) -> None:
    told: dict[float, str] = {}
    skipped = 0.0
    script, over = stuck_after(data)
    with serving(script) as server:
        machine = TokenMachine(
            canary.grant(base_url=f"http://127.0.0.1:{server.port}"),
            policy=Policy(request_timeout=60.0),
            draw=lambda: 0.5,
        )
        coordinator = Coordinator(machine, clock=lambda: suspend_aware_clock() + skipped)
        source = source_of(kind, coordinator)

        def note(timeout: float, error: TokenUnavailable) -> None:
            canary.assert_clean(error)
            told[timeout] = str(error)

        async def caller(timeout: float) -> None:
            try:
                await source.authorization(timeout)
            except TokenUnavailable as error:
                note(timeout, error)

        def caller_here(timeout: float) -> None:
            try:
                source.authorization(timeout)
            except TokenUnavailable as error:
                note(timeout, error)

        # One who leaves before the request's own deadline, and one who is still there when it has passed.
        if kind.runtime == "threads":
            join = run_in_threads(2, lambda index: caller_here((30.0, 60.3)[index]))
        else:
            work = partial(both, kind, partial(caller, 30.0), partial(caller, 60.3))
            join = run_in_threads(1, lambda _: run_in(kind.runtime, work))
        until(lambda: coordinator._progress.stage == stage)
        skipped = 40.0
        coordinator._wake_all()
        until(lambda: 30.0 in told)
        skipped = 70.0
        coordinator._wake_all()
        until(lambda: 60.3 in told)
        over.set()
        join()
    assert f"a token request is under way, {stage}" in told[30.0]
    assert f"time ran out {stage}" in told[60.3]


# ------------------------------------------------------------------------------------------------------- addresses


@pytest.fixture
def deaf() -> Iterator[Deaf]:
    made = Deaf()
    yield made
    made.close()


@kinds
def test_an_address_that_swallows_packets_does_not_keep_the_next_from_answering(
    kind: Kind, deaf: Deaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(answer(GOOD)) as server:
        _resolve(monkeypatch, deaf.place, deaf.place, ("127.0.0.1", server.port))
        came = sent(kind, f"http://localhost:{server.port}")
        assert isinstance(came, HttpResponse), came


@kinds
def test_where_no_address_answers_each_is_named_with_its_cause(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        _resolve(monkeypatch, ("127.0.0.1", port), ("127.0.0.2", port))
        came = sent(kind, f"http://localhost:{port}")
    refused = "127.0.0.1: Connection refused; 127.0.0.2: Connection refused"
    assert str(came) == f"no connection to localhost:{port} ({refused})"


@kinds
def test_a_localhost_that_is_another_machine_gets_nothing(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    _resolve(monkeypatch, ("192.0.2.1", 80))
    came = sent(kind, "http://localhost")
    assert str(came) == "plain http is refused: localhost is 192.0.2.1, which is not this machine"


def _resolve(monkeypatch: pytest.MonkeyPatch, *places: tuple[str, int]) -> None:
    """Let ``localhost`` be these, for Python and for uvloop, which looks names up in C."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> object:  # noqa: ANN401
        return found if host == "localhost" else real(host, *arguments, **options)

    async def of_the_loop(_: object, host: str, *__: object, **___: object) -> object:
        return getaddrinfo(host, *__, **___)

    numeric = "AI_NUMERICHOST"
    flag = getattr(socket, numeric)

    def only_names(host: Any, *arguments: Any, flags: int = 0, **options: Any) -> object:  # noqa: ANN401
        if host == "localhost" and flags & flag:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return getaddrinfo(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", only_names)
    monkeypatch.setattr("evertoken_transports._exchanges.racing._resolver_of_asyncio", lambda: None)


# ------------------------------------------------------------------------------- nothing of the callers' is needed


@pytest.mark.parametrize("library", ["h11", "httpx", "httpx2"])
@pytest.mark.parametrize("runtime", ["asyncio", "uvloop", "trio"])
def test_callers_that_hold_every_thread_of_the_loop_s_pool_are_served(runtime: str, library: str) -> None:
    threads = 40 if runtime == "trio" else min(32, (os.cpu_count() or 1) + 4)
    kind = Kind(runtime, library)
    body = b'{"access_token": "%s", "token_type": "Bearer", "expires_in": 3600}' % MARK
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    with serving(answer(head + body)) as server:
        # By a name, so that it has to be looked up; and no attempt is lost before the callers are.
        grant = canary.grant(base_url=f"http://localhost:{server.port}")
        coordinator = coordinator_of(grant, Policy(request_timeout=3 * LIMIT))
        source = source_of(kind, coordinator)
        waiting = source_of(Kind("threads", "h11"), coordinator)
        served: list[object] = []

        waits, claimed = threading.Semaphore(0), threading.Event()

        def wait_here() -> None:
            waits.release()
            assert claimed.wait(LIMIT)
            served.append(waiting.authorization(LIMIT))

        async def lead() -> None:
            """Ask when nothing of the pool is left, so that the loop's carrier is the only one."""
            for _ in range(threads):
                while not waits.acquire(blocking=False):
                    await _turn(runtime)
            assert source.authorization_nowait() is None
            claimed.set()

        async def follow() -> None:
            await (trio.to_thread.run_sync if runtime == "trio" else asyncio.to_thread)(wait_here)

        (came,) = run_in_threads(1, lambda _: run_in(runtime, lambda: both(kind, lead, *[follow] * threads)))()
    assert came is None
    assert len(served) == threads
    assert len(server.heard) == 1


# -------------------------------------------------------------------------------------------------- nothing is left


@pytest.mark.parametrize("library", ["h11", "httpx", "httpx2"])
@pytest.mark.parametrize("runtime", ["asyncio", "uvloop", "trio"])
def test_cancelled_at_any_moment_an_exchange_leaves_no_socket_open(
    runtime: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(answer(GOOD)) as server:
        _resolve(monkeypatch, ("127.0.0.1", server.port), ("127.0.0.1", server.port))
        request = build_request(
            canary.grant(base_url=f"http://localhost:{server.port}"), 1, suspend_aware_clock() + LIMIT
        )
        exchange = exchange_of(Kind(runtime, library))

        async def cancelled(turns: int) -> bool:
            """Whether it was, after so many turns of the loop."""
            if runtime == "trio":
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:

                        async def strike() -> None:
                            for _ in range(turns):
                                await trio.lowlevel.checkpoint()
                            scope.cancel()

                        nursery.start_soon(strike)
                        await exchange(request)
                        nursery.cancel_scope.cancel()
                return scope.cancelled_caught
            task = asyncio.ensure_future(exchange(request))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                return True
            return False

        async def main() -> None:
            for turns in (*range(12), *range(12, 60, 6)):
                await cancelled(turns)
            for _ in range(5):
                await _turn(runtime)

        run_in(runtime, main)
        gc.collect()
        until(lambda: not _open_to(server.port))


async def _turn(runtime: str) -> None:
    if runtime == "trio":
        await trio.sleep(0.01)
    else:
        await asyncio.sleep(0.01)


def _open_to(port: int) -> list[str]:
    """Connections of this process to ``port`` that its side has not closed."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    mine = {str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()}
    remote = f"0100007F:{port:04X}"
    return [line[9] for line in lines if line[2] == remote and f"socket:[{line[9]}]" in mine]
