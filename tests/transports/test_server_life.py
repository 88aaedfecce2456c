"""The fake Mangopay from entering to leaving: alone or beside others, and what becomes of what was made with it."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import httpx
import pytest
import trio

from evertoken import HttpResponse, LocalProtocolError, Policy, TokenRequest, TokenUnavailable, mangopay
from evertoken.testing import ApiBehaviour, ApiFault, Script, TokenBehaviour, TokenFault, WorldFault
from evertoken_transports import Coordinator
from evertoken_transports._exchanges.on_asyncio import AsyncioExchange
from evertoken_transports._exchanges.on_trio import TrioExchange
from evertoken_transports.asyncio import TokenSource as AsyncioSource
from evertoken_transports.emulator import Emulator
from evertoken_transports.h11 import H11Exchange
from evertoken_transports.httpx import AsyncHttpxExchange, BearerAuth, HttpxExchange
from evertoken_transports.httpx2 import AsyncHttpxExchange as AsyncHttpx2Exchange
from evertoken_transports.httpx2 import HttpxExchange as Httpx2Exchange
from evertoken_transports.testing import LoopClock, MangopayServer, VirtualClock, VirtualEventLoop
from evertoken_transports.threads import TokenSource
from evertoken_transports.trio import TokenSource as TrioSource
from tests.kits.worlds import LIMIT

OVER = "belongs to a test that is over"


def run_on_trio(work: Coroutine[Any, Any, None]) -> None:
    """As ``asyncio.run`` has it."""

    async def main() -> None:
        await work

    trio.run(main)


# Arguments
# ---------

WRONG_FOR_TOKENS = [
    (ApiFault.HANG, r"ApiFault\.HANG .* next_api_calls"),
    (ApiBehaviour(), r"next_api_calls"),
    ("hang", r"next_token_requests\(\) takes a TokenFault, .*LOST_BEFORE.* not 'hang'"),
    (None, "not None"),
    (TokenFault, "not <enum 'TokenFault'>"),
    (WorldFault.PARTITION, r"part\(seconds\)"),
]
WRONG_FOR_CALLS = [
    (TokenFault.HANG, r"TokenFault\.HANG .* next_token_requests"),
    (TokenBehaviour(), "next_token_requests"),
    ("hang", r"next_api_calls\(\) takes an ApiFault, .*LOST_BEFORE.* not 'hang'"),
    (WorldFault.CRASH, "does not strike one request"),
    (WorldFault.PARTITION, r"part\(seconds\)"),
]


@pytest.mark.parametrize(("trouble", "words"), WRONG_FOR_TOKENS, ids=str)
def test_trouble_that_no_token_request_can_have_is_refused(trouble: Any, words: str) -> None:  # noqa: ANN401
    server = MangopayServer()
    with pytest.raises(ValueError, match=words):
        server.next_token_requests(TokenFault.HANG, trouble)
    assert not server.pending_troubles, "none of them was taken"


@pytest.mark.parametrize(("trouble", "words"), WRONG_FOR_CALLS, ids=str)
def test_trouble_that_no_call_can_have_is_refused(trouble: Any, words: str) -> None:  # noqa: ANN401
    server = MangopayServer()
    with pytest.raises(ValueError, match=words):
        server.next_api_calls(ApiFault.HANG, trouble)
    assert not server.pending_troubles


@pytest.mark.parametrize("seconds", [-1, float("nan"), True, "1", None])
def test_a_partition_of_no_length_is_refused(seconds: Any) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match="seconds must be a number that is not negative"):
        MangopayServer().part(seconds)


def test_a_partition_may_last_until_further_notice() -> None:
    with MangopayServer() as server:
        server.part(float("inf"))
        source = server.token_source()
        with pytest.raises(TokenUnavailable):
            source.authorization(timeout=1)
        server.part(0)
        assert server.is_valid(source.authorization(timeout=60))


@pytest.mark.parametrize(
    "wrong", [{"script": {}}, {"clock": time.monotonic}, {"lateness": -1.0}, {"lateness": float("nan")}], ids=str
)
def test_a_server_of_wrong_parts_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))} must be"):
        MangopayServer(**wrong)


def test_what_has_not_struck_is_pending_until_it_strikes_or_is_taken_back() -> None:
    with MangopayServer() as server:
        server.next_token_requests(TokenFault.NONE, WorldFault.LATE)
        server.next_api_calls(ApiFault.HANG)
        server.token_source().authorization()
        assert server.pending_troubles == (WorldFault.LATE, ApiFault.HANG)
        server.drop_pending_troubles()
        assert not server.pending_troubles


# Before, beside, after
# ---------------------

USES: dict[str, Callable[[MangopayServer], object]] = {
    "base_url": lambda server: server.base_url,
    "grant": lambda server: server.grant(),
    "exchange": lambda server: server.exchange,
    "async_exchange": lambda server: server.async_exchange,
    "coordinator": lambda server: server.coordinator(),
    "token_source": lambda server: server.token_source(),
    "async_token_source": lambda server: server.async_token_source(),
    "httpx_transport": lambda server: server.httpx_transport(),
    "httpx2_transport": lambda server: server.httpx2_transport(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_server_is_used_between_entering_and_leaving(use: Callable[[MangopayServer], object]) -> None:
    server = MangopayServer()
    with pytest.raises(RuntimeError, match="is not entered"):
        use(server)
    with server:
        use(server)
        with pytest.raises(RuntimeError, match="entered already"):
            server.__enter__()
    with pytest.raises(RuntimeError, match=OVER):
        use(server)
    with pytest.raises(RuntimeError, match=OVER):
        server.__enter__()


def test_two_servers_have_a_host_and_a_time_each() -> None:
    with MangopayServer() as first, MangopayServer() as second:
        one = first.token_source()
        other = TokenSource(second.grant(), exchange=second.exchange)
        assert first.base_url != second.base_url
        for server, source in ((first, one), (second, other), (first, one)):
            assert server.is_valid(source.authorization())
        first.advance(5_000)
        assert first.is_valid(one.authorization())
        assert (first.token_requests, second.token_requests) == (2, 1)
        assert second.clock() == 1_000.0


def test_the_first_server_has_the_same_host_in_each_test() -> None:
    for _ in range(2):
        with MangopayServer() as server:
            assert server.base_url == "https://mangopay.test"


def test_servers_may_be_left_in_any_order() -> None:
    before = vars(Coordinator)["shared"]
    first, second = MangopayServer(), MangopayServer()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert second.is_valid(TokenSource(second.grant(), exchange=second.exchange).authorization())
    with MangopayServer() as third:
        assert third.base_url != second.base_url
    second.__exit__(None, None, None)
    assert vars(Coordinator)["shared"] is before


def test_a_grant_for_neither_of_two_servers_has_no_time() -> None:
    elsewhere = mangopay.sandbox(client_id="test-client", api_key="test-api-key")
    with MangopayServer() as first:
        with MangopayServer(), pytest.raises(RuntimeError, match="2 MangopayServers with clocks of their own"):
            TokenSource(elsewhere, exchange=first.exchange)
        with MangopayServer(clock=first.clock) as second:
            assert second.is_valid(TokenSource(elsewhere, exchange=second.exchange).authorization())


def test_the_exchange_of_another_server_is_refused() -> None:
    with (
        MangopayServer() as first,
        MangopayServer() as second,
        pytest.raises(ValueError, match="another MangopayServer"),
    ):
        TokenSource(first.grant(), exchange=second.exchange)


def test_a_source_that_outlives_its_test_says_so() -> None:
    with MangopayServer() as server:
        source = TokenSource(server.grant(), exchange=server.exchange)
        source.authorization()
        coordinator = server.coordinator()
    for use in (source.authorization, source.authorization_nowait):
        with pytest.raises(LocalProtocolError, match=OVER):
            use()
    with pytest.raises(RuntimeError, match=OVER):
        TokenSource(source.coordinator.machine.grant, coordinator=coordinator)


def test_an_exchange_that_outlives_its_test_says_so() -> None:
    with MangopayServer() as server:
        exchange, async_exchange = server.exchange, server.async_exchange
        request = TokenRequest(1, "POST", server.grant().endpoint.url, (), b"", 2_000.0)
    with pytest.raises(RuntimeError, match=OVER):
        exchange(request)
    with pytest.raises(RuntimeError, match=OVER):
        asyncio.run(async_exchange(request))


def test_a_client_that_outlives_its_test_says_so() -> None:
    with MangopayServer() as server:
        auth = BearerAuth(server.grant(), exchange=server.exchange)
        client = httpx.Client(auth=auth, base_url=auth.api_base, transport=server.httpx_transport())
        bare = httpx.Client(base_url=auth.api_base, transport=server.httpx_transport())
        acting = httpx.AsyncClient(auth=auth, base_url=auth.api_base, transport=server.httpx_transport())
        assert client.get("/users").status_code == 200
    for over in (client, bare):
        with pytest.raises(RuntimeError, match=OVER):
            over.get("/users")
        over.close()

    async def acall() -> None:
        async with acting:
            await acting.get("/users")

    with pytest.raises(RuntimeError, match=OVER):
        asyncio.run(acall())
    assert server.api_calls == 1


def test_a_caller_who_still_waits_when_the_test_is_over_is_told() -> None:
    told: list[BaseException] = []

    def ask(source: TokenSource) -> None:
        try:
            source.authorization()
        except LocalProtocolError as error:
            told.append(error)

    with MangopayServer() as server:
        server.clock.autojump = False
        server.next_token_requests(TokenFault.HANG)
        caller = threading.Thread(target=ask, args=[server.token_source()])
        with server.clock.gathering(1):
            caller.start()
    caller.join(LIMIT)
    assert OVER in str(told[0])


def test_what_keeps_a_token_warm_in_threads_ends_with_the_server() -> None:
    with MangopayServer() as server:
        source = TokenSource(server.grant(), exchange=server.exchange, keep_warm=True)
        source.warm_up()
        warmers = [thread for thread in threading.enumerate() if thread.name == "evertoken-keep-warm"]
        assert warmers
    for warmer in warmers:
        warmer.join(LIMIT)
        assert not warmer.is_alive()
    assert source.closed


def test_what_keeps_a_token_warm_in_a_loop_ends_with_the_server() -> None:
    async def live() -> None:
        before = asyncio.all_tasks()
        sources: list[object] = []
        for _ in range(3):
            with MangopayServer() as server:
                source = server.async_token_source(keep_warm=True)
                sources.append(source)
                await source.warm_up()
        left = asyncio.all_tasks() - before
        assert left
        await asyncio.wait(left, timeout=LIMIT)
        assert asyncio.all_tasks() == before

    asyncio.run(live())


def test_what_keeps_a_token_warm_on_trio_ends_with_the_server() -> None:
    async def live() -> None:
        before = trio.lowlevel.current_statistics().tasks_living
        with MangopayServer() as server:
            source = server.async_token_source(keep_warm=True)
            await source.warm_up()
            assert trio.lowlevel.current_statistics().tasks_living > before
        with trio.fail_after(LIMIT):
            while trio.lowlevel.current_statistics().tasks_living > before:
                await trio.lowlevel.checkpoint()

    trio.run(live)


def test_a_request_under_way_ends_with_the_server() -> None:
    with MangopayServer() as server:
        server.next_token_requests(TokenFault.HANG)
        with pytest.raises(TokenUnavailable):
            server.token_source().authorization(timeout=1)
        carriers = [thread for thread in threading.enumerate() if thread.name == "evertoken-request"]
        assert carriers
    for carrier in carriers:
        carrier.join(LIMIT)
        assert not carrier.is_alive()


@pytest.mark.parametrize("run", [asyncio.run, run_on_trio], ids=["asyncio", "trio"])
def test_a_request_under_way_in_a_loop_ends_with_the_server(run: Callable[[Any], None]) -> None:
    async def live() -> None:
        with MangopayServer() as server:
            server.next_token_requests(TokenFault.HANG)
            source = server.async_token_source()
            with pytest.raises(TokenUnavailable):
                await source.authorization(timeout=1)
            assert repr(server.clock).endswith("1 token requests under way>")
        await server.asettle()
        assert repr(server.clock).endswith("0 token requests under way>")

    run(live())


def test_a_source_that_nobody_holds_any_more_does_not_hold_up_the_time() -> None:
    with MangopayServer() as server:
        TokenSource(server.grant(), exchange=server.exchange, keep_warm=True).warm_up()
        server.sleep(5_000)
        assert server.clock() == 6_000.0


# The fence
# ---------


def own_grant() -> Any:  # noqa: ANN401
    """As an application makes it, for a host that exists."""
    return mangopay.sandbox(client_id="test-client", api_key="test-api-key")


def test_code_that_knows_nothing_of_the_server_is_served_in_threads() -> None:
    with MangopayServer() as server:
        assert server.is_valid(TokenSource(own_grant()).authorization())
        auth = BearerAuth(own_grant())
        with httpx.Client(auth=auth, base_url=auth.api_base, transport=server.httpx_transport()) as client:
            assert client.get("/users").status_code == 200
        assert server.is_valid(TokenSource(own_grant(), exchange=H11Exchange(trust_env=False)).authorization())
        assert server.token_requests == 1


@pytest.mark.parametrize("runtime", ["asyncio", "trio"])
def test_code_that_knows_nothing_of_the_server_is_served_in_tasks(runtime: str) -> None:
    async def live() -> None:
        with MangopayServer() as server:
            source = (AsyncioSource if runtime == "asyncio" else TrioSource)(own_grant())
            assert server.is_valid(await source.authorization())
            server.advance(5_000)
            auth = BearerAuth(own_grant())
            transport = server.httpx_transport()
            async with httpx.AsyncClient(auth=auth, base_url=auth.api_base, transport=transport) as client:
                assert (await client.get("/users")).status_code == 200
            assert server.token_requests == 2

    if runtime == "asyncio":
        asyncio.run(live())
    else:
        trio.run(live)


def test_an_async_client_lives_in_the_virtual_time_of_its_loop() -> None:
    async def live() -> None:
        with MangopayServer(clock=LoopClock()) as server:
            auth = BearerAuth(server.grant())
            transport = server.httpx_transport()
            async with httpx.AsyncClient(auth=auth, base_url=auth.api_base, transport=transport) as client:
                for _ in range(60):
                    assert (await client.get("/users")).status_code == 200
                    await asyncio.sleep(60)
            assert server.token_requests in (3, 4)
            in_threads: Any = server.coordinator()._stand_in(H11Exchange())
            with pytest.raises(RuntimeError, match="use async_exchange"):
                in_threads(TokenRequest(1, "POST", server.grant().endpoint.url, (), b"", 2_000.0))

    with asyncio.Runner(loop_factory=VirtualEventLoop) as runner:
        runner.run(live())


def test_an_exchange_of_ones_own_is_let_through() -> None:
    seen: list[str] = []

    def own(request: TokenRequest) -> HttpResponse:
        seen.append(request.url)
        return HttpResponse(200, (), b'{"access_token": "own", "token_type": "bearer", "expires_in": 60}')

    with MangopayServer() as server:
        assert TokenSource(own_grant(), exchange=own).authorization() == "Bearer own"
        assert seen
        assert server.token_requests == 0


def test_what_was_made_before_the_server_does_not_ask_the_real_endpoint() -> None:
    """An application keeps such objects in its modules, with whatever keys the environment has."""

    def use_in_threads(auth: BearerAuth, url: str) -> None:
        with httpx.Client(auth=auth, base_url=url, transport=unreachable) as client:
            client.get("/users")

    async def use_in_tasks(auth: BearerAuth, url: str) -> None:
        async with httpx.AsyncClient(auth=auth, base_url=url, transport=unreachable) as client:
            await client.get("/users")

    unreachable = httpx.MockTransport(lambda _: httpx.Response(200))
    with Emulator() as real:
        grant = real.grant()
        source, asyncio_source, trio_source = TokenSource(grant), AsyncioSource(grant), TrioSource(grant)
        auth = BearerAuth(grant)
        attempts: list[Callable[[], object]] = [
            source.authorization,
            source.authorization_nowait,
            lambda: asyncio.run(asyncio_source.authorization()),
            lambda: trio.run(trio_source.authorization),
            lambda: use_in_threads(auth, auth.api_base),
            lambda: asyncio.run(use_in_tasks(auth, auth.api_base)),
            lambda: trio.run(use_in_tasks, auth, auth.api_base),
        ]
        with MangopayServer() as server:
            for attempt in attempts:
                with pytest.raises(RuntimeError, match="made before the server was entered"):
                    attempt()
            assert server.token_requests == 0
        assert not real.arrivals
        source.authorization()
        assert len(real.arrivals) == 1


def test_an_exchange_itself_does_not_go_out_while_a_server_is_entered() -> None:
    request = TokenRequest(1, "POST", own_grant().endpoint.url, (), b"", math.inf)
    in_threads: list[Callable[[TokenRequest], HttpResponse]] = [H11Exchange(), HttpxExchange(), Httpx2Exchange()]
    in_tasks: list[Callable[[TokenRequest], Awaitable[HttpResponse]]] = [
        AsyncioExchange(),
        AsyncHttpxExchange(),
        AsyncHttpx2Exchange(),
    ]

    async def send(exchange: Callable[[TokenRequest], Awaitable[HttpResponse]]) -> None:
        await exchange(request)

    with MangopayServer():
        for exchange in in_threads:
            with pytest.raises(RuntimeError, match="fake server is entered"):
                exchange(request)
        for task in in_tasks:
            with pytest.raises(RuntimeError, match="fake server is entered"):
                asyncio.run(send(task))
        with pytest.raises(RuntimeError, match="fake server is entered"):
            trio.run(send, TrioExchange())


def test_without_the_fence_an_exchange_is_what_it_was() -> None:
    exchange = H11Exchange()
    with MangopayServer(fence=False) as server:
        assert server.coordinator()._stand_in(exchange) is exchange
    with MangopayServer() as server:
        assert server.coordinator()._stand_in(exchange) is not exchange
    assert Coordinator.shared(own_grant(), Policy())._stand_in(exchange) is exchange


# Helpers
# -------


def test_one_token_is_revoked() -> None:
    with MangopayServer(Script(lifetime=60)) as server:
        first = server.token_source().authorization()
        server.advance(58)
        second = server.token_source().authorization()
        assert server.revoke(first)
        assert not server.is_valid(first)
        assert server.is_valid(second)
        assert not server.revoke(first)


def test_an_exchange_shows_whose_it_is_and_what_goes_on() -> None:
    with MangopayServer(clock=VirtualClock(autojump=False)) as server:
        assert "0 token requests, 0 API calls" in repr(server.exchange)
        assert "autojump off" in repr(server.exchange)
        assert "autojump off" in repr(server.async_exchange)


HIDDEN = """
import sys
sys.modules[{library!r}] = None
from evertoken_transports.testing import MangopayServer
with MangopayServer() as server:
    {use}
"""


@pytest.mark.parametrize(
    ("library", "use"),
    [("httpx", "server.httpx_transport()"), ("httpx2", "server.httpx2_transport()"), ("h11", "pass")],
)
def test_a_library_that_is_missing_is_named_and_how_to_install_it(library: str, use: str) -> None:
    script = HIDDEN.format(library=library, use=use)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].endswith(f": pip install {library}")
