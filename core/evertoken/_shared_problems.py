"""Problems that both a machine and a shared store report, so that both use the same words."""

from __future__ import annotations

from evertoken._problems import Problem, ProblemKind
from evertoken._states import BlockKind

LOST = Problem(
    ProblemKind.LOST,
    "No answer to the token request before its deadline",
    "Look at the network between this host and the token endpoint; Policy.request_timeout is how long an attempt has.",
)
ASKED_ELSEWHERE = Problem(
    ProblemKind.POSTPONED,
    "Another process that shares the store is asking for a token, or nobody may ask at the moment",
    "Wait: what it is given is found in the store. If this lasts, look at the process that asks, and at the endpoint.",
)
REPORTED: dict[BlockKind, Problem] = {
    BlockKind.LOCKED: Problem(
        ProblemKind.LOCKED,
        "An API call or a shared store reported that the account or this address is locked out",
        "Find out what sent bad or too many token requests before lifting the block.",
    ),
    BlockKind.REFUSED: Problem(
        ProblemKind.CREDENTIALS_REFUSED,
        "A shared store reports that the token endpoint refused these credentials",
        "Set the right credentials: another process has tried these already.",
    ),
    BlockKind.RATE_LIMITED: Problem(
        ProblemKind.RATE_LIMITED, "A shared store reports that the token endpoint's rate limit is reached"
    ),
}
