"""A driver of one's own for sync and async clients alike: one generator says what to do, two loops do it.

An SDK with a client of each kind writes the course of a call once. The generator knows neither threads nor tasks: it
yields a request to be sent, or a wait, and is told what came of it. The lock is held for one step of the machine, and
never over a yield; so threads and any number of event loops may share one object, and all of them one token.

Run this file to see four threads and four tasks make one request.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor

from evertoken import (
    ClientCredentials,
    GiveUp,
    HttpResponse,
    Ready,
    SendRequest,
    TokenMachine,
    TokenRequest,
    Wait,
    mangopay,
    next_move,
)

Steps = Generator[TokenRequest | Wait, HttpResponse | Exception | None, str]


class SharedTokens:
    """One client's token, for callers of any kind."""

    def __init__(self, grant: ClientCredentials) -> None:
        self._machine = TokenMachine(grant, draw=random.random)
        self._lock = threading.Lock()

    def steps(self, timeout: float = 15.0) -> Steps:
        """What one caller does. It returns the value for an Authorization header, or raises TokenUnavailable."""
        since = time.monotonic()
        while True:
            request = None
            with self._lock:
                now = time.monotonic()
                move = next_move(self._machine, now, since=since, deadline=since + timeout)
                if isinstance(move, GiveUp):
                    raise move.error
                if isinstance(self._machine.poll(now), SendRequest):  # No token is at hand, or the next is due.
                    request = self._machine.start_request(now)
            if request is not None:
                answer = None
                try:
                    answer = yield request
                finally:  # This is done also where the caller is cancelled, and no answer is known.
                    self._tell(request, answer)
            elif isinstance(move, Ready):
                return move.authorization
            elif isinstance(move, Wait):
                yield move

    def _tell(self, request: TokenRequest, answer: HttpResponse | Exception | None) -> None:
        with self._lock:
            if isinstance(answer, HttpResponse):
                self._machine.receive_response(time.monotonic(), request, answer)
            elif answer is not None:
                self._machine.send_failed(time.monotonic(), request, type(answer).__name__)
            else:
                self._machine.request_abandoned(time.monotonic(), request)


def pause(wait: Wait) -> float:
    """Seconds to sleep: at most a twentieth of one, since another caller may bring the token meanwhile."""
    return min(max(wait.until - time.monotonic(), 0.001), 0.05)


def authorization(steps: Steps, send: Callable[[TokenRequest], HttpResponse]) -> str:
    """Take the steps in a thread. `send` must be over at `request.deadline`, a moment of `time.monotonic()`."""
    answer: HttpResponse | Exception | None = None
    try:
        while True:
            step = steps.send(answer)
            answer = None
            if isinstance(step, TokenRequest):
                try:
                    answer = send(step)
                except Exception as error:  # noqa: BLE001 (whatever it was: exactly one outcome for each request)
                    answer = error
            else:
                time.sleep(pause(step))
    except StopIteration as done:
        return str(done.value)
    finally:
        steps.close()


async def async_authorization(steps: Steps, send: Callable[[TokenRequest], Awaitable[HttpResponse]]) -> str:
    """Take the steps in a task, in the same way."""
    answer: HttpResponse | Exception | None = None
    try:
        while True:
            step = steps.send(answer)
            answer = None
            if isinstance(step, TokenRequest):
                try:
                    answer = await send(step)
                except Exception as error:  # noqa: BLE001
                    answer = error
            else:
                await asyncio.sleep(pause(step))
    except StopIteration as done:
        return str(done.value)
    finally:
        steps.close()


def main() -> None:
    """Four threads and four tasks, one token request."""
    sent: list[TokenRequest] = []

    def send(request: TokenRequest) -> HttpResponse:
        sent.append(request)
        time.sleep(0.05)
        return HttpResponse(200, (), b'{"access_token": "made-up", "token_type": "bearer", "expires_in": 1200}')

    async def send_in_loop(request: TokenRequest) -> HttpResponse:
        return await asyncio.to_thread(send, request)

    async def tasks() -> list[str]:
        return await asyncio.gather(*(async_authorization(tokens.steps(), send_in_loop) for _ in range(4)))

    tokens = SharedTokens(mangopay.sandbox(client_id="demo", api_key="made-up"))
    with ThreadPoolExecutor(5) as pool:
        threads = [pool.submit(lambda: authorization(tokens.steps(), send)) for _ in range(4)]
        headers = [*asyncio.run(tasks()), *(thread.result() for thread in threads)]
    print(f"{headers.count('Bearer made-up')} of {len(headers)} callers have a token, {len(sent)} token request(s)")


if __name__ == "__main__":
    main()
