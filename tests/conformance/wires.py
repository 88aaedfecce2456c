"""How requests travel: the library that carries token requests, and that makes the calls to the API."""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from typing_extensions import override

from evertoken import ClientCredentials, HttpResponse, TokenRequest
from evertoken_transports import Coordinator
from evertoken_transports._exchanges.on_asyncio import AsyncioExchange
from evertoken_transports._exchanges.on_trio import TrioExchange
from evertoken_transports.h11 import H11Exchange
from tests.conformance.runtimes import Source, outcome_of

__all__ = ("LIBRARIES", "Wire", "new_wire")

# Whatever belongs to httpx or httpx2, which have no class in common; and an exchange of either kind.
Theirs = Any
AnyExchange = Any

_NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Scenarios speak plain http to loopback. To load the machine's authorities for each would take most of the time."""

_H11_EXCHANGES: Mapping[str, AnyExchange] = MappingProxyType(
    {"threads": H11Exchange, "asyncio": AsyncioExchange, "trio": TrioExchange}
)

LIBRARIES = ("h11", "httpx", "httpx2")


class Wire(ABC):
    """One library in one runtime."""

    exchange: AnyExchange

    @abstractmethod
    async def call(self, source: Source, method: str, path: str, body: bytes) -> int:
        """The status of one API call that is signed, and repeated if its token was rejected."""

    @abstractmethod
    async def close(self) -> None:
        """Close what the calls have left open."""


def new_wire(library: str, runtime: str, grant: ClientCredentials, coordinator: Coordinator) -> Wire:
    """The wire of ``library`` for ``runtime``."""
    if library == "h11":
        return _H11Wire(runtime, grant, coordinator)
    return _HttpxWire(library, runtime, grant, coordinator)


class _H11Wire(Wire):
    """Signs calls by hand, as the documentation tells those who bring no client that we have an adapter for."""

    def __init__(self, runtime: str, grant: ClientCredentials, coordinator: Coordinator) -> None:
        self.exchange = _H11_EXCHANGES[runtime](clock=coordinator.clock, trust_env=False)
        self._api_base = grant.api_base
        self._clock = coordinator.clock

    @override
    async def call(self, source: Source, method: str, path: str, body: bytes) -> int:
        header = await self._header(source)
        answer = await self._sent(header, method, path, body)
        if source.answered(header, method, answer.status, answer.headers, answer.body, resendable=True):
            header = await self._header(source)
            answer = await self._sent(header, method, path, body)
            source.answered(header, method, answer.status, answer.headers, answer.body, resendable=False)
        return answer.status

    async def _header(self, source: Source) -> str:
        header = source.authorization_nowait()
        if header is None:
            header = await outcome_of(source.authorization())
        return header

    async def _sent(self, header: str, method: str, path: str, body: bytes) -> HttpResponse:
        headers = (("Authorization", header), ("Content-Length", str(len(body))))
        request = TokenRequest(0, method, f"{self._api_base}{path}", headers, body, self._clock() + 10)
        answer: HttpResponse = await outcome_of(self.exchange(request))
        return answer

    @override
    async def close(self) -> None:
        pass


class _HttpxWire(Wire):
    """Calls go through a client with ``BearerAuth``, in either of the two libraries."""

    def __init__(self, library: str, runtime: str, grant: ClientCredentials, coordinator: Coordinator) -> None:
        adapter: Theirs = import_module(f"evertoken_transports.{library}")
        client: Theirs = import_module(library)
        self._is_async = runtime != "threads"
        options = {"ssl_context": _NO_AUTHORITIES, "trust_env": False}
        exchange_class = adapter.AsyncHttpxExchange if self._is_async else adapter.HttpxExchange
        self.exchange = exchange_class(clock=coordinator.clock, **options)
        auth: Theirs = adapter.BearerAuth(grant, coordinator=coordinator, **options)
        client_class = client.AsyncClient if self._is_async else client.Client
        self._client: Theirs = client_class(auth=auth, base_url=auth.api_base, verify=_NO_AUTHORITIES, trust_env=False)

    @override
    async def call(self, source: Source, method: str, path: str, body: bytes) -> int:
        response: Theirs = await outcome_of(self._client.request(method, path, content=body))
        return int(response.status_code)

    @override
    async def close(self) -> None:
        await outcome_of(self._client.aclose() if self._is_async else self._client.close())
