"""Signing the calls of httpx2's clients, and sending token requests over httpx2. Needs ``evertoken[httpx2]``."""

from __future__ import annotations

from types import ModuleType
from typing import ClassVar

try:
    import httpx2
except ImportError as error:
    raise ImportError("evertoken_transports.httpx2 needs httpx2: pip install httpx2", name=error.name) from error

from evertoken_transports._httpx.auth import BearerAuthBase
from evertoken_transports._httpx.beside import AsyncHttpxExchangeBase
from evertoken_transports._httpx.bodies import AsyncPeekedStream, PeekedStream
from evertoken_transports._httpx.exchange import HttpxExchangeBase

__all__ = ("AsyncHttpxExchange", "BearerAuth", "HttpxExchange")


class HttpxExchange(HttpxExchangeBase):
    """An exchange over httpx2."""

    _library: ClassVar[ModuleType] = httpx2


class AsyncHttpxExchange(AsyncHttpxExchangeBase):
    """An exchange over httpx2 for asyncio and trio."""

    _library: ClassVar[ModuleType] = httpx2


class _Stream(PeekedStream, httpx2.SyncByteStream):
    pass


class _AsyncStream(AsyncPeekedStream, httpx2.AsyncByteStream):
    pass


class BearerAuth(BearerAuthBase[httpx2.Request, httpx2.Response], httpx2.Auth):
    """Bearer authentication for ``httpx2.Client`` and ``httpx2.AsyncClient``."""

    _library: ClassVar[ModuleType] = httpx2
    _exchange_class = HttpxExchange
    _async_exchange_class = AsyncHttpxExchange
    _stream_class = _Stream
    _async_stream_class = _AsyncStream
