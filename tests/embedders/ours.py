"""Each library with evertoken, as its adapter or its recipe has it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from http.client import HTTPConnection
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp as aiohttp_library
import grpc
import requests as requests_library
from anyio.from_thread import start_blocking_portal
from azure.core import AsyncPipelineClient, PipelineClient
from azure.core.pipeline.transport import TrioRequestsTransport
from azure.core.rest import HttpRequest
from google.auth.transport.requests import AuthorizedSession
from mangopay.resources import User
from mcp.client import Client
from pyiceberg.catalog.rest import RestCatalog

from evertoken_transports import aiohttp, asyncio, httpx2, requests, threads, trio
from evertoken_transports.adapters import (
    anthropic_sdk,
    azure_core,
    azure_core_aio,
    google_auth,
    grpc_aio_calls,
    grpc_calls,
    kafka,
    mangopay_sdk,
    mcp_client,
    openai_sdk,
)
from tests.embedders import services
from tests.embedders.stories import Call, Embedder
from tests.kits.place import Place

Policy = Any
"""One of azure-core's pipeline: sync ones of all kinds have no type in common."""

__all__ = ("OURS", "PLAIN", "async_azure_client", "azure_client")

Maker = Callable[[Place], Generator[Call]]


def source_of(place: Place) -> threads.TokenSource:
    return threads.TokenSource(place.grant, coordinator=place.coordinator)


def plain(place: Place) -> Generator[Call]:
    """A source and http.client: the fewest token requests that this policy needs."""
    source, host = source_of(place), urlsplit(place.api).netloc

    def send(header: str) -> tuple[int, Mapping[str, str], bytes]:
        connection = HTTPConnection(host, timeout=20)
        connection.request("GET", "/users", headers={"Authorization": header})
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return found

    def call() -> None:
        for is_first in (True, False):
            header = source.authorization()
            answer = send(header)
            if not source.answered(header, "GET", *answer, resendable=is_first):
                break
        assert answer[0] == 200

    yield call


def with_requests(place: Place) -> Generator[Call]:
    with requests_library.Session() as session:
        session.auth = requests.BearerAuth(place.grant, coordinator=place.coordinator)
        yield lambda: session.post(f"{place.api}/users", json={"name": "x"}).raise_for_status()


def with_mangopay(place: Place) -> Generator[Call]:
    auth = requests.BearerAuth(place.emulator.grant(), coordinator=place.coordinator)
    handler = mangopay_sdk.api_request(auth)
    with handler._session:
        yield lambda: User.get("user_m_1", handler=handler)


def auth_of(place: Place) -> httpx2.BearerAuth:
    return httpx2.BearerAuth(place.grant, coordinator=place.coordinator)


def with_openai(place: Place) -> Generator[Call]:
    place.answers.update(services.EVERYTHING)
    with openai_sdk.client(auth_of(place)) as client:
        yield lambda: client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])


def with_anthropic(place: Place) -> Generator[Call]:
    place.answers.update(services.EVERYTHING)
    with anthropic_sdk.client(auth_of(place)) as client:
        yield lambda: client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hello"}])


def with_pyiceberg(place: Place) -> Generator[Call]:
    place.answers.update(services.EVERYTHING)
    manager = "evertoken_transports.adapters.pyiceberg_catalog.SourceAuthManager"
    auth: Any = {"type": "custom", "impl": manager, "custom": {"source": source_of(place)}}
    with RestCatalog("lake", uri=place.api, auth=auth) as catalog:
        yield catalog.list_namespaces


def azure_client(place: Place, policy: Policy) -> PipelineClient[Any, Any]:
    return PipelineClient(place.api, policies=[policy])


def with_azure(place: Place) -> Generator[Call]:
    policy = azure_core.RepeatingPolicy(azure_core.SourceCredential(source_of(place)), "scope")
    with azure_client(place, policy) as client:
        yield lambda: client.send_request(
            HttpRequest("GET", f"{place.api}/users"), enforce_https=False
        ).raise_for_status()


def with_google(place: Place) -> Generator[Call]:
    with AuthorizedSession(google_auth.SourceCredentials(source_of(place))) as session:
        yield lambda: session.get(f"{place.api}/users").raise_for_status()


def with_grpc(place: Place) -> Generator[Call]:
    source = source_of(place)
    with services.grpc_server(place) as target:
        signed = grpc.metadata_call_credentials(grpc_calls.SourcePlugin(source))
        credentials = grpc.composite_channel_credentials(grpc.local_channel_credentials(), signed)
        with grpc.secure_channel(target, credentials) as channel:
            repeating = grpc.intercept_channel(channel, grpc_calls.RepeatingInterceptor(source))
            method = repeating.unary_unary("/users/Get")
            yield lambda: method(b"user_m_1")


def with_kafka(place: Place) -> Generator[Call]:
    """Each call is one of librdkafka's for a token. That it does call is tried apart: a producer takes a second."""
    callback = kafka.oauth_cb(source_of(place))

    def call() -> None:
        value, expires_at = callback("")
        assert place.is_valid(f"Bearer {value}")
        assert expires_at > place.wall.time()

    yield call


@contextmanager
def in_loop(
    opened: Callable[[], AbstractAsyncContextManager[Callable[[], Awaitable[object]]]],
    backend: Literal["asyncio", "trio"] = "asyncio",
) -> Generator[Call]:
    """What ``opened`` gives, called in an event loop of its own."""
    with start_blocking_portal(backend) as portal, portal.wrap_async_context_manager(opened()) as use:
        yield lambda: portal.call(use)


def with_aiohttp(place: Place) -> Generator[Call]:
    @asynccontextmanager
    async def opened() -> AsyncGenerator[Callable[[], Awaitable[object]]]:
        middleware = aiohttp.BearerMiddleware(place.grant, coordinator=place.coordinator)
        async with aiohttp_library.ClientSession(middlewares=(middleware,), raise_for_status=True) as session:

            async def use() -> object:
                async with session.post(f"{place.api}/users", json={"name": "x"}) as response:
                    return await response.json()

            yield use

    with in_loop(opened) as call:
        yield call


def with_openai_async(place: Place) -> Generator[Call]:
    place.answers.update(services.EVERYTHING)

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Callable[[], Awaitable[object]]]:
        async with openai_sdk.async_client(auth_of(place)) as client:
            yield lambda: client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])

    with in_loop(opened) as call:
        yield call


def with_anthropic_async(place: Place) -> Generator[Call]:
    place.answers.update(services.EVERYTHING)

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Callable[[], Awaitable[object]]]:
        async with anthropic_sdk.async_client(auth_of(place)) as client:
            yield lambda: client.messages.create(
                model="m", max_tokens=9, messages=[{"role": "user", "content": "hello"}]
            )

    with in_loop(opened) as call:
        yield call


def with_mcp(place: Place) -> Generator[Call]:
    place.answers.update(services.EVERYTHING)

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Callable[[], Awaitable[object]]]:
        async with Client(mcp_client.streamable_http(f"{place.api}/mcp", auth_of(place))) as client:
            yield lambda: client.list_tools(cache_mode="bypass")

    with in_loop(opened) as call:
        yield call


def async_azure_client(place: Place, policy: Policy, **options: Any) -> AsyncPipelineClient[Any, Any]:  # noqa: ANN401
    return AsyncPipelineClient(place.api, policies=[policy], **options)


def azure_calls(
    place: Place,
    source: asyncio.TokenSource | trio.TokenSource,
    **options: Any,  # noqa: ANN401
) -> Callable[[], AbstractAsyncContextManager[Callable[[], Awaitable[object]]]]:
    @asynccontextmanager
    async def opened() -> AsyncGenerator[Callable[[], Awaitable[object]]]:
        policy = azure_core_aio.RepeatingPolicy(azure_core_aio.SourceCredential(source), "scope")
        async with async_azure_client(place, policy, **options) as client:

            async def use() -> object:
                request = HttpRequest("GET", f"{place.api}/users")
                response = await client.send_request(request, enforce_https=False)
                return response.raise_for_status()

            yield use

    return opened


def with_grpc_aio(place: Place) -> Generator[Call]:
    @asynccontextmanager
    async def opened() -> AsyncGenerator[Callable[[], Awaitable[object]]]:
        source = asyncio.TokenSource(place.grant, coordinator=place.coordinator)
        signing, credentials = grpc_aio_calls.SigningInterceptor(source), grpc.local_channel_credentials()
        async with grpc.aio.secure_channel(target, credentials, interceptors=[signing]) as channel:
            method = channel.unary_unary("/users/Get")

            async def use() -> object:
                return await method(b"user_m_1")

            yield use

    with services.grpc_server(place) as target, in_loop(opened) as call:
        yield call


def with_azure_async(place: Place) -> Generator[Call]:
    source = asyncio.TokenSource(place.grant, coordinator=place.coordinator)
    with in_loop(azure_calls(place, source)) as call:
        yield call


def with_azure_trio(place: Place) -> Generator[Call]:
    source = trio.TokenSource(place.grant, coordinator=place.coordinator)
    with in_loop(azure_calls(place, source, transport=TrioRequestsTransport()), "trio") as call:
        yield call


OURS: Mapping[str, Embedder] = MappingProxyType(
    {
        name: contextmanager(maker)
        for name, maker in {
            "requests": with_requests,
            "aiohttp": with_aiohttp,
            "mangopay4-python-sdk": with_mangopay,
            "openai": with_openai,
            "openai, async": with_openai_async,
            "anthropic": with_anthropic,
            "anthropic, async": with_anthropic_async,
            "mcp": with_mcp,
            "pyiceberg": with_pyiceberg,
            "azure-core": with_azure,
            "azure-core, async": with_azure_async,
            "azure-core, trio": with_azure_trio,
            "google-auth": with_google,
            "grpcio": with_grpc,
            "grpcio, aio": with_grpc_aio,
            "confluent-kafka": with_kafka,
        }.items()
    }
)

PLAIN: Embedder = contextmanager(plain)
