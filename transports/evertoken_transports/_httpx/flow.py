"""One call of an httpx or httpx2 client: it is signed, its answer is read, and it is repeated if need be.

What ``BearerAuth`` promises is decided here, in one place for blocking and asynchronous clients.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from evertoken import TokenUnavailable
from evertoken._secrecy import Unpicklable
from evertoken_transports._async_source import AsyncSource
from evertoken_transports._httpx.bodies import AsyncPeekedStream, PeekedStream, peeked_content
from evertoken_transports._signing import MOST_PEEKED, PORTS, TELLING, Origin, Origins
from evertoken_transports._threads import may_start_threads
from evertoken_transports.threads import TokenSource

# A class of httpx or of httpx2.
Request = Any
Response = Any
Url = Any


def _origin_of(url: Url) -> Origin:
    """The origin of ``url``, with its port also where the libraries leave it out, as they often do the scheme's own."""
    port = PORTS.get(url.scheme) if url.port is None else url.port
    return Origin(url.scheme, url.raw_host.decode("ascii", "replace"), port)


@dataclass(frozen=True, slots=True)
class _Signature(Unpicklable):
    """The Authorization value that one request was given. The repr, which tracebacks may show, hides it."""

    value: str = field(repr=False)

    def put_on(self, request: Request) -> Request:
        request.headers["Authorization"] = self.value
        return request

    def is_on(self, request: Request) -> bool:
        return bool(request.headers.get("Authorization") == self.value)


@dataclass(frozen=True, slots=True)
class Flow:
    """Signs calls, and reads what their answers say about the token. Keeps nothing of a call that it has signed.

    ``library`` is httpx or httpx2, and the stream classes are streams of it. ``async_source`` returns the source that
    waits in the event loop that runs. The other fields are those of ``BearerAuth``. :meth:`run` and :meth:`arun` differ
    in nothing but how they wait.
    """

    library: ModuleType
    stream_class: type[PeekedStream]
    async_stream_class: type[AsyncPeekedStream]
    source: TokenSource
    async_source: Callable[[], AsyncSource]
    origins: Origins
    timeout: float | None
    replay: bool

    def run(self, request: Request) -> Generator[Request, Response, None]:
        """Yield each request to send, and be sent its answer. Holds no lock meanwhile; may be dropped at any point."""
        if not self.origins.allow(_origin_of(request.url), self.source):
            yield request
            return
        signature = self._signature()
        response = yield signature.put_on(request)
        if not (self._is_news(signature, response) and self._answered(signature, response, self._peek(response))):
            return
        try:
            another = self._signature()
        except TokenUnavailable:
            return
        if another != signature:
            # After a redirect this is the last request. The one that the caller made may have had its effect already.
            request = response.request
            self._let_go(response)
            response = yield another.put_on(request)
            # The caller gets this answer, whatever it is. What it says about the token is told on for everybody.
            if self._is_news(another, response):
                self._answered(another, response, self._peek(response))

    async def arun(self, request: Request) -> AsyncGenerator[Request, Response]:
        """The same as :meth:`run` for the asynchronous clients."""
        if not self.origins.allow(_origin_of(request.url), self.source):
            yield request
            return
        signature = await self._asignature()
        response = yield signature.put_on(request)
        if not (
            self._is_news(signature, response) and self._answered(signature, response, await self._apeek(response))
        ):
            return
        try:
            another = await self._asignature()
        except TokenUnavailable:
            return
        if another != signature:
            request = response.request
            await self._alet_go(response)
            response = yield another.put_on(request)
            if self._is_news(another, response):
                self._answered(another, response, await self._apeek(response))

    def _signature(self) -> _Signature:
        # Where no thread can be started to fetch the next token beside the callers, one of them has to wait for it.
        header = self.source.authorization_nowait() if may_start_threads() else None
        return _Signature(header or self.source.authorization(self.timeout))

    async def _asignature(self) -> _Signature:
        source = self.async_source()
        return _Signature(source.authorization_nowait() or await source.authorization(self.timeout))

    def _is_news(self, signature: _Signature, response: Response) -> bool:
        """Whether ``response`` may say something new of our token: it answers a request of our API that carried it.

        What holds for most calls is looked at first, since it costs least: the call has worked with a token that is
        known to work.
        """
        status, request = response.status_code, response.request
        if (signature.value == self.source._proven) if 200 <= status < 300 else not 400 <= status <= 499:
            return False
        return signature.is_on(request) and _origin_of(request.url) in self.origins

    def _peek(self, response: Response) -> bytes:
        if response.status_code not in TELLING:
            return b""
        if (content := self._read_already(response)) is not None:
            return content
        response.stream = self.stream_class(response.stream)
        response.stream.peek(MOST_PEEKED)
        return _content(response)

    async def _apeek(self, response: Response) -> bytes:
        if response.status_code not in TELLING:
            return b""
        if (content := self._read_already(response)) is not None:
            return content
        response.stream = self.async_stream_class(response.stream)
        await response.stream.peek(MOST_PEEKED)
        return _content(response)

    def _read_already(self, response: Response) -> bytes | None:
        """The beginning of the body, if a hook of the client has read it; empty if a hook has used it up; else None."""
        try:
            return bytes(response.content[:MOST_PEEKED])
        except self.library.ResponseNotRead:
            return b"" if response.is_stream_consumed or response.is_closed else None

    def _answered(self, signature: _Signature, response: Response, content: bytes) -> bool:
        """Tell the source what the answer says. Returns whether to repeat the call, if another token can be had."""
        request = response.request
        return self.source.answered(
            signature.value,
            request.method,
            response.status_code,
            response.headers.multi_items(),
            content,
            resendable=self.replay and isinstance(request.stream, self.library.ByteStream),
        )

    def _let_go(self, response: Response) -> None:
        """Free the connection of an answer that goes into the history, so that the client reads no more of its body."""
        if isinstance(response.stream, PeekedStream):
            response.stream.forget_rest(_content_alone(response))

    async def _alet_go(self, response: Response) -> None:
        if isinstance(response.stream, AsyncPeekedStream):
            await response.stream.forget_rest(_content_alone(response))


def _content(response: Response) -> bytes:
    return peeked_content(response.stream.peeked, response.headers.get_list("Content-Encoding"))


def _content_alone(response: Response) -> bytes:
    """What has been seen of the body, decompressed; the header that says how to decompress it is taken away."""
    content = _content(response)
    response.headers.pop("Content-Encoding", None)
    return content
