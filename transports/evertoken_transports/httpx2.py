"""Signing the calls of an ``httpx2.Client``, and sending token requests over httpx2. Needs ``evertoken[httpx2]``."""

from __future__ import annotations

from types import ModuleType
from typing import ClassVar

try:
    import httpx2
except ImportError as error:
    raise ImportError(
        "evertoken_transports.httpx2 needs httpx2: pip install 'evertoken[httpx2]'", name=error.name
    ) from error

from evertoken_transports._httpx_auth import BearerAuthBase
from evertoken_transports._httpx_bodies import PeekedStream
from evertoken_transports._httpx_exchange import HttpxExchangeBase

__all__ = ("BearerAuth", "HttpxExchange")


class HttpxExchange(HttpxExchangeBase):
    """An exchange over httpx2."""

    _library: ClassVar[ModuleType] = httpx2


class _Stream(PeekedStream, httpx2.SyncByteStream):
    pass


class BearerAuth(BearerAuthBase[httpx2.Request, httpx2.Response], httpx2.Auth):
    """Bearer authentication for ``httpx2.Client``."""

    _library: ClassVar[ModuleType] = httpx2
    _exchange_class = HttpxExchange
    _stream_class = _Stream
