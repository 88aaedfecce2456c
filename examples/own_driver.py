"""A driver of one's own: any number of threads share one token through a TokenMachine, over any HTTP library.

A machine has no lock, no clock and no socket. So a driver brings three things: a lock around every call of the machine,
which is never held while a request is under way; a clock; and `send`, which takes a request to the token endpoint and
brings the answer back. What each caller should do, and in which order that is decided, is the machine's business:
`next_move` says it. Run this file to see eight threads make one request.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
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


class Tokens:
    """One client's token for all threads. `send` must be over at `request.deadline`, a moment of `time.monotonic()`."""

    def __init__(self, grant: ClientCredentials, send: Callable[[TokenRequest], HttpResponse]) -> None:
        self._machine = TokenMachine(grant, draw=random.random)
        self._send = send
        self._changed = threading.Condition()  # Its lock is held around every call of the machine, and only then.

    def authorization(self, timeout: float = 15.0) -> str:
        """The value for an Authorization header; waits up to `timeout` seconds, or raises TokenUnavailable."""
        since = time.monotonic()
        with self._changed:
            while True:
                now = time.monotonic()
                move = next_move(self._machine, now, since=since, deadline=since + timeout)
                if isinstance(move, Wait):
                    self._changed.wait(min(move.until - now, 30.0))  # The clock may jump: look again now and then.
                    continue
                if isinstance(move, GiveUp):
                    raise move.error
                if isinstance(self._machine.poll(now), SendRequest):  # No token is at hand, or the next is due.
                    self._start(self._machine.start_request(now))
                if isinstance(move, Ready):
                    return move.authorization

    def _start(self, request: TokenRequest) -> None:
        # In a thread of its own, so that whoever has a token already does not wait for the next one.
        threading.Thread(target=self._carry, args=(request,), daemon=True).start()

    def _carry(self, request: TokenRequest) -> None:
        try:
            answer = self._send(request)
        except Exception as error:  # noqa: BLE001 (whatever it was: exactly one outcome for each request)
            with self._changed:
                self._machine.send_failed(time.monotonic(), request, type(error).__name__)
                self._changed.notify_all()
        else:
            with self._changed:
                self._machine.receive_response(time.monotonic(), request, answer)
                self._changed.notify_all()


def main() -> None:
    """Eight threads, two hundred calls each, one token request."""
    sent: list[TokenRequest] = []

    def send(request: TokenRequest) -> HttpResponse:
        sent.append(request)
        return HttpResponse(200, (), b'{"access_token": "made-up", "token_type": "bearer", "expires_in": 1200}')

    tokens = Tokens(mangopay.sandbox(client_id="demo", api_key="made-up"), send)
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(tokens.authorization) for _ in range(8 * 200)]
        headers = [call.result() for call in calls]
    print(f"{headers.count('Bearer made-up')} of {len(headers)} calls have a token, {len(sent)} token request(s)")


if __name__ == "__main__":
    main()
