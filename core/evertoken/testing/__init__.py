"""Tools for tests: an authorization server as a pure model, a hostile world in virtual time, an explorer of all states.

    server = AuthorizationServer("client", "key", script=Script(lifetime=60), token_prefix="marked")
    answer = server.handle(now, ServerRequest("POST", "/v2.01/oauth/token", headers, body))

``evertoken_transports.emulator`` puts the model behind a loopback port; a simulation calls it with virtual time.

    report = simulate(0)                             one seed: clients, faults, policies and all
    report = swarm(range(1_000))                     many, and what never came about in them
    found = explore(policy, max_states=50_000)       every state near the start, with an embedder's own policy
    check = DriverCheck(clock)                       which rule an embedder's driver broke, in words

Worlds and explorer hold the real machine to ``broken_in`` and ``broken_by`` in every state and after every step; an
embedder's own simulator can do the same, with ``enabled_inputs`` for what may happen next.
"""

from __future__ import annotations

from evertoken.testing._canonical import canonical
from evertoken.testing._enabled import EVERY_ANSWER, Alphabet, enabled_inputs
from evertoken.testing._explorer import SMALL_POLICY, Exploration, Violation, explore
from evertoken.testing._random import Random
from evertoken.testing._restart import Restart
from evertoken.testing._trace import Entry, Trace, replay
from evertoken.testing.driver._driver import DriverCheck
from evertoken.testing.driver._driver_rules import BrokenRule, DriverRule
from evertoken.testing.laws._laws import broken_by, liveness_bound
from evertoken.testing.laws._meant import ServerLaws
from evertoken.testing.laws._state_laws import broken_in
from evertoken.testing.server._answers import Delivery, ServerAnswer, ServerRequest
from evertoken.testing.server._arrivals import Arrival, AuthorizationKind, Route, TokenRecord, TokenTruth
from evertoken.testing.server._faults import ApiFault, ScriptError, TokenFault
from evertoken.testing.server._script import (
    MANGOPAY_RATE_LIMITS,
    ApiBehaviour,
    Overuse,
    Phase,
    RateLimit,
    Script,
    TokenBehaviour,
)
from evertoken.testing.server._server import AuthorizationServer
from evertoken.testing.world._checks import SITUATIONS, Broken
from evertoken.testing.world._scenario import Calls, ClientPlan, Scenario, WorldFault, draw_scenario
from evertoken.testing.world._swarm import SwarmReport, explain_failure, law_of, shrink, simulate, swarm
from evertoken.testing.world._world import Report, World

__all__ = (
    "EVERY_ANSWER",
    "MANGOPAY_RATE_LIMITS",
    "SITUATIONS",
    "SMALL_POLICY",
    "Alphabet",
    "ApiBehaviour",
    "ApiFault",
    "Arrival",
    "AuthorizationKind",
    "AuthorizationServer",
    "Broken",
    "BrokenRule",
    "Calls",
    "ClientPlan",
    "Delivery",
    "DriverCheck",
    "DriverRule",
    "Entry",
    "Exploration",
    "Overuse",
    "Phase",
    "Random",
    "RateLimit",
    "Report",
    "Restart",
    "Route",
    "Scenario",
    "Script",
    "ScriptError",
    "ServerAnswer",
    "ServerLaws",
    "ServerRequest",
    "SwarmReport",
    "TokenBehaviour",
    "TokenFault",
    "TokenRecord",
    "TokenTruth",
    "Trace",
    "Violation",
    "World",
    "WorldFault",
    "broken_by",
    "broken_in",
    "canonical",
    "draw_scenario",
    "enabled_inputs",
    "explain_failure",
    "explore",
    "law_of",
    "liveness_bound",
    "replay",
    "shrink",
    "simulate",
    "swarm",
)
