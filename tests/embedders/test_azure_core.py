"""What azure-core asks of its adapters, the asynchronous one included, beyond what the stories tell."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from anyio.from_thread import start_blocking_portal
from azure.core.credentials_async import AsyncSupportsTokenInfo, AsyncTokenCredential
from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.transport import HttpRequest as OldRequest
from azure.core.pipeline.transport import TrioRequestsTransport
from azure.core.rest import HttpRequest

from evertoken import Policy, TokenUnavailable
from evertoken.testing import Script, TokenBehaviour, TokenFault
from evertoken_transports import Token, threads, trio
from evertoken_transports.adapters import azure_core, azure_core_aio
from evertoken_transports.asyncio import TokenSource
from tests.embedders.ours import async_azure_client, azure_client
from tests.kits.place import Place, opened
from tests.kits.worlds import LIMIT

Request = Any
"""An old request of azure-core or a new one."""


class Answer(NamedTuple):
    status: int
    body: bytes


LOCK = {"error": "unauthorized_client", "error_description": "This account has been temporarily locked"}

Send = Callable[..., Answer]
"""``send(place, request, stream=False)``"""


@pytest.fixture
def place() -> Iterator[Place]:
    with opened(Script(lifetime=1_200), Policy()) as place:
        yield place


def by_thread(place: Place, request: Request, *, stream: bool = False) -> Answer:
    source = threads.TokenSource(place.grant, coordinator=place.coordinator)
    policy = azure_core.RepeatingPolicy(azure_core.SourceCredential(source))
    with azure_client(place, policy) as client:
        found: Any = client._pipeline.run(request, stream=stream, enforce_https=False)
        answer = found.http_response
        return Answer(answer.status_code, answer.read() if hasattr(answer, "read") else answer.body())


async def in_loop(place: Place, source: TokenSource | trio.TokenSource, request: Request, **options: Any) -> Answer:  # noqa: ANN401
    policy, stream = azure_core_aio.RepeatingPolicy(azure_core_aio.SourceCredential(source)), options.pop("stream")
    async with async_azure_client(place, policy, **options) as client:
        found: Any = await client._pipeline.run(request, stream=stream, enforce_https=False)
        answer = found.http_response
        if hasattr(answer, "read"):
            return Answer(answer.status_code, await answer.read())
        if hasattr(answer, "load_body"):
            await answer.load_body()
        return Answer(answer.status_code, answer.body())


def by_asyncio(place: Place, request: Request, *, stream: bool = False) -> Answer:
    return asyncio.run(in_loop(place, TokenSource(place.grant, coordinator=place.coordinator), request, stream=stream))


def by_trio(place: Place, request: Request, *, stream: bool = False) -> Answer:
    source, transport = trio.TokenSource(place.grant, coordinator=place.coordinator), TrioRequestsTransport()
    with start_blocking_portal("trio") as portal:
        return portal.call(lambda: in_loop(place, source, request, stream=stream, transport=transport))


@pytest.fixture(params=[by_thread, by_asyncio, by_trio])
def send(request: pytest.FixtureRequest) -> Send:
    found: Send = request.param
    return found


def revoked(place: Place) -> None:
    """Whatever is granted from here on is a second token: the first is known to the coordinator, and no good."""
    threads.TokenSource(place.grant, coordinator=place.coordinator).token()
    place.emulator.revoke_all()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", [HttpRequest, OldRequest], ids=["new", "old"])
def test_a_call_whose_token_was_revoked_is_repeated_however_its_answer_is_read(
    send: Send, kind: Callable[..., Request], stream: bool, place: Place
) -> None:
    revoked(place)
    assert send(place, kind("POST", f"{place.api}/users"), stream=stream) == (200, b"{}")
    assert [status for *_, status in place.calls] == [401, 200]
    assert place.token_requests == 2


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", [HttpRequest, OldRequest], ids=["new", "old"])
def test_a_lock_is_read_out_of_an_answer_that_the_caller_can_read_too(
    send: Send, kind: Callable[..., Request], stream: bool, place: Place
) -> None:
    place.answers["POST", "/users"] = refusal = 400, json.dumps(LOCK).encode()
    assert send(place, kind("POST", f"{place.api}/users"), stream=stream) == refusal
    assert len(place.calls) == 1
    assert "locked" in str(threads.TokenSource(place.grant, coordinator=place.coordinator).explain())


def test_a_call_that_uploads_a_file_is_not_repeated_with_what_is_left_of_it(send: Send, place: Place) -> None:
    revoked(place)
    request = HttpRequest("POST", f"{place.api}/users", files={"file": ("a.txt", io.BytesIO(b"content"), "text/plain")})
    assert send(place, request).status == 401
    assert [status for *_, status in place.calls] == [401]


def test_where_there_is_no_other_token_the_caller_gets_the_refusal(send: Send, place: Place) -> None:
    revoked(place)
    with place.emulator.server() as server:
        server.next_token_requests(TokenBehaviour(fault=TokenFault.LOCKED))
    assert send(place, HttpRequest("GET", f"{place.api}/users")).status == 401
    assert [status for *_, status in place.calls] == [401]


def test_an_error_of_ours_is_what_the_call_raises_and_nothing_is_sent(send: Send, place: Place) -> None:
    with place.emulator.server() as server:
        server.next_token_requests(TokenBehaviour(fault=TokenFault.LOCKED))
    with pytest.raises(TokenUnavailable):
        send(place, HttpRequest("GET", f"{place.api}/users"))
    assert not place.calls


def test_an_asynchronous_credential_is_what_azure_core_takes_for_one_and_is_asked_each_time(place: Place) -> None:
    async def main() -> None:
        async with azure_core_aio.SourceCredential(
            TokenSource(place.grant, coordinator=place.coordinator)
        ) as credential:
            assert isinstance(credential, AsyncTokenCredential)
            assert isinstance(credential, AsyncSupportsTokenInfo)
            token, info = await credential.get_token("scope"), await credential.get_token_info("scope")
            assert token.token == info.token
            assert token.expires_on == info.expires_on == int(place.wall.time() + 1_200)
            assert info.refresh_on is not None
            assert info.refresh_on < time.time()
        await credential.close()
        assert (await credential.get_token()).token == token.token

    asyncio.run(main())
    assert place.token_requests == 1


def test_an_asynchronous_call_over_plain_http_is_refused_unless_that_is_wanted(place: Place) -> None:
    async def main() -> None:
        source = TokenSource(place.grant, coordinator=place.coordinator)
        policy = azure_core_aio.RepeatingPolicy(azure_core_aio.SourceCredential(source))
        async with async_azure_client(place, policy) as client:
            with pytest.raises(ServiceRequestError, match="TLS"):
                await client.send_request(HttpRequest("GET", f"{place.api}/users"))

    asyncio.run(main())
    assert not place.calls


def test_calls_that_wait_for_a_token_wait_at_the_same_time_and_not_in_a_row(place: Place) -> None:
    """In a row, the fifth would give up after five times its time."""

    async def main() -> list[int]:
        together, arrived = asyncio.Barrier(5), set[object]()

        class Source(TokenSource):
            async def token(self, timeout: float | None = None, min_ttl: float = 0.0) -> Token:
                if (task := asyncio.current_task()) not in arrived:
                    arrived.add(task)
                    await together.wait()  # Only all of them at once come past this.
                return await super().token(timeout, min_ttl)

        credential = azure_core_aio.SourceCredential(Source(place.grant, coordinator=place.coordinator))
        policy = azure_core_aio.RepeatingPolicy(credential)

        async def call() -> int:
            request = HttpRequest("GET", f"{place.api}/users")
            return int((await client.send_request(request, enforce_https=False)).status_code)

        async with async_azure_client(place, policy) as client, asyncio.timeout(LIMIT):
            return await asyncio.gather(*(call() for _ in range(5)))

    assert asyncio.run(main()) == [200] * 5
