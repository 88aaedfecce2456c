"""Looking into the body of an answer of httpx or httpx2 without taking it away from the caller."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from typing import Any, cast

from evertoken_transports._signing import MOST_PEEKED

# A SyncByteStream or AsyncByteStream of httpx or httpx2.
Stream = Any


class _Peeked:
    """What the two streams below have in common: the stream underneath, and the chunks that were read of it already.

    An error that came up while peeking is raised again for the caller who reads, after the same bytes. A stream that
    has come to its end is closed at once, so that its connection is free for others.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._chunks: list[bytes] = []
        self._error: Exception | None = None
        self._is_closed = False

    @property
    def peeked(self) -> bytes:
        """The bytes that have been read by ``peek``."""
        return b"".join(self._chunks)

    @property
    def elapsed(self) -> object:
        """How long the call took, which httpx2 reads from the stream; None under httpx."""
        return getattr(self._stream, "elapsed", None)


class PeekedStream(_Peeked):
    """A response's stream whose beginning has been read already; who reads it later gets every byte nonetheless."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self._rest: Iterator[bytes] = iter(stream)

    def peek(self, most: int) -> None:
        """Read until there are ``most`` bytes or there is no more."""
        try:
            self._read(most)
        except Exception as error:  # noqa: BLE001 (kept for the reader)
            self._error = error

    def _read(self, most: int) -> None:
        size = 0
        for chunk in self._rest:
            self._chunks.append(chunk)
            size += len(chunk)
            if size >= most:
                return
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if self._error is not None:
            raise self._error
        yield from self._rest

    def forget_rest(self, content: bytes) -> None:
        """Let go of the connection; from now on ``content`` is the whole stream."""
        self.close()
        self._chunks, self._rest, self._error = [content], iter(()), None

    def close(self) -> None:
        """Close the stream underneath, once."""
        if not self._is_closed:
            self._is_closed = True
            self._stream.close()


class AsyncPeekedStream(_Peeked):
    """A response's stream as :class:`PeekedStream` is one, for the asynchronous clients."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self._rest: AsyncIterator[bytes] | None = aiter(stream)

    async def peek(self, most: int) -> None:
        """Read until there are ``most`` bytes or there is no more."""
        try:
            await self._read(most)
        except Exception as error:  # noqa: BLE001 (kept for the reader)
            self._error = error

    async def _read(self, most: int) -> None:
        size = 0
        if self._rest is not None:
            async for chunk in self._rest:
                self._chunks.append(chunk)
                size += len(chunk)
                if size >= most:
                    return
        await self.aclose()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if self._error is not None:
            raise self._error
        if self._rest is not None:
            async for chunk in self._rest:
                yield chunk

    async def forget_rest(self, content: bytes) -> None:
        """Let go of the connection; from now on ``content`` is the whole stream."""
        await self.aclose()
        self._chunks, self._rest, self._error = [content], None, None

    async def aclose(self) -> None:
        """Close the stream underneath, once.

        A generator that was read half-way is closed here: the garbage collector might close it in no event loop.
        """
        if not self._is_closed:
            self._is_closed = True
            try:
                if isinstance(self._rest, AsyncGenerator):
                    await cast("AsyncGenerator[bytes, None]", self._rest).aclose()
            finally:
                await self._stream.aclose()


def peeked_content(raw: bytes, encodings: Iterable[str]) -> bytes:
    """The beginning of a body that arrived as ``raw``, decompressed: at most ``MOST_PEEKED`` bytes.

    ``encodings`` are the lines of ``Content-Encoding``. Where they name several codings, or one that :func:`decoded`
    does not know, nothing is returned.
    """
    codings = [coding.strip().lower() for line in encodings for coding in line.split(",")]
    named = [coding for coding in codings if coding not in ("", "identity")]
    if not named:
        return raw[:MOST_PEEKED]
    return decoded(raw, named[0]) if len(named) == 1 else b""


def decoded(raw: bytes, coding: str) -> bytes:
    """``raw`` decompressed, at most ``MOST_PEEKED`` bytes of it; nothing if it is not what ``coding`` says.

    gzip and deflate (RFC 9110 section 8.4.1) are known. Some servers send deflate without the zlib wrapper, which is
    read as well.
    """
    windows = {"gzip": (31,), "x-gzip": (31,), "deflate": (15, -15)}.get(coding, ())
    for window in windows:
        try:
            return zlib.decompressobj(window).decompress(raw, MOST_PEEKED)
        except zlib.error:
            continue
    return b""
