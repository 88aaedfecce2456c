"""Where a token request goes, and the header fields with which every exchange sends it."""

from __future__ import annotations

import string
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from evertoken import TokenRequest
from evertoken_transports._exchange import ExchangeFailed

_DEFAULT_PORTS = {"http": 80, "https": 443}

_OUR_FIELDS = (("Accept-Encoding", "identity"), ("User-Agent", "evertoken"), ("Connection", "close"))
"""Without ``close``, a server keeps the connection open, and an answer that was cut short looks like a slow one."""


class Target(NamedTuple):
    """Where a request goes: the parts of a URL, as TLS, DNS and HTTP want them."""

    scheme: str
    host: str
    """For DNS and certificates: lower case, ASCII, an IPv6 address without its brackets."""
    port: int
    resource: str
    """The request target (RFC 9112 section 3.2.1): path and query, never empty, ASCII."""

    @classmethod
    def of(cls, url: str) -> Target:
        """The parts of ``url``, which is one that :class:`~evertoken.TokenEndpoint` accepted.

        Raises:
            ExchangeFailed: the host is not written in ASCII, as that class writes it.
        """
        parts = urlsplit(url)
        host = parts.hostname or ""
        if not host.isascii():
            raise ExchangeFailed(f"{host!r} is not written in ASCII: an international host name begins with xn--")
        path = quote(
            f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/", safe=string.punctuation
        )
        return cls(parts.scheme, host, parts.port or _DEFAULT_PORTS[parts.scheme], path)

    @property
    def authority(self) -> str:
        """Host and port for people, and for lists of hosts: the port is always there."""
        return f"{self._bracketed}:{self.port}"

    @property
    def host_field(self) -> str:
        """The value of ``Host`` (RFC 9110 section 7.2): the scheme's own port is left out."""
        return self._bracketed if self.port == _DEFAULT_PORTS[self.scheme] else self.authority

    @property
    def tls_name(self) -> str:
        """For SNI and certificates, which do not know the dot that ends a full name (RFC 6066 section 3)."""
        return self.host.rstrip(".")

    @property
    def url(self) -> str:
        """The whole URL, in ASCII."""
        return f"{self.scheme}://{self.host_field}{self.resource}"

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def fields_of(request: TokenRequest, target: Target) -> list[tuple[str, str]]:
    """The header fields of ``request`` as they are sent, ``Host`` first (RFC 9110 section 7.2)."""
    present = {name.lower() for name, _ in request.headers}
    ours = [(name, value) for name, value in _OUR_FIELDS if name.lower() not in present]
    host = [] if "host" in present else [("Host", target.host_field)]
    return [*host, *request.headers, *ours]
