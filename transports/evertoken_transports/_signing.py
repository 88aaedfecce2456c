"""Which API calls are signed: the rule that adapters for HTTP libraries have in common, and how a breach is told."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from evertoken import ClientCredentials
from evertoken._checks import ascii_host, check_type, fault_of_url
from evertoken_transports._events import RequestNotSigned, log, tell
from evertoken_transports._source import BaseSource

__all__ = ("MOST_PEEKED", "TELLING", "Origin", "Origins", "origin_of")

TELLING = (400, 401)
"""The statuses whose bodies say something about locks and tokens. Of others the header lines suffice."""

MOST_PEEKED = 65_536
"""Bytes of such a body, before and after decompression, that are looked at. Error bodies are far shorter."""

_PORTS = {"http": 80, "https": 443}
_MOST_TOLD = 1_000
"""Origins that one auth object warns of."""


class Origin(NamedTuple):
    """Scheme, host in ASCII, and port (RFC 9110 section 4.3.1); no port where the scheme has none of its own either."""

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port in (None, _PORTS.get(self.scheme)) else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


def origin_of(url: str) -> Origin:
    """The origin of ``url``. One whose host or port cannot be read has an origin like no other."""
    try:
        parts = urlsplit(url)
        port = _PORTS.get(parts.scheme) if parts.port is None else parts.port
    except ValueError:
        return Origin("", "", None)
    return Origin(parts.scheme, ascii_host(parts.hostname or "") or "", port)


class Origins:
    """Where the tokens of ``grant`` may be sent: the origin of its ``api_base``, and ``origins``.

    Raises:
        TypeError: ``grant`` or ``origins`` are of another type.
        ValueError: there is no origin at all, or one of ``origins`` is none, or must not get a secret.
    """

    def __init__(self, grant: ClientCredentials, origins: Iterable[str]) -> None:
        check_type("grant", grant, ClientCredentials)
        self._allowed = frozenset(map(origin_of, _bases(grant.api_base, origins)))
        self._told: set[Origin] = set()

    def __contains__(self, url: str) -> bool:
        return origin_of(url) in self._allowed

    def allow(self, url: str, source: BaseSource) -> bool:
        """Whether a request to ``url`` is to be signed. If not, it is told: as a WARNING the first time."""
        if url in self:
            return True
        origin = origin_of(url)
        event = RequestNotSigned(str(origin), source.coordinator.machine.grant.api_base)
        is_news = origin not in self._told and len(self._told) < _MOST_TOLD
        self._told.add(origin)
        log(event, logging.WARNING if is_news else logging.DEBUG)
        if source.on_event is not None:
            tell(source.on_event, event)
        return False


def _bases(api_base: str | None, origins: Iterable[str]) -> list[str]:
    if not isinstance(origins, Iterable):
        raise TypeError(f"origins must be a tuple of texts, not {type(origins).__name__}")
    if isinstance(origins, str):
        raise ValueError('origins must be a tuple, as in origins=("https://files.example.com",), not one text')
    bases = [] if api_base is None else [api_base]
    for origin in origins:
        if (fault := fault_of_url("origins", origin)) is not None:
            raise ValueError(fault)
        parts = urlsplit(origin)
        if parts.path not in ("", "/") or parts.query:
            raise ValueError("origins: an origin is scheme, host and port, without a path or query")
        bases.append(origin)
    if not bases:
        raise ValueError("origins must name at least one: the grant has no api_base, so no call would ever be signed")
    return bases
