"""Tools for tests: an authorization server as a pure model, and the scripts that it performs.

    server = AuthorizationServer("client", "key", script=Script(lifetime=60), token_prefix="marked")
    answer = server.handle(now, ServerRequest("POST", "/v2.01/oauth/token", headers, body))

``evertoken_transports.emulator`` puts the model behind a loopback port; a simulation calls it with virtual time.
"""

from __future__ import annotations

from evertoken.testing._answers import Delivery, ServerAnswer, ServerRequest
from evertoken.testing._arrivals import Arrival, AuthorizationKind, Route, TokenRecord, TokenTruth
from evertoken.testing._faults import ApiFault, ScriptError, TokenFault
from evertoken.testing._script import (
    MANGOPAY_RATE_LIMITS,
    ApiBehaviour,
    Overuse,
    Phase,
    RateLimit,
    Script,
    TokenBehaviour,
)
from evertoken.testing._server import AuthorizationServer

__all__ = (
    "MANGOPAY_RATE_LIMITS",
    "ApiBehaviour",
    "ApiFault",
    "Arrival",
    "AuthorizationKind",
    "AuthorizationServer",
    "Delivery",
    "Overuse",
    "Phase",
    "RateLimit",
    "Route",
    "Script",
    "ScriptError",
    "ServerAnswer",
    "ServerRequest",
    "TokenBehaviour",
    "TokenFault",
    "TokenRecord",
    "TokenTruth",
)
