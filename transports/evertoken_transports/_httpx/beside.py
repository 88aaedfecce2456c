"""The asynchronous half of the adapters for httpx and httpx2: how a request travels, and where callers wait."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from typing import Any

from typing_extensions import override

from evertoken import HttpResponse, LocalProtocolError, TokenRequest
from evertoken_transports._async_source import AsyncSource
from evertoken_transports._exchange import AsyncExchange, Exchange, ExchangeFailed, stores_of
from evertoken_transports._httpx.exchange import Settings, with_reference
from evertoken_transports._httpx.line import CLOSING, Line
from evertoken_transports._httpx.network import direct_async
from evertoken_transports._runtime import Limit, Runtime, in_thread, runtime, within
from evertoken_transports._token import Token
from evertoken_transports._when import TokenCallback
from evertoken_transports.threads import TokenSource

# A class of httpx or of httpx2.
Client = Any
Response = Any


class AsyncHttpxExchangeBase(Settings):
    """Sends each token request over a connection of its own, in a task of asyncio or trio.

    Arguments and errors as for the ``HttpxExchange`` of this module. Cancelling the task ends the exchange at once.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__doc__ = with_reference(cls, AsyncHttpxExchangeBase)

    async def __call__(self, request: TokenRequest, /) -> HttpResponse:
        """Send ``request``; return the answer, whatever its status. Redirects are not followed.

        Raises:
            ExchangeFailed: as the ``HttpxExchange`` of this module.
        """
        line, left = self._begun(request)
        # As in the synchronous exchange, only the first outcome counts: what comes of closing is told later.
        outcomes: list[HttpResponse | ExchangeFailed] = []
        limit = Limit()

        def tell(outcome: HttpResponse | ExchangeFailed) -> None:
            outcomes.append(outcome)
            limit.shorten(CLOSING)

        try:
            await within(left, self._work(request, left, line, tell), limit)
        except TimeoutError:
            outcomes.append(line.too_late())
        finally:
            await line.aclose()
        if isinstance(outcomes[0], HttpResponse):
            return outcomes[0]
        raise outcomes[0]

    async def _work(
        self,
        request: TokenRequest,
        seconds: float,
        line: Line,
        tell: Callable[[HttpResponse | ExchangeFailed], object],
    ) -> None:
        try:
            await self._send(request, seconds, line, tell)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is told without its frames)
            tell(line.failure(self._library, error))

    async def _send(
        self, request: TokenRequest, seconds: float, line: Line, tell: Callable[[HttpResponse], object]
    ) -> None:
        async def read(response: Response) -> None:
            body = bytearray()
            try:
                async with aclosing(response.aiter_raw()) as chunks:
                    line.read(0, response.headers.get("Content-Length"))
                    async for chunk in chunks:
                        body += chunk
                        line.read(len(body), response.headers.get("Content-Length"))
                        if len(body) > request.max_body:
                            break
            except Exception:
                if not line.is_whole and len(body) <= request.max_body:
                    raise
            tell(self._answer(request, response, bytes(body)))
            line.cut()  # The library closes the connection next, and so waits for nobody.

        # The answer is read in a hook for the reason that the synchronous exchange gives.
        client = await in_thread(partial(self._client, request, seconds, read))
        async with direct_async(client, self._library, line):
            await client.send(self._library_request(request, line, line.atrace), stream=True)

    def _client(self, request: TokenRequest, seconds: float, read: object) -> Client:
        """A client for one request. Call this in a thread: certificates and the library's parts take long to load."""
        return self._library.AsyncClient(event_hooks={"response": [read]}, **self._client_options(request, seconds))


class Beside:
    """A blocking ``exchange`` for use in an event loop: each call of it runs in a worker thread."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.stores = stores_of(exchange)

    async def __call__(self, request: TokenRequest, /) -> HttpResponse:
        """What the blocking exchange answers to ``request``, or raises."""
        return await in_thread(partial(self._exchange, request))


class TasksOnlyExchange:
    """Stands where a blocking exchange would, if there is only one that tasks can await.

    It sends nothing. Its stores are those of ``exchange``, and threads can tell them of blocks all the same.
    """

    def __init__(self, exchange: AsyncExchange) -> None:
        self.stores = stores_of(exchange)
        self.unblock, self.block = getattr(exchange, "unblock", None), getattr(exchange, "block", None)

    def __call__(self, _: TokenRequest, /) -> HttpResponse:
        """Not for use: always raises LocalProtocolError."""
        raise tasks_only()


class TasksOnlySource(TokenSource):
    """The source of a ``BearerAuth`` that has an ``async_exchange`` alone: no thread can wait for a token here."""

    @override
    def token(self, timeout: float | None = None, min_ttl: float = 0.0) -> Token:
        """Not for use; raises as :meth:`authorization` does."""
        raise tasks_only()

    @override
    def when_token(self, callback: TokenCallback, timeout: float | None = None) -> None:
        """Not for use; raises as :meth:`authorization` does."""
        raise tasks_only()

    @override
    def authorization(self, timeout: float | None = None, min_ttl: float = 0.0) -> str:
        """Not for use, since a thread could not send the token request that it would wait for.

        Raises:
            LocalProtocolError: always.
        """
        raise tasks_only()


def tasks_only() -> LocalProtocolError:
    """What is raised in a thread that asks for a token where only a task can send the request."""
    return LocalProtocolError(
        "this BearerAuth has an async_exchange alone, which only an AsyncClient can await: use it there, or give it an"
        " exchange as well"
    )


class AsyncSources:
    """One source for each runtime, made when it is first needed. They share the coordinator of ``source``.

    ``lasting`` carries refreshes in threads, so that they do not end with the event loop in which they fell due. If it
    is None, they are carried in tasks.
    """

    def __init__(self, source: TokenSource, exchange: AsyncExchange, lasting: Exchange | None) -> None:
        self._source = source
        self._exchange = exchange
        self._lasting = lasting
        self._made: dict[Runtime, AsyncSource] = {}

    def current(self) -> AsyncSource:
        """The source whose callers wait in the event loop that runs.

        Raises:
            LocalProtocolError: ``source`` is closed.
        """
        self._source._check_open()
        which = runtime()
        # If two threads make one at the same time, both use the one that was kept first.
        return self._made.get(which) or self._made.setdefault(which, self._following(which))

    def _following(self, which: Runtime) -> AsyncSource:
        made = self._new(which)
        made._close_with(self._source)
        if self._lasting is not None:
            made._outlive_with(self._lasting)
        return made

    def _new(self, which: Runtime) -> AsyncSource:
        coordinator = self._source.coordinator
        grant = coordinator.machine.grant
        if which == "trio":
            from evertoken_transports.trio import TokenSource as TrioSource  # noqa: PLC0415 (trio is an extra)

            return TrioSource(grant, exchange=self._exchange, coordinator=coordinator)
        from evertoken_transports.asyncio import TokenSource as AsyncioSource  # noqa: PLC0415 (asyncio is big)

        return AsyncioSource(grant, exchange=self._exchange, coordinator=coordinator)
