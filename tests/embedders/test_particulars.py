"""What the libraries themselves ask of an adapter."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from anthropic import APIConnectionError
from azure.core.credentials import SupportsTokenInfo, TokenCredential
from mangopay.api import APIRequest
from mangopay.resources import User
from mcp.client import Client
from openai import AuthenticationError

from evertoken import EndpointLocked, Policy, RateLimited
from evertoken.testing import Script, TokenBehaviour, TokenFault
from evertoken_transports import httpx2, requests, threads
from evertoken_transports.adapters import (
    anthropic_sdk,
    azure_core,
    grpc_calls,
    kafka,
    mangopay_sdk,
    mcp_client,
    openai_sdk,
)
from tests.embedders import services
from tests.kits.place import CLIENT, KEY, Place, opened
from tests.kits.worlds import LIMIT


@pytest.fixture
def place() -> Iterator[Place]:
    with opened(Script(lifetime=1_200), Policy()) as place:
        place.answers.update(services.EVERYTHING)
        yield place


def source_of(place: Place) -> threads.TokenSource:
    return threads.TokenSource(place.grant, coordinator=place.coordinator)


def test_producers_of_kafka_call_for_a_token_and_make_one_request(place: Place) -> None:
    start = services.producers(kafka.oauth_cb(source_of(place)))
    for _ in range(2):
        start()
    assert place.token_requests == 1


def test_the_plugin_of_grpc_returns_before_there_is_a_token_and_signs_when_there_is(place: Place) -> None:
    with place.emulator.server() as server:
        server.next_token_requests(TokenBehaviour(latency_after=0.2))
    found: list[tuple[Any, Any]] = []
    signed = threading.Event()

    def callback(metadata: object, error: object) -> None:
        found.append((metadata, error))
        signed.set()

    plugin: Any = grpc_calls.SourcePlugin(source_of(place))
    plugin(grpc.AuthMetadataContext(), callback)
    assert not found
    assert signed.wait(LIMIT)
    [(((name, value),), error)] = found
    assert (name, error) == ("authorization", None)
    assert place.is_valid(value)


def test_a_call_of_grpc_without_a_token_fails_at_once_with_our_words(place: Place) -> None:
    with place.emulator.server() as server:
        server.next_token_requests(TokenBehaviour(fault=TokenFault.LOCKED))
    with services.grpc_server(place) as target:
        signed = grpc.metadata_call_credentials(grpc_calls.SourcePlugin(source_of(place)))
        credentials = grpc.composite_channel_credentials(grpc.local_channel_credentials(), signed)
        with grpc.secure_channel(target, credentials) as channel, pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/users/Get")(b"user_m_1", timeout=LIMIT)
    assert "the account or this address is locked out" in str(caught.value)


def test_calls_of_an_mcp_client_at_the_same_time_do_not_wait_for_each_other(place: Place) -> None:
    together = threading.Barrier(5)

    def answer(body: bytes) -> tuple[int, bytes]:
        if b'"tools/list"' in body:
            together.wait(LIMIT)  # Only all of them at once come past this.
        return services.tools(body)

    place.answers["POST", "/mcp"] = answer

    async def main() -> None:
        auth = httpx2.BearerAuth(place.grant, coordinator=place.coordinator)
        async with Client(mcp_client.streamable_http(f"{place.api}/mcp", auth)) as client:
            await asyncio.gather(*(client.list_tools(cache_mode="bypass") for _ in range(5)))

    asyncio.run(main())
    assert place.token_requests == 1


def test_a_credential_is_what_azure_core_takes_for_one_and_is_asked_each_time(place: Place) -> None:
    credential = azure_core.SourceCredential(source_of(place))
    assert isinstance(credential, TokenCredential)
    assert isinstance(credential, SupportsTokenInfo)
    token, info = credential.get_token("scope"), credential.get_token_info("scope")
    assert token.token == info.token
    assert token.expires_on == info.expires_on == int(place.wall.time() + 1_200)
    assert info.refresh_on is not None
    assert info.refresh_on < time.time()


def test_the_storage_of_mangopays_sdk_serves_where_nothing_else_can_be_given(place: Place) -> None:
    storage = mangopay_sdk.TokenStorage(source_of(place))
    url = f"{place.emulator.base_url}/v2.01/"
    handlers = [APIRequest(CLIENT, KEY, api_sandbox_url=url, sandbox=True, storage_strategy=storage) for _ in range(3)]
    for handler in handlers:
        assert User.get("user_m_1", handler=handler)
        handler._session.close()
    assert place.token_requests == 1


def test_the_sdk_of_mangopay_is_given_no_secret_and_no_token(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    auth = requests.BearerAuth(place.emulator.grant(), coordinator=place.coordinator)
    handler = mangopay_sdk.api_request(auth, timeout=3.0)
    assert KEY not in repr(vars(handler))
    assert handler.timeout == 3.0
    with caplog.at_level("DEBUG", "mangopay"):  # It logs the headers that it means to send.
        assert User.get("user_m_1", handler=handler)
    assert "kept by evertoken" in caplog.text
    assert auth.source.token().value not in caplog.text
    handler._session.close()


def test_a_call_of_mangopays_sdk_waits_for_a_token_as_long_as_its_auth_says(place: Place) -> None:
    with place.emulator.server() as server:
        server.next_token_requests(TokenBehaviour(fault=TokenFault.RATE_LIMITED_RETRY_AFTER, retry_after=5))
    auth = requests.BearerAuth(place.emulator.grant(), coordinator=place.coordinator, timeout=1.0)
    handler = mangopay_sdk.api_request(auth)
    with pytest.raises(RateLimited):
        User.get("user_m_1", handler=handler)
    handler._session.close()


def test_an_error_of_ours_comes_through_the_sdks_and_their_retries_ask_for_no_token(place: Place) -> None:
    with place.emulator.server() as server:
        server.next_token_requests(TokenBehaviour(fault=TokenFault.LOCKED))
    auth = httpx2.BearerAuth(place.grant, coordinator=place.coordinator)
    with openai_sdk.client(auth) as openai, pytest.raises(EndpointLocked):
        openai.models.list()
    with anthropic_sdk.client(auth, max_retries=1) as anthropic, pytest.raises(APIConnectionError) as caught:
        anthropic.models.list()
    assert isinstance(caught.value.__cause__, EndpointLocked)
    assert place.token_requests == 1


def test_no_token_goes_where_the_grant_does_not_say(place: Place) -> None:
    with opened(Script(), Policy()) as elsewhere:
        auth = httpx2.BearerAuth(place.grant, coordinator=place.coordinator)
        with openai_sdk.client(auth, base_url=elsewhere.api) as client, pytest.raises(AuthenticationError):
            client.models.list()
        assert elsewhere.carried == ["Bearer kept by evertoken"]
