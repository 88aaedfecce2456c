"""The rules that a driver of a machine has to keep, and what is said of one that it broke."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from typing_extensions import override


def when(moment: float) -> str:
    """A moment as messages tell it, to the millisecond."""
    return f"{moment:.3f}".rstrip("0").rstrip(".") + " s"


@enum.unique
class DriverRule(enum.Enum):
    """What whoever drives a machine has to do. The value of each is the rule in words."""

    CLOCK = "the clock never runs backwards"
    """The machine takes an earlier moment for the latest it knows: it then stands still until the clock is there."""
    ALLOWED = "a request is started only when poll says SendRequest"
    CLAIMED = "only a request that stands claimed is sent"
    """A request that nobody has claimed is not charged to the budget, and waits for no block to end."""
    SENT_ONCE = "a request is sent once"
    """The machine decides about repetition: it knows the back-off, the budget and the blocks."""
    IN_TIME = "a claimed request is sent before its deadline, or given up"
    """From its deadline on the machine counts a request as lost, and another may be under way."""
    TOLD = "what came of a request is told to the machine"
    """Untold, a failure is noticed at the deadline only, and a stated wait not at all."""
    AS_IT_CAME = "an answer is told as an answer, and a failure as a failure"
    """A 429 that is told as a failure has lost its Retry-After."""
    ONE_OUTCOME = "a request has one outcome"
    """Whoever tells of a failure has to close the connection first: a token that comes after all is thrown away."""
    OWN_MACHINE = "an answer is told to the machine that made the request"
    """Otherwise one client would hand out another's token."""
    ASKED_FOR = "a token that somebody wants is asked for as soon as it may be"
    SERVED = "whoever can be served is served"
    SNAPSHOT = "a process that begins again goes on from its snapshot"
    """Otherwise each crash empties what is known of blocks, and fills the budget."""
    ELAPSED = "a restored machine is told how old its snapshot is"
    """Too small a number makes a dead token a live one."""
    HEADER = "a call carries the header that the machine hands out at that moment"
    REJECTED = "an answer that may be about the token is told to the machine"
    EVIDENCE = "the machine is told what the API said, and no more"
    """Not every 401 is about the token; a token that is dropped for SCA costs a request and helps nobody."""
    LOCKED = "an API's word that the account is locked is told to the machine"


@dataclass(frozen=True, slots=True, repr=False)
class BrokenRule:
    """One breach: the ``rule``, the moment (seconds on the simulation's clock), who did what, and what to do instead.

    Its text says all of it in words, and holds no token and no secret.
    """

    rule: DriverRule
    now: float
    driver: str
    did: str
    should: str

    @override
    def __str__(self) -> str:
        return (
            f"{self.driver} broke a rule at {when(self.now)}: {self.rule.value} ({self.rule.name})."
            f" What it did: {self.did}. What it should do: {self.should}."
        )

    @override
    def __repr__(self) -> str:
        return f"<{self}>"
