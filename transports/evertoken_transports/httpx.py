"""Signing the calls of httpx's clients, and sending token requests over httpx. Needs ``evertoken[httpx]``."""

from __future__ import annotations

from types import ModuleType
from typing import ClassVar

try:
    import httpx
except ImportError as error:
    raise ImportError("evertoken_transports.httpx needs httpx: pip install httpx", name=error.name) from error

from evertoken_transports._httpx.auth import BearerAuthBase
from evertoken_transports._httpx.beside import AsyncHttpxExchangeBase
from evertoken_transports._httpx.bodies import AsyncPeekedStream, PeekedStream
from evertoken_transports._httpx.exchange import HttpxExchangeBase

__all__ = ("AsyncHttpxExchange", "BearerAuth", "HttpxExchange")


class HttpxExchange(HttpxExchangeBase):
    """An exchange over httpx."""

    _library: ClassVar[ModuleType] = httpx


class AsyncHttpxExchange(AsyncHttpxExchangeBase):
    """An exchange over httpx for asyncio and trio."""

    _library: ClassVar[ModuleType] = httpx


class _Stream(PeekedStream, httpx.SyncByteStream):
    pass


class _AsyncStream(AsyncPeekedStream, httpx.AsyncByteStream):
    pass


class BearerAuth(BearerAuthBase[httpx.Request, httpx.Response], httpx.Auth):
    """Bearer authentication for ``httpx.Client`` and ``httpx.AsyncClient``."""

    _library: ClassVar[ModuleType] = httpx
    _exchange_class = HttpxExchange
    _async_exchange_class = AsyncHttpxExchange
    _stream_class = _Stream
    _async_stream_class = _AsyncStream
