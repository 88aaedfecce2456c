"""What callers catch, and what embedders see when they misuse the machine.

Each says that it is of the package and not of this module: a traceback then names it as it is imported.
"""

from __future__ import annotations

import math

from evertoken._problems import Problem, ProblemKind

__all__ = (
    "CredentialsRefused",
    "EndpointLocked",
    "LifetimeTooShort",
    "LocalProtocolError",
    "RateLimited",
    "TokenUnavailable",
    "unavailable",
)


class LocalProtocolError(RuntimeError):
    """The embedding code did something that the machine's grammar does not allow, such as a claim against ``poll``.

    It is a bug in the code that drives the machine, never the doing of a server. The state is unchanged.
    """

    __module__ = "evertoken"


class TokenUnavailable(Exception):
    """There is no usable token, and waiting longer would not help within the time that the caller has.

    Attributes:
        problem: why, as a :class:`~evertoken.Problem`; safe to log.
        retry_after: seconds until another token request can start; 0.0 when one can, or when one is under way.

    Every caller gets an instance of its own. Picklable. Holds no secret.
    """

    __module__ = "evertoken"

    problem: Problem
    retry_after: float

    def __init__(self, problem: Problem, retry_after: float = 0.0) -> None:
        super().__init__(problem, retry_after)
        self.problem = problem
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.problem} {_when(self.retry_after)}"


class EndpointLocked(TokenUnavailable):
    """The token endpoint has locked the account or this address out. Do not retry before ``retry_after``."""

    __module__ = "evertoken"


class CredentialsRefused(TokenUnavailable):
    """The token endpoint refused the credentials, or the request as such. New credentials lift this."""

    __module__ = "evertoken"


class RateLimited(TokenUnavailable):
    """The token endpoint's rate limit is reached, for longer than the caller can wait."""

    __module__ = "evertoken"


class LifetimeTooShort(TokenUnavailable):
    """``min_ttl`` asks for more remaining life than this endpoint's tokens have to give."""

    __module__ = "evertoken"


_CLASSES: dict[ProblemKind, type[TokenUnavailable]] = {
    ProblemKind.LOCKED: EndpointLocked,
    ProblemKind.CREDENTIALS_REFUSED: CredentialsRefused,
    ProblemKind.REQUEST_REFUSED: CredentialsRefused,
    ProblemKind.RATE_LIMITED: RateLimited,
    ProblemKind.LIFETIME_TOO_SHORT: LifetimeTooShort,
}


def unavailable(problem: Problem, retry_after: float = 0.0) -> TokenUnavailable:
    """A new error of the class that fits ``problem``; ``retry_after`` is in seconds."""
    return _CLASSES.get(problem.kind, TokenUnavailable)(problem, retry_after)


def _when(retry_after: float) -> str:
    if retry_after <= 0.0:
        return "It may be asked for again at any time."
    return f"No token request is made for another {math.ceil(retry_after * 10) / 10:.1f} s."
