"""evertoken over threads, tasks and HTTP: everything that touches a socket, a clock, a thread or a log.

``Coordinator`` and the events are here; the rest is imported from its module, so that nothing is loaded unasked:
``evertoken_transports.threads``, ``.httpx``, ``.httpx2``, ``.h11``, ``.emulator``.
"""

from __future__ import annotations

from evertoken_transports._clock import Clock, suspend_aware_clock, watchful_clock
from evertoken_transports._coordinator import Coordinator
from evertoken_transports._events import (
    CredentialsReplaced,
    EndpointBlocked,
    EndpointUnblocked,
    Event,
    RequestAbandoned,
    RequestFailed,
    RequestNotSigned,
    RequestStarted,
    StoreReported,
    TokenDropped,
    TokenGranted,
    TokenKept,
)
from evertoken_transports._exchange import AsyncExchange, Exchange, NotNow
from evertoken_transports._token import Token

__all__ = (
    "AsyncExchange",
    "Clock",
    "Coordinator",
    "CredentialsReplaced",
    "EndpointBlocked",
    "EndpointUnblocked",
    "Event",
    "Exchange",
    "NotNow",
    "RequestAbandoned",
    "RequestFailed",
    "RequestNotSigned",
    "RequestStarted",
    "StoreReported",
    "Token",
    "TokenDropped",
    "TokenGranted",
    "TokenKept",
    "suspend_aware_clock",
    "watchful_clock",
)
