"""BearerAuth with an exchange for the event loop: it waits in the loop's own time, virtual or not, and in no thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from importlib import import_module

import pytest
import trio
import trio.testing

from evertoken import HttpResponse, LocalProtocolError, TokenRequest
from evertoken.testing import TokenBehaviour
from evertoken_transports.testing import LoopClock, MangopayServer, VirtualClock, VirtualEventLoop
from tests.kits.httpx_kits import LIBRARIES, Theirs

LOOPS = ("asyncio", "trio")
EVERY_LIBRARY = pytest.mark.parametrize("library", LIBRARIES)
EVERY_LOOP = pytest.mark.parametrize("loop", LOOPS)

Work = Callable[[], Coroutine[None, None, None]]

AnyServer = MangopayServer[LoopClock] | MangopayServer[VirtualClock]


def run_in_virtual_time(loop: str, work: Work) -> None:
    """``work`` in an event loop whose time is virtual."""
    if loop == "trio":
        trio.run(work, clock=trio.testing.MockClock(autojump_threshold=0))
        return
    with asyncio.Runner(loop_factory=VirtualEventLoop) as runner:
        runner.run(work())


def bearer(library: str, server: AnyServer, **options: Theirs) -> Theirs:
    return import_module(f"evertoken_transports.{library}").BearerAuth(server.grant(), **options)


def client(library: str, kind: str, server: AnyServer, auth: Theirs) -> Theirs:
    transport = server.httpx_transport() if library == "httpx" else server.httpx2_transport()
    return getattr(import_module(library), kind)(auth=auth, base_url=auth.api_base, transport=transport)


@pytest.fixture
def no_new_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def start(thread: threading.Thread) -> None:
        raise AssertionError(f"{thread.name} was started")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        yield


@EVERY_LIBRARY
@EVERY_LOOP
@pytest.mark.usefixtures("no_new_thread")
def test_calls_of_two_hours_pass_in_the_time_of_the_loop(library: str, loop: str) -> None:
    async def call_every_minute() -> None:
        with MangopayServer(clock=LoopClock()) as server:
            auth = bearer(library, server, async_exchange=server.async_exchange)
            async with client(library, "AsyncClient", server, auth) as calls:
                for _ in range(2 * 60):
                    assert (await calls.get("/users")).status_code == 200
                    await server.asleep(60)
            assert 6 <= server.token_requests <= 8
            assert server.clock() >= 1_000 + 2 * 3_600

    run_in_virtual_time(loop, call_every_minute)


@EVERY_LIBRARY
@EVERY_LOOP
@pytest.mark.usefixtures("no_new_thread")
def test_a_slow_endpoint_and_a_revoked_token_cost_the_time_of_the_loop(library: str, loop: str) -> None:
    async def call_twice() -> None:
        with MangopayServer(clock=LoopClock()) as server:
            auth = bearer(library, server, async_exchange=server.async_exchange)
            async with client(library, "AsyncClient", server, auth) as calls:
                await calls.get("/users")
                await server.asleep(100)
                server.revoke_all()
                server.next_token_requests(TokenBehaviour(latency_after=7.0))
                assert (await calls.get("/users")).status_code == 200
            assert server.clock() == 1_107.0
            assert server.token_requests == 2

    run_in_virtual_time(loop, call_twice)


async def call_once(library: str, server: AnyServer, auth: Theirs) -> None:
    async with client(library, "AsyncClient", server, auth) as calls:
        await calls.get("/users")


@EVERY_LIBRARY
def test_a_client_of_threads_is_refused_with_an_async_exchange_alone_whether_there_is_a_token_or_not(
    library: str,
) -> None:
    with MangopayServer() as server:
        auth = bearer(library, server, async_exchange=server.async_exchange)
        for api_calls in (0, 1):
            with (
                client(library, "Client", server, auth) as calls,
                pytest.raises(LocalProtocolError, match=r"async_exchange alone.*AsyncClient.*exchange as well"),
            ):
                calls.get("/users")
            assert (server.token_requests, server.api_calls) == (api_calls, api_calls)
            asyncio.run(call_once(library, server, auth))


@EVERY_LIBRARY
@pytest.mark.usefixtures("no_new_thread")
def test_the_source_of_an_async_exchange_alone_looks_and_never_sends(library: str) -> None:
    with MangopayServer() as server:
        auth = bearer(library, server, async_exchange=server.async_exchange)
        assert auth.source.authorization_nowait() is None
        asyncio.run(call_once(library, server, auth))
        server.advance(1_180)
        assert server.is_valid(auth.source.authorization_nowait())
        for ask in (auth.source.authorization, auth.source.warm_up):
            with pytest.raises(LocalProtocolError, match="async_exchange alone"):
                ask()
        assert server.token_requests == 1


@EVERY_LIBRARY
@EVERY_LOOP
def test_with_both_each_kind_of_client_has_its_own(library: str, loop: str) -> None:
    with MangopayServer() as server:
        carried: list[str] = []

        def exchange(request: TokenRequest) -> HttpResponse:
            carried.append("exchange")
            return server.exchange(request)

        async def async_exchange(request: TokenRequest) -> HttpResponse:
            carried.append("async_exchange")
            return await server.async_exchange(request)

        auth = bearer(library, server, exchange=exchange, async_exchange=async_exchange)

        with client(library, "Client", server, auth) as calls:
            calls.get("/users")
        server.advance(3_600)
        if loop == "trio":
            trio.run(call_once, library, server, auth)
        else:
            asyncio.run(call_once(library, server, auth))
        assert carried == ["exchange", "async_exchange"]
