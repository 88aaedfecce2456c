"""All that ``evertoken_transports`` offers."""

from __future__ import annotations

from evertoken_transports._clock import Clock, suspend_aware_clock, watchful_clock
from evertoken_transports._coordinator import Coordinator
from evertoken_transports._events import (
    CallFailed,
    CallWaited,
    CredentialsReplaced,
    EndpointBlocked,
    EndpointUnblocked,
    Event,
    RequestEnded,
    RequestFailed,
    RequestNotSigned,
    RequestStarted,
    StoreLooked,
    StoreReported,
    TokenDropped,
    TokenGranted,
    TokenKept,
)
from evertoken_transports._exchange import AsyncExchange, Exchange, NotNow
from evertoken_transports._readiness import Readiness
from evertoken_transports._token import Token

__all__ = (
    "AsyncExchange",
    "CallFailed",
    "CallWaited",
    "Clock",
    "Coordinator",
    "CredentialsReplaced",
    "EndpointBlocked",
    "EndpointUnblocked",
    "Event",
    "Exchange",
    "NotNow",
    "Readiness",
    "RequestEnded",
    "RequestFailed",
    "RequestNotSigned",
    "RequestStarted",
    "StoreLooked",
    "StoreReported",
    "Token",
    "TokenDropped",
    "TokenGranted",
    "TokenKept",
    "suspend_aware_clock",
    "watchful_clock",
)
