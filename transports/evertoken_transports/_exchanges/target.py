"""Where a token request goes, and the header fields with which every exchange sends it."""

from __future__ import annotations

import string
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from evertoken import TokenRequest
from evertoken_transports._exchange import ExchangeFailed

_DEFAULT_PORTS = {"http": 80, "https": 443}

_OUR_FIELDS = (("Accept-Encoding", "identity"), ("User-Agent", "evertoken"), ("Connection", "close"))
"""What is sent unless the request has such a field of its own.

Answers are not decoded, so none is to be compressed. Without ``close``, a server keeps the connection open, and an
answer that was cut short looks like a slow one.
"""


class Target(NamedTuple):
    """Where a request goes: the parts of a URL, as TLS, DNS and HTTP want them."""

    scheme: str
    host: str
    """The host as DNS and certificates have it: lower case, ASCII, an IPv6 address without its brackets."""
    port: int
    resource: str
    """The request target (RFC 9112 section 3.2.1): path and query, never empty, ASCII."""

    @classmethod
    def of(cls, url: str) -> Target:
        """The parts of ``url``, which is one that :class:`~evertoken.TokenEndpoint` accepted.

        Raises:
            ExchangeFailed: the host is not written in ASCII, in which that class writes it.
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
        """Host and port, also where the port is the scheme's own: for people, and for lists such as ``NO_PROXY``."""
        return f"{self._bracketed}:{self.port}"

    @property
    def host_field(self) -> str:
        """The value of ``Host`` (RFC 9110 section 7.2), from which the scheme's own port is left out."""
        return self._bracketed if self.port == _DEFAULT_PORTS[self.scheme] else self.authority

    @property
    def tls_name(self) -> str:
        """The host for SNI and certificates, in which a full name does not end with a dot (RFC 6066 section 3)."""
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
