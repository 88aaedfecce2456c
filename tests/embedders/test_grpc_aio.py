"""Channels of grpc.aio, signed by the plugin over TLS and by the interceptor without."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

import grpc
import pytest
import trustme
from grpc.aio import AioRpcError as RpcError

from evertoken import EndpointLocked, HttpResponse, Policy, TokenMachine, TokenRequest
from evertoken.testing import Script, TokenBehaviour, TokenFault
from evertoken_transports import Coordinator, threads
from evertoken_transports import asyncio as ours
from evertoken_transports.adapters import grpc_aio_calls, grpc_calls
from evertoken_transports.h11 import H11Exchange
from tests.kits.place import Place, opened
from tests.kits.worlds import LIMIT

Channel = Any
"""Of grpc.aio, which has no types."""

AUTHORITY = trustme.CA(key_type=trustme.KeyType.ECDSA)
CERTIFICATE = AUTHORITY.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)


@pytest.fixture
def place() -> Iterator[Place]:
    with opened(Script(lifetime=1_200), Policy()) as place:
        yield place


@asynccontextmanager
async def served(place: Place, *, tls: bool) -> AsyncGenerator[tuple[str, list[str]]]:
    """The address of a server that echoes, one message or all of a stream, and the status of each call that it got."""
    statuses = list[str]()

    async def check(context: Any) -> None:  # noqa: ANN401
        valid = [place.is_valid(value) for name, value in context.invocation_metadata() if name == "authorization"]
        statuses.append("OK" if valid == [True] else "UNAUTHENTICATED")
        if valid != [True]:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "bad token")

    async def one(request: bytes, context: Any) -> bytes:  # noqa: ANN401
        await check(context)
        return request

    async def many(requests: Any, context: Any) -> AsyncGenerator[bytes]:  # noqa: ANN401
        await check(context)
        async for request in requests:
            yield request

    class Handler(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:  # noqa: ANN401
            if handler_call_details.method == "/users/Get":
                return grpc.unary_unary_rpc_method_handler(one)
            return grpc.stream_stream_rpc_method_handler(many)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    if tls:
        key, chain = CERTIFICATE.private_key_pem.bytes(), b"".join(pem.bytes() for pem in CERTIFICATE.cert_chain_pems)
        port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([(key, chain)]))
    else:
        port = server.add_insecure_port("localhost:0")
    await server.start()
    try:
        yield f"localhost:{port}", statuses
    finally:
        await server.stop(None)


def over_tls(target: str, source: threads.TokenSource) -> Channel:
    signed = grpc.metadata_call_credentials(grpc_calls.SourcePlugin(source))
    trusted = grpc.ssl_channel_credentials(AUTHORITY.cert_pem.bytes())
    return grpc.aio.secure_channel(target, grpc.composite_channel_credentials(trusted, signed))


def in_clear(target: str, source: ours.TokenSource) -> Channel:
    return grpc.aio.insecure_channel(target, interceptors=[grpc_aio_calls.SigningInterceptor(source)])


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(LIMIT):
            await main()

    asyncio.run(limited())


class Held(H11Exchange):
    """Begins no token request before it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let = threading.Event(), threading.Event()

    def __call__(self, request: TokenRequest) -> HttpResponse:
        self.asked.set()
        assert self.let.wait(LIMIT)
        return super().__call__(request)


def test_the_plugin_signs_calls_and_streams_of_grpc_aio_over_tls_without_blocking_the_loop(place: Place) -> None:
    exchange = Held()
    coordinator = Coordinator(TokenMachine(place.grant, draw=lambda: 0.5))  # By the real clock, as the exchange is.
    source = threads.TokenSource(place.grant, coordinator=coordinator, exchange=exchange)

    async def main() -> None:
        async def messages() -> AsyncGenerator[bytes]:
            yield b"a"
            yield b"b"

        async with served(place, tls=True) as (target, statuses), over_tls(target, source) as channel:
            one = channel.unary_unary("/users/Get")
            calls = [one(b"user_m_1", timeout=LIMIT) for _ in range(5)]
            # The loop goes round meanwhile: were it blocked, nobody would let the request begin.
            assert await asyncio.to_thread(exchange.asked.wait, LIMIT)
            exchange.let.set()
            assert [await call for call in calls] == [b"user_m_1"] * 5
            assert [each async for each in channel.stream_stream("/users/All")(messages())] == [b"a", b"b"]
            assert statuses == ["OK"] * 6

    run(main)
    assert place.token_requests == 1


def test_a_call_of_grpc_aio_without_a_token_fails_at_once_with_our_words(place: Place) -> None:
    with place.emulator.server() as server:
        server.next_token_requests(TokenBehaviour(fault=TokenFault.LOCKED))
    source = threads.TokenSource(place.grant, coordinator=place.coordinator)

    async def main() -> None:
        async with served(place, tls=True) as (target, statuses), over_tls(target, source) as channel:
            with pytest.raises(RpcError, match="the account or this address is locked out"):
                await channel.unary_unary("/users/Get")(b"user_m_1", timeout=LIMIT)
            assert not statuses

    run(main)


def source_of(place: Place) -> ours.TokenSource:
    return ours.TokenSource(place.grant, coordinator=place.coordinator)


def test_the_interceptor_signs_calls_on_a_channel_in_clear_and_repeats_one_whose_token_was_revoked(
    place: Place,
) -> None:
    async def main() -> None:
        async with served(place, tls=False) as (target, statuses), in_clear(target, source_of(place)) as channel:
            one, theirs = channel.unary_unary("/users/Get"), (("authorization", "Bearer theirs"), ("x-id", "7"))
            assert await one(b"user_m_1", metadata=theirs) == b"user_m_1"
            place.emulator.revoke_all()
            assert await one(b"user_m_2") == b"user_m_2"
            assert statuses == ["OK", "UNAUTHENTICATED", "OK"]

    run(main)
    assert place.token_requests == 2


def test_a_call_that_is_refused_again_is_the_callers(place: Place) -> None:
    async def main() -> None:
        async with served(place, tls=False) as (target, statuses), in_clear(target, source_of(place)) as channel:
            with mock.patch.object(place, "is_valid", return_value=False), pytest.raises(RpcError, match="bad token"):
                await channel.unary_unary("/users/Get")(b"user_m_1")
            assert statuses == ["UNAUTHENTICATED"] * 2

    run(main)


def test_where_there_is_no_other_token_the_refusal_is_the_callers(place: Place) -> None:
    async def main() -> None:
        source = source_of(place)
        async with served(place, tls=False) as (target, statuses), in_clear(target, source) as channel:
            await source.warm_up()
            place.emulator.revoke_all()
            with place.emulator.server() as server:
                server.next_token_requests(TokenBehaviour(fault=TokenFault.LOCKED))
            with pytest.raises(RpcError, match="bad token"):
                await channel.unary_unary("/users/Get")(b"user_m_1")
            assert statuses == ["UNAUTHENTICATED"]

    run(main)


def test_without_a_token_an_intercepted_call_raises_our_error_and_nothing_is_sent(place: Place) -> None:
    with place.emulator.server() as server:
        server.next_token_requests(TokenBehaviour(fault=TokenFault.LOCKED))

    async def main() -> None:
        async with served(place, tls=False) as (target, statuses), in_clear(target, source_of(place)) as channel:
            with pytest.raises(EndpointLocked):
                await channel.unary_unary("/users/Get")(b"user_m_1")
            assert not statuses

    run(main)
