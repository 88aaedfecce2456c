"""The two messages that cross the wire: a token request out, an HTTP response in. Both hide what they carry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from evertoken._grant import ClientCredentials, Pairs
from evertoken._secrecy import Unpicklable

__all__ = ("HttpResponse", "TokenRequest", "build_request")


@dataclass(frozen=True, slots=True)
class TokenRequest(Unpicklable):
    """One token request (RFC 6749 section 4.4.2), ready to be sent once, and the handle by which its outcome is told.

    ``deadline`` is a point in time on the machine's clock: past it the attempt counts as lost. Send ``headers`` and
    ``body`` as they are, over a fresh connection, and follow no redirect. Headers, body and ``secrets`` (what must be
    taken out of any text about this request) are hidden in the repr.
    """

    id: int
    method: str
    url: str
    headers: Pairs = field(repr=False)
    body: bytes = field(repr=False)
    deadline: float
    secrets: tuple[str, ...] = field(repr=False, default=(), compare=False)


@dataclass(frozen=True, slots=True)
class HttpResponse(Unpicklable):
    """An HTTP response as it came: header names in any case, repeated lines kept, the body undecoded.

    Its repr shows the status and the size, and neither headers nor body: an answer of the token endpoint holds a token.
    """

    status: int
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""

    def __repr__(self) -> str:
        return f"HttpResponse(status={self.status!r}, {len(self.headers)} headers, {len(self.body)} bytes)"


def build_request(grant: ClientCredentials, request_id: int, deadline: float) -> TokenRequest:
    """The token request that ``grant`` makes, with client authentication built fresh."""
    parts = grant.endpoint.authentication.authenticate(grant)
    body = urlencode((*grant.form(), *parts.form)).encode("ascii")
    headers = (
        ("Accept", "application/json"),
        ("Accept-Encoding", "identity"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Content-Length", str(len(body))),
        *parts.headers,
    )
    proofs = tuple(value for _, value in (*parts.headers, *parts.form) if value != grant.client_id)
    bare = tuple(value.partition(" ")[2] for value in proofs if " " in value)
    return TokenRequest(
        request_id, "POST", grant.endpoint.url, headers, body, deadline, (*proofs, *bare, *grant.secrets())
    )
