"""Signing the calls of an ``httpx.Client``, and sending token requests over httpx. Needs ``evertoken[httpx]``."""

from __future__ import annotations

from types import ModuleType
from typing import ClassVar

try:
    import httpx
except ImportError as error:
    raise ImportError(
        "evertoken_transports.httpx needs httpx: pip install 'evertoken[httpx]'", name=error.name
    ) from error

from evertoken_transports._httpx_auth import BearerAuthBase
from evertoken_transports._httpx_bodies import PeekedStream
from evertoken_transports._httpx_exchange import HttpxExchangeBase

__all__ = ("BearerAuth", "HttpxExchange")


class HttpxExchange(HttpxExchangeBase):
    """An exchange over httpx."""

    _library: ClassVar[ModuleType] = httpx


class _Stream(PeekedStream, httpx.SyncByteStream):
    pass


class BearerAuth(BearerAuthBase[httpx.Request, httpx.Response], httpx.Auth):
    """Bearer authentication for ``httpx.Client``."""

    _library: ClassVar[ModuleType] = httpx
    _exchange_class = HttpxExchange
    _stream_class = _Stream
