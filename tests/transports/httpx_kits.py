"""What the tests of the httpx adapters share: both libraries under one name, and an API that answers from a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

from evertoken_transports import Coordinator, Event
from tests.transports.worlds import World

__all__ = ("LIBRARIES", "SCA", "TOKEN_401", "UNKNOWN_401", "Answer", "Api", "Kit", "StreamOf", "Theirs")

LIBRARIES = ("httpx", "httpx2")

# Whatever belongs to one of the two libraries, which have no class in common.
Theirs = Any

# Status, headers and body.
Answer = tuple[int, dict[str, str], bytes]

TOKEN_401: Answer = (401, {}, b'{"Type": "invalid_credentials"}')
UNKNOWN_401: Answer = (401, {}, b"")
SCA: Answer = (401, {"WWW-Authenticate": 'PendingUserAction RedirectUrl="https://sca.example/?token=x"'}, b"")


class StreamOf:
    """A stream that says what became of it. To be mixed with a library's ``SyncByteStream``."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.chunks = chunks
        self.read = 0
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            self.read += len(chunk)
            yield chunk

    def close(self) -> None:
        self.closed += 1


class Api:
    """An API in memory: gives the listed answers, then 200, and keeps what was asked and with which value."""

    def __init__(self, library: ModuleType) -> None:
        self.library = library
        self.answers: list[Answer | Callable[[Theirs], Theirs]] = []
        self.requests: list[tuple[str, str, bytes]] = []
        self.signatures: list[str | None] = []

    def __call__(self, request: Theirs) -> Theirs:
        # Not read(): that too makes any body one that can be sent again.
        self.requests.append((request.method, str(request.url), b"".join(request.stream)))
        self.signatures.append(request.headers.get("Authorization"))
        answer = self.answers.pop(0) if self.answers else (200, {}, b"served")
        if callable(answer):
            return answer(request)
        status, headers, body = answer
        return self.library.Response(status, headers=headers, stream=self.library.ByteStream(body))


class Kit:
    """One library, its adapter, one world, and a client whose calls are signed and answered by an :class:`Api`."""

    def __init__(self, name: str, world: World) -> None:
        self.world = world
        self.library: Theirs = import_module(name)
        self.adapter: Theirs = import_module(f"evertoken_transports.{name}")
        self.api = Api(self.library)
        self.events: list[Event] = []
        self._clients: list[Theirs] = []

    def auth(self, coordinator: Coordinator | None = None, **options: Theirs) -> Theirs:
        return self.adapter.BearerAuth(
            self.world.grant,
            coordinator=self.world.coordinator if coordinator is None else coordinator,
            exchange=self.world.endpoint,
            on_event=self.events.append,
            **options,
        )

    def client(self, auth: Theirs = None, **options: Theirs) -> Theirs:
        auth = self.auth() if auth is None else auth
        client = self.library.Client(transport=self.transport(), auth=auth, base_url=auth.api_base, **options)
        self._clients.append(client)
        return client

    def transport(self) -> Theirs:
        """The API as a transport. Not the library's mock, which reads every body and so makes it one to send again."""

        def handle_request(_: object, request: Theirs) -> Theirs:
            return self.api(request)

        return type("Transport", (self.library.BaseTransport,), {"handle_request": handle_request})()

    def stream(self, chunks: Iterator[bytes]) -> Theirs:
        return type("Stream", (StreamOf, self.library.SyncByteStream), {})(chunks)

    def answer_with(
        self, status: int, stream: Theirs, headers: dict[str, str] | None = None
    ) -> Callable[[Theirs], Theirs]:
        """An answer whose body is ``stream``."""
        return lambda _: self.library.Response(status, headers=headers or {}, stream=stream)

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.world.endpoint.gate.set()
        self.world.settle()
