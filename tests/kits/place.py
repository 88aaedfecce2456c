"""The place of a story, which is a test that tells what a program does from call to call.

There is an emulator for tokens, an API beside it, and time that passes when the story says so.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock

import requests

from evertoken import ClientCredentials, Policy, RequestState, TokenMachine
from evertoken.testing import Route, Script
from evertoken_transports import Coordinator
from evertoken_transports.emulator import Emulator
from tests.kits.worlds import Clock, until

__all__ = ("Answers", "Place", "WallTime", "opened")

CLIENT, KEY = "embedder", "an-API-key"
START = 4_000_000_000.0
"""Unix time at which every story begins: in the future, so that libraries that look at the real time take no token for
one that has expired."""

Answer = tuple[int, bytes] | tuple[int, bytes, Mapping[str, str]]
"""Status, body, and headers if there are more than those that every answer has."""
Answers = dict[tuple[str, str], Answer | Callable[[bytes], Answer]]
"""What is answered to a method and path, or a function that makes the answer from the request's body."""


_BAD_TOKEN = json.dumps({"error": {"message": "bad token", "type": "x", "code": 401}}).encode()


class WallTime:
    """What a library finds in place of its module ``time``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._origin = clock()

    def time(self) -> float:
        return START + self._clock() - self._origin

    monotonic = time

    def sleep(self, seconds: float) -> None:
        """Return at once, since nothing waits in a story."""


class Place:
    """All that one story needs."""

    def __init__(self, emulator: Emulator, clock: Clock, policy: Policy) -> None:
        self.emulator = emulator
        self.clock = clock
        self.wall = WallTime(clock)
        self.policy = policy
        self.api = ""
        """The base URL of the API."""
        self.answers: Answers = {}
        """What the API answers to a call with a valid token, if not an empty object."""
        self.refusal: Answer = (401, _BAD_TOKEN, {"WWW-Authenticate": 'Bearer error="invalid_token"'})
        """What the API answers to any other call."""
        self.calls: list[tuple[str, str, int]] = []
        """The method, path and status of every API call."""
        self.carried: list[str | None] = []
        """The Authorization value of every API call."""
        self.token_url = f"{emulator.base_url}/v2.01/oauth/token"
        self._coordinator: Coordinator | None = None

    @property
    def grant(self) -> ClientCredentials:
        """The emulator's client, whose API is the one beside it."""
        return ClientCredentials(self.emulator.grant().endpoint, CLIENT, KEY, api_base=self.api)

    @property
    def coordinator(self) -> Coordinator:
        """The coordinator of whatever uses evertoken in this story."""
        if self._coordinator is None:
            machine = TokenMachine(self.grant, policy=self.policy, draw=lambda: 0.5)
            self._coordinator = Coordinator(machine, clock=self.clock, wall=self.wall.time)
        return self._coordinator

    def is_valid(self, authorization: str | None) -> bool:
        """Whether a call that carries this is to be served."""
        scheme, _, token = (authorization or "").partition(" ")
        with self.emulator.server() as server:
            return scheme.lower() == "bearer" and server.is_valid(self.emulator.now(), token)

    def fetch(self) -> dict[str, Any]:
        """A token straight from the endpoint, as people write it by hand."""
        answer = requests.post(
            self.token_url, data={"grant_type": "client_credentials"}, auth=(CLIENT, KEY), timeout=20
        )
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def settle(self) -> None:
        """Wait until no token request of ours is under way, so that a story has one course."""
        if self._coordinator is not None:
            machine = self._coordinator.machine
            until(lambda: machine.request_state(self.clock()) is not RequestState.IN_FLIGHT)

    @property
    def token_requests(self) -> int:
        """How many token requests have reached the endpoint so far."""
        return sum(arrival.route is Route.TOKEN for arrival in self.emulator.arrivals)

    def times_of(self, module: str) -> Any:  # noqa: ANN401 (a patch, of whatever kind)
        """While this is entered, ``module`` finds our time where it looks for the module ``time``."""
        return mock.patch(f"{module}.time", self.wall)


@contextmanager
def opened(script: Script, policy: Policy) -> Generator[Place]:
    """Open the place of one story, until the block ends."""
    clock = Clock()
    with Emulator(script, client_id=CLIENT, api_key=KEY, clock=clock) as emulator:
        place = Place(emulator, clock, policy)
        with _api(place) as place.api:
            yield place


@contextmanager
def _api(place: Place) -> Generator[str]:
    server = _Server(("127.0.0.1", 0), _handler_of(place))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # The end does not wait for the threads of connections that clients keep open and send nothing on.
    block_on_close = False
    request_queue_size = 128


def _handler_of(place: Place) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # One packet for an answer.

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            authorization = self.headers.get("Authorization")
            answer: Answer | Callable[[bytes], Answer] = place.refusal
            if place.is_valid(authorization):
                answer = place.answers.get((self.command, path), (200, b"{}"))
            status, content, *more = answer(body) if callable(answer) else answer
            place.calls.append((self.command, path, status))
            place.carried.append(authorization)
            self.send_response(status)
            for name, value in (more[0] if more else {}).items():
                self.send_header(name, value)
            if status != 202:
                self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 (http.server's names)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing is printed."""

    return Handler
