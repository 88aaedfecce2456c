"""What the server writes down: tokens and arrivals as values without secrets, the evidence for every verdict."""

from __future__ import annotations

import enum
from typing import NamedTuple

from evertoken.testing.server._faults import ApiFault, TokenFault


@enum.unique
class Route(enum.Enum):
    """Where a request was bound for."""

    TOKEN = "token"
    """The token endpoint, ``/v2.01/oauth/token``."""
    API = "api"
    """``/v2.01/<client id>/...``, or the same under ``/V3.0``."""
    OTHER = "other"
    """Anything else; answered 404."""


@enum.unique
class AuthorizationKind(enum.Enum):
    """What the Authorization header held."""

    NONE = "none"
    """There was no such header."""
    BASIC = "basic"
    """Basic, with the client id and one of its API keys."""
    WRONG_BASIC = "wrong basic"
    """Basic, with anything else."""
    BEARER = "bearer"
    """Bearer; the token is judged apart."""
    OTHER = "other"
    """Another scheme."""


@enum.unique
class TokenTruth(enum.Enum):
    """What the server knows of a token at one moment."""

    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"
    UNKNOWN = "unknown"
    """It was never issued, or its issue lies ahead."""


# Bound once: before Python 3.12, reading an enum member through its class is slow.
VALID = TokenTruth.VALID
TOKEN = Route.TOKEN
API = Route.API
BASIC = AuthorizationKind.BASIC
BEARER = AuthorizationKind.BEARER


class TokenRecord(NamedTuple):
    """One token that was issued. The text of the token is not in it. Times are on the clock of ``now``."""

    number: int
    """1 for the first token, and so on."""
    issued_at: float
    expires_at: float
    revoked_at: float | None = None

    def truth(self, now: float) -> TokenTruth:
        """The state of this token at ``now``; a revoked one counts as revoked until it would have expired."""
        if now < self.issued_at:
            return TokenTruth.UNKNOWN
        if now >= self.expires_at:
            return TokenTruth.EXPIRED
        revoked = self.revoked_at is not None and now >= self.revoked_at
        return TokenTruth.REVOKED if revoked else VALID


class Arrival(NamedTuple):
    """One request that arrived, and what became of it. Holds no secret: tokens by number, the path without its query.

    At the token endpoint ``token_number`` is the token that was issued (or repeated), whether or not the answer got
    through, and None if none was. At the API it is the token that the call carried, None if it was unknown or absent.
    """

    seq: int
    """0 for the first request of any kind."""
    now: float
    """The moment of arrival."""
    route: Route
    method: str
    path: str
    status: int | None
    """The status of the answer; None where the connection was closed or left hanging."""
    answered_at: float | None
    """When the first byte of the answer left, or the connection was closed; None if neither ever happened."""
    fault: TokenFault | ApiFault | None
    """The fault that the script held for this request; None at other routes."""
    authorization: AuthorizationKind
    token_number: int | None = None
    token_truth: TokenTruth | None = None
    """At the API: what the token was at ``now``; None if the call carried none."""
    detail: str = ""
    """Why the answer is what it is, where that is not plain from the rest."""
    retry_after: int | None = None
    """The wait that the answer stated, in seconds."""
    request_id: str | None = None
    """The header X-Request-Id, or else Idempotency-Key, by which the attempts of one call can be told from others."""
    applied: bool = False
    """Whether an API call was carried out."""
    rejected_before: bool = False
    """Whether the API had answered 401 to this very token before (SCA apart). Callers who run side by side may send a
    token just after another caller has seen it rejected, so this is not yet a replay."""
    replayed: bool = False
    """Whether this call, by its ``request_id``, was sent again with the token that it had been answered 401 for."""
