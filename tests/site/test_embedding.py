"""docs/embedding.md: whole drivers, an exchange, and one token for callers of every kind."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from evertoken import (
    CredentialsRefused,
    Granted,
    HttpResponse,
    Policy,
    TokenMachine,
    TokenRequest,
    TokenUnavailable,
    mangopay,
)
from evertoken.testing import Script, TokenBehaviour, TokenFault
from evertoken_transports import suspend_aware_clock
from evertoken_transports.emulator import Emulator
from tests.kits.pages import run
from tests.kits.worlds import LIMIT

GRANT = mangopay.sandbox(client_id="demo", api_key="made-up")
REFUSED = HttpResponse(401, (), b'{"error": "invalid_client"}')


@pytest.fixture(scope="module")
def page() -> SimpleNamespace:
    return run("embedding")


def answer(token: str = "made-up") -> HttpResponse:
    body = {"access_token": token, "token_type": "bearer", "expires_in": 1_200}
    return HttpResponse(200, (), json.dumps(body).encode())


def test_threads_and_tasks_share_one_request(page: SimpleNamespace) -> None:
    tokens, sent, everybody = page.SharedTokens(GRANT), list[TokenRequest](), threading.Barrier(5)

    def send(request: TokenRequest) -> HttpResponse:
        sent.append(request)
        return answer()

    async def send_in_loop(request: TokenRequest) -> HttpResponse:
        return send(request)

    def in_a_thread() -> str:
        everybody.wait(LIMIT)
        return str(page.authorization(tokens.steps(), send))

    async def in_tasks() -> list[str]:
        everybody.wait(LIMIT)
        waiting = [page.async_authorization(tokens.steps(), send_in_loop) for _ in range(4)]
        return [str(header) for header in await asyncio.gather(*waiting)]

    with ThreadPoolExecutor(5) as pool:
        threads = [pool.submit(in_a_thread) for _ in range(4)]
        headers = [*pool.submit(asyncio.run, in_tasks()).result(LIMIT), *(thread.result(LIMIT) for thread in threads)]
    assert headers == ["Bearer made-up"] * 8
    assert len(sent) == 1


def test_a_task_that_is_cancelled_leaves_the_request_to_the_next_caller(page: SimpleNamespace) -> None:
    tokens = page.SharedTokens(GRANT)

    async def story() -> str:
        asked = asyncio.Event()

        async def never(_: TokenRequest) -> HttpResponse:
            asked.set()
            await asyncio.get_running_loop().create_future()
            raise AssertionError

        async def at_once(_: TokenRequest) -> HttpResponse:
            return answer("second")

        first = asyncio.create_task(page.async_authorization(tokens.steps(), never))
        await asyncio.wait_for(asked.wait(), LIMIT)
        first.cancel()
        await asyncio.wait([first], timeout=LIMIT)
        assert first.cancelled()
        return str(await asyncio.wait_for(page.async_authorization(tokens.steps(), at_once), LIMIT))

    assert asyncio.run(story()) == "Bearer second"


def test_what_the_machine_says_of_a_failure_reaches_either_kind_of_caller(page: SimpleNamespace) -> None:
    def broken(_: TokenRequest) -> HttpResponse:
        raise OSError("down")

    async def refused(_: TokenRequest) -> HttpResponse:
        return REFUSED

    with pytest.raises(TokenUnavailable, match="OSError"):
        page.authorization(page.SharedTokens(GRANT).steps(timeout=0.1), broken)
    with pytest.raises(CredentialsRefused):
        asyncio.run(page.async_authorization(page.SharedTokens(GRANT).steps(), refused))


def test_the_exchange_of_twenty_lines_brings_a_token_over_a_socket(page: SimpleNamespace) -> None:
    with Emulator() as emulator:
        machine = TokenMachine(emulator.grant(), draw=random.random)
        request = machine.start_request(suspend_aware_clock())
        outcome = machine.receive_response(suspend_aware_clock(), request, page.exchange(request))
        assert isinstance(outcome, Granted)


def test_the_exchange_of_twenty_lines_is_over_at_the_deadline_though_the_other_side_drips(
    page: SimpleNamespace,
) -> None:
    drips = TokenBehaviour(fault=TokenFault.DRIP, bytes_per_second=20)  # No read waits long.
    with Emulator(Script(token=drips)) as emulator:
        machine = TokenMachine(emulator.grant(), policy=Policy(request_timeout=0.3), draw=random.random)
        request = machine.start_request(suspend_aware_clock())
        with pytest.raises((OSError, http.client.HTTPException)):
            page.exchange(request)
