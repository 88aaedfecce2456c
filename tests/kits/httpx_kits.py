"""What the tests of the httpx adapters share: both libraries under one name, and an API that answers from a list."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

import trio
import uvloop

from evertoken_transports import Coordinator, Event
from tests.kits.worlds import World

__all__ = (
    "LIBRARIES",
    "RUNTIMES",
    "SCA",
    "TOKEN_401",
    "UNKNOWN_401",
    "Answer",
    "Api",
    "Kit",
    "StreamOf",
    "Theirs",
    "run_in",
)

LIBRARIES = ("httpx", "httpx2")
RUNTIMES = ("threads", "asyncio", "trio")

_T = TypeVar("_T")

# Whatever belongs to one of the two libraries, which have no class in common.
Theirs = Any

# Status, headers and body.
Answer = tuple[int, dict[str, str], bytes]

TOKEN_401: Answer = (401, {}, b'{"Type": "invalid_credentials"}')
UNKNOWN_401: Answer = (401, {}, b"")
SCA: Answer = (401, {"WWW-Authenticate": 'PendingUserAction RedirectUrl="https://sca.example/?token=x"'}, b"")


class StreamOf:
    """A mixin for a library's two kinds of stream: counts the bytes that were read and how often it was closed."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.chunks = chunks
        self.read = 0
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            self.read += len(chunk)
            yield chunk

    # Not a generator: httpx lets go of one that is half read, and trio warns of it.
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        for chunk in self.chunks:
            self.read += len(chunk)
            return chunk
        raise StopAsyncIteration

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.closed += 1


def run_in(runtime: str, work: Callable[[], Awaitable[_T]]) -> _T:
    """What ``work`` returns, in an event loop that is made for it."""

    async def do() -> _T:
        return await work()

    if runtime == "trio":
        return trio.run(do)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if runtime == "uvloop" else None) as runner:
        return runner.run(do())


class AsyncCalls:
    """An asynchronous client for tests that are written once: each call is made in an event loop of its own."""

    def __init__(self, client: Theirs, runtime: str) -> None:
        self.client, self.runtime = client, runtime

    def request(self, method: str, url: str, **options: Theirs) -> Theirs:
        return run_in(self.runtime, lambda: self.client.request(method, url, **options))

    def get(self, url: str, **options: Theirs) -> Theirs:
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Theirs) -> Theirs:
        return self.request("POST", url, **options)

    def send(self, request: Theirs) -> Theirs:
        return run_in(self.runtime, lambda: self.client.send(request))

    def build_request(self, *arguments: Theirs, **options: Theirs) -> Theirs:
        return self.client.build_request(*arguments, **options)

    @property
    def cookies(self) -> Theirs:
        return self.client.cookies

    def close(self) -> None:
        run_in(self.runtime, self.client.aclose)


class Api:
    """An API in memory. It gives the listed answers, then 200, and keeps each request and its Authorization value."""

    def __init__(self, library: ModuleType) -> None:
        self.library = library
        self.answers: list[Answer | Callable[[Theirs], Theirs]] = []
        self.requests: list[tuple[str, str, bytes]] = []
        self.signatures: list[str | None] = []

    def __call__(self, request: Theirs, body: bytes) -> Theirs:
        self.requests.append((request.method, str(request.url), body))
        self.signatures.append(request.headers.get("Authorization"))
        answer = self.answers.pop(0) if self.answers else (200, {}, b"served")
        if callable(answer):
            return answer(request)
        status, headers, content = answer
        return self.library.Response(status, headers=headers, stream=self.library.ByteStream(content))


class Kit:
    """One library, its adapter, one world, and a client whose calls are signed and answered by an :class:`Api`."""

    def __init__(self, name: str, world: World, runtime: str = "threads") -> None:
        self.world = world
        self.runtime = runtime
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

    def client(self, auth: Theirs = None, *, hooks: Theirs = None, **options: Theirs) -> Theirs:
        auth = self.auth() if auth is None else auth
        options |= {"transport": self.transport(), "auth": auth, "base_url": auth.api_base}
        if self.runtime == "threads":
            made = self.library.Client(event_hooks=hooks, **options)
        else:
            waiting = {event: [_awaiting(hook) for hook in listed] for event, listed in (hooks or {}).items()}
            made = AsyncCalls(self.library.AsyncClient(event_hooks=waiting, **options), self.runtime)
        self._clients.append(made)
        return made

    def transport(self) -> Theirs:
        """The API as a transport. The library's mock will not do: it reads every body, which can then be sent again."""

        def handle_request(_: object, request: Theirs) -> Theirs:
            return self.api(request, b"".join(request.stream))

        async def handle_async_request(_: object, request: Theirs) -> Theirs:
            return self.api(request, b"".join([part async for part in request.stream]))

        bases = (self.library.BaseTransport, self.library.AsyncBaseTransport)
        handlers = {"handle_request": handle_request, "handle_async_request": handle_async_request}
        return type("Transport", bases, handlers)()

    def parts(self, *parts: bytes) -> Iterator[bytes] | AsyncIterator[bytes]:
        """A body that can be sent once."""

        async def later() -> AsyncIterator[bytes]:
            for part in parts:
                yield part

        return iter(list(parts)) if self.runtime == "threads" else later()

    def read(self, message: Theirs) -> Theirs:
        """Read a request or an answer whole, from a hook or from outside."""
        return message.read() if self.runtime == "threads" else message.aread()

    def stream(self, chunks: Iterator[bytes]) -> Theirs:
        return type("Stream", (StreamOf, self.library.SyncByteStream, self.library.AsyncByteStream), {})(chunks)

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


def _awaiting(hook: Callable[[Theirs], Theirs]) -> Callable[[Theirs], Awaitable[None]]:
    async def call(message: Theirs) -> None:
        result = hook(message)
        if inspect.isawaitable(result):
            await result

    return call
