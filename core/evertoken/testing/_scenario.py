"""A whole simulated run as one value, and the swarm that draws such values from seeds."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace

from evertoken._policy import Policy
from evertoken.testing._faults import ApiFault, TokenFault
from evertoken.testing._random import Random

__all__ = ("BY_THEMSELVES", "Calls", "ClientPlan", "Scenario", "WorldFault", "draw_scenario")

DAY = 86_400.0


@enum.unique
class WorldFault(enum.Enum):
    """What can go wrong between client and server, and at the client. What the server does is in the other two sets."""

    LOST_BEFORE = "lost before"
    """A token request is lost on the way out, and its carrier is told or left hanging."""
    LOST_AFTER = "lost after"
    """The server has acted, and its answer is lost."""
    DUPLICATED = "duplicated"
    """A token request arrives twice, and both answers come back."""
    LATE = "late"
    """The answer takes up to three times the attempt's timeout: it is overtaken by later ones."""
    PARTITION = "partition"
    """Nothing gets through for a while, either way."""
    OUTAGE = "outage"
    """The token endpoint shows one and the same fault for a while."""
    ABANDONED = "abandoned"
    """Whoever carries the token request gives up before its answer."""
    CARRIER_LOST = "carrier lost"
    """Whoever carries the token request disappears and reports nothing."""
    CRASH = "crash"
    """The client's process ends and another begins, with an empty machine."""
    RESTART = "restart"
    """The client's process ends; after a while another goes on from a snapshot, perhaps on a clock that began anew."""
    SUSPEND = "suspend"
    """The client's host sleeps; its clock goes on meanwhile."""
    CLOCK_STOPPED = "clock stopped"
    """The client's host sleeps, and its clock with it."""
    REVOKED = "revoked"
    """The server revokes every token."""
    ROTATED = "rotated"
    """The API key is replaced at the server, and some time later at the client."""
    LIFTED = "lifted"
    """The operator lifts the blocks, whether or not that is wise."""
    REPORTED = "reported"
    """Somebody reports a closed door."""


BY_THEMSELVES = (
    WorldFault.PARTITION,
    WorldFault.OUTAGE,
    WorldFault.CRASH,
    WorldFault.RESTART,
    WorldFault.SUSPEND,
    WorldFault.CLOCK_STOPPED,
    WorldFault.REVOKED,
    WorldFault.ROTATED,
    WorldFault.LIFTED,
    WorldFault.REPORTED,
)
"""The faults that come about by the hour; the others strike requests."""


@enum.unique
class Calls(enum.Enum):
    """How a client's callers come."""

    STEADY = "steady"
    """One after another, about a period apart."""
    BURSTY = "bursty"
    """Twenty at once, then none for twenty periods."""
    IDLE = "idle"
    """A few, then none for days."""
    BATCH = "batch"
    """A hundred in a row at the same time of each day, far apart from the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPlan:
    """One client: how it calls, and how its clock differs from the world's."""

    calls: Calls = Calls.STEADY
    period: float = 60.0
    patience: float = 15.0
    """Seconds that a caller waits for a token."""
    min_ttl: float = 0.0
    offset: float = 0.0
    """What its clock shows when the world's shows 0."""
    drift: float = 0.0
    """Seconds that its clock gains in a second; negative for a slow one."""
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """All that a run follows from. ``rates`` are chances: per token request, or per hour for what happens by itself."""

    seed: int
    seconds: float = DAY
    clients: tuple[ClientPlan, ...] = (ClientPlan(),)
    lifetime: int = 1_200
    latency: tuple[float, float] = (0.0, 0.0)
    """The least and the most seconds that anything is on its way, each way."""
    api_latency: tuple[float, float] = (0.0, 0.0)
    rates: tuple[tuple[WorldFault, float], ...] = ()
    token_faults: tuple[TokenFault, ...] = ()
    token_fault_rate: float = 0.0
    api_faults: tuple[ApiFault, ...] = ()
    api_fault_rate: float = 0.0

    def without(self, fault: WorldFault | TokenFault | ApiFault) -> Scenario:
        """The same with one fault less, for shrinking."""
        return replace(
            self,
            rates=tuple((kind, rate) for kind, rate in self.rates if kind is not fault),
            token_faults=tuple(kind for kind in self.token_faults if kind is not fault),
            api_faults=tuple(kind for kind in self.api_faults if kind is not fault),
        )

    @property
    def faults(self) -> tuple[WorldFault | TokenFault | ApiFault, ...]:
        """Every fault that can happen in it."""
        return (*(kind for kind, _ in self.rates), *self.token_faults, *self.api_faults)


def draw_scenario(seed: int, *, seconds: float = DAY) -> Scenario:
    """The scenario of ``seed``: which faults there are and how often, who calls and how, policies, all of it.

    Each fault is there in a part of the seeds only: one that is always there hides what happens without it.
    """
    random = Random(seed)
    lifetime = random.pick((3, 10, 60, 300, 1_200, 1_200, 1_200, 3_600, 3_600))
    rates = tuple(
        (fault, random.between(0.05, 1.5) if fault in BY_THEMSELVES else random.between(0.01, 0.3))
        for fault in WorldFault
        if random.chance(0.25)
    )
    quick = random.chance(0.3)
    api_quick = random.chance(0.5)
    latency = (0.0, 0.0) if quick else (random.between(0.001, 0.05), random.between(0.05, 4.0))
    return Scenario(
        seed=seed,
        seconds=seconds,
        clients=tuple(_draw_client(random, lifetime) for _ in range(random.pick((1, 1, 2, 3)))),
        lifetime=lifetime,
        latency=latency,
        api_latency=(0.0, 0.0) if api_quick else (0.005, random.between(0.01, 2.0)),
        rates=rates,
        token_faults=tuple(fault for fault in TokenFault if random.chance(0.2)),
        token_fault_rate=random.pick((0.0, 0.05, 0.3)),
        api_faults=tuple(fault for fault in ApiFault if random.chance(0.2)),
        api_fault_rate=random.pick((0.0, 0.01, 0.1)),
    )


def _draw_client(random: Random, lifetime: int) -> ClientPlan:
    calls = random.pick(tuple(Calls))
    honest = random.chance(0.6)
    return ClientPlan(
        calls=calls,
        period=random.between(60.0, 400.0) if lifetime > 60 else random.between(300.0, 2_000.0),
        patience=random.pick((0.0, 1.0, 15.0, 15.0, 600.0)),
        min_ttl=random.pick((0.0, 0.0, 0.0, 1.0, lifetime / 4, lifetime * 2.0)),
        offset=0.0 if honest else random.between(-1e6, 1e9),
        drift=0.0 if honest else random.between(-1e-3, 1e-3),
        policy=_draw_policy(random, lifetime),
    )


def _draw_policy(random: Random, lifetime: int) -> Policy:
    """Mangopay's defaults, or a policy with every wait drawn from a wide range."""
    leeway = random.pick((0.0, 5.0))
    default_lifetime = float(min(300, lifetime))
    if random.chance(0.3):
        return Policy(leeway=leeway, default_lifetime=default_lifetime)
    retry_base = random.between(0.1, 10.0)
    waits = [random.between(1.0, 900.0) for _ in range(4)]
    caps = [wait * random.between(1.0, 8.0) for wait in waits]
    interval = random.between(2.0, 300.0)
    rejection = random.between(1.0, 300.0)
    return Policy(
        leeway=leeway,
        leeway_share=random.pick((0.0, 0.05, 0.3)),
        refresh_before=random.pick((0.0, 30.0, 300.0)),
        refresh_before_share=random.pick((0.1, 0.25, 0.9)),
        refresh_jitter_share=random.pick((0.0, 0.02, 0.5)),
        default_lifetime=default_lifetime,
        max_lifetime=random.pick((600.0, 86_400.0)),
        request_timeout=random.between(0.5, 30.0),
        retry_base=retry_base,
        retry_cap=retry_base * random.between(1.0, 60.0),
        malformed_cap=retry_base * random.between(1.0, 200.0),
        locked_wait=waits[0],
        locked_wait_cap=caps[0],
        refused_wait=waits[1],
        refused_wait_cap=caps[1],
        doubted_refusal_wait=random.between(1.0, 300.0),
        unclear_wait=waits[2],
        unclear_wait_cap=caps[2],
        rate_limited_wait=waits[3],
        rate_limited_wait_cap=caps[3],
        wait_spread=random.pick((0.0, 30.0)),
        budget_burst=random.pick((1, 2, 10, 10)),
        budget_interval=interval,
        budget_interval_floor=random.between(0.5, 2.0),
        rejection_interval=rejection,
        rejection_interval_cap=rejection * random.between(1.0, 30.0),
    )
