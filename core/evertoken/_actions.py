"""What the machine answers: the two actions of ``poll``, and the verdict on a rejected token."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ("Rejection", "SendReason", "SendRequest", "Wait", "WaitReason")


@enum.unique
class SendReason(enum.Enum):
    """Why a token request may be started."""

    NO_TOKEN = "no token"
    """None was ever granted."""
    REFRESH_DUE = "refresh due"
    """The token in hand is still good, and the next one is due; or a caller asks for more remaining life."""
    EXPIRED = "expired"
    """The token in hand is no longer handed out."""
    REJECTED = "rejected"
    """An API rejected the token, and it was dropped; or the machine was restored from a snapshot without it."""


@enum.unique
class WaitReason(enum.Enum):
    """What has to pass before a token request may be started."""

    RESPONSE = "response"
    """An attempt is in flight; ``until`` is its deadline."""
    REFRESH = "refresh"
    """The token is good; ``until`` is when the next one is due."""
    RETRY = "retry"
    """Back-off after failures."""
    BUDGET = "budget"
    """The budget is spent; ``until`` is its next refill."""
    UNBLOCK = "unblock"
    """A block stands; ``until`` is when the last one is over."""


@dataclass(frozen=True, slots=True)
class SendRequest:
    """A token request may be started now, by whoever wants a token. A permission, not an order."""

    reason: SendReason


@dataclass(frozen=True, slots=True)
class Wait:
    """No token request may be started before ``until``, a point in time that always lies ahead."""

    until: float
    reason: WaitReason


@enum.unique
class Rejection(enum.Enum):
    """What became of an API's word that a token is bad."""

    DROPPED = "dropped"
    """Believed: the token is gone, and another may be asked for at once or is on its way."""
    SUPERSEDED = "superseded"
    """It was not about the token in hand: that one is another, or expired, or was dropped already."""
    KEPT = "kept"
    """Not believed now: the evidence is thin, it came too soon after the last, or no other token could be had."""
