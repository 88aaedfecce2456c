"""The two messages that cross the wire: a token request out, an HTTP response in. Both hide what they carry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from evertoken._grant import ClientCredentials, Pairs
from evertoken._headers import Headers, header_pairs
from evertoken._secrecy import Unpicklable

__all__ = ("HttpResponse", "TokenRequest", "build_request")


@dataclass(frozen=True, slots=True)
class TokenRequest(Unpicklable):
    """One token request (RFC 6749 section 4.4.2), ready to be sent once, and the handle by which its outcome is told.

    ``deadline`` is a point in time on the machine's clock: past it the attempt is lost. See :meth:`seconds_left`.
    Send ``headers`` and ``body`` as they are, over a fresh connection, and follow no redirect. Of the answer's body,
    ``max_body`` bytes and one more are worth reading. Headers, body and ``secrets`` (what must be taken out of any text
    about this request) are hidden in the repr.

    ``owner`` is an object that was made with the machine. Ids begin at 1 in each machine, so by this alone does it know
    that an answer is to a request of its own, not to another client's and not to one of a process before it.
    """

    id: int
    method: str
    url: str
    headers: Pairs = field(repr=False)
    body: bytes = field(repr=False)
    deadline: float
    max_body: int = 65_536
    secrets: tuple[str, ...] = field(repr=False, default=(), compare=False)
    owner: object = field(repr=False, default=None, compare=False)

    def seconds_left(self, now: float) -> float:
        """Seconds until the deadline; 0.0 past it. ``now`` is what the clock of the machine, or its source, shows."""
        return max(0.0, self.deadline - now)


@dataclass(frozen=True, slots=True, init=False)
class HttpResponse(Unpicklable):
    """An HTTP response as it came: header names in any case, repeated lines kept, the body undecoded.

    ``headers`` may be given as pairs or as a mapping, such as the headers of an HTTP library, and are kept as pairs.
    The repr shows the status and the size, and neither headers nor body: an answer of the token endpoint holds a token.
    """

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def __init__(self, status: int, headers: Headers = (), body: bytes = b"") -> None:
        object.__setattr__(self, "status", status)
        object.__setattr__(self, "headers", header_pairs(headers))
        object.__setattr__(self, "body", body)

    def __repr__(self) -> str:
        return f"HttpResponse(status={self.status!r}, {len(self.headers)} headers, {len(self.body)} bytes)"


def build_request(
    grant: ClientCredentials, request_id: int, deadline: float, *, max_body: int = 65_536, owner: object = None
) -> TokenRequest:
    """The token request that ``grant`` makes. An embedder's own client authentication is called for each request."""
    message = grant.message()
    return TokenRequest(
        request_id,
        "POST",
        grant.endpoint.url,
        message.headers,
        message.body,
        deadline,
        max_body,
        message.secrets,
        owner,
    )
