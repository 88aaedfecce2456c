"""A whole simulated run as one value, and the swarm that draws such values from seeds."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from typing import Any, cast

from evertoken._checks import check_seconds, check_whole
from evertoken._policy import Policy
from evertoken.testing._random import Random, check_seed
from evertoken.testing.server._faults import ApiFault, TokenFault

DAY = 86_400.0
_WEEK = 7 * DAY


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
    """Somebody reports a block."""

    __hash__ = object.__hash__  # Each is looked up for each message, and ``Enum.__hash__`` is a function in Python.


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
    """The seconds from which the gaps between its calls are made, as ``calls`` says."""
    patience: float = 15.0
    """Seconds that a caller waits for a token."""
    min_ttl: float = 0.0
    """Seconds of life that a caller wants a token to have left."""
    offset: float = 0.0
    """What its clock shows when the world's shows 0, in seconds."""
    drift: float = 0.0
    """Seconds that its clock gains in a second; negative for a slow one."""
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """All that a run follows from. ``rates`` are chances: per token request, or per hour for what happens by itself.

    ``seconds`` is how long faults go on, ``lifetime`` the life of a token in seconds. The two other rates are chances
    per token request and per API call.

    Raises:
        ValueError: ``seed`` is not from 0 to 2**64 - 1, ``seconds`` or ``lifetime`` is no duration, there are no
            clients, or one of them would believe that a token without ``expires_in`` lives longer than it does.
    """

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

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_seconds("seconds", self.seconds)
        check_whole("lifetime", self.lifetime, 1)
        if not self.clients:
            raise ValueError("clients must not be empty")
        if TokenFault.NO_EXPIRES_IN in self.token_faults:
            self._check_defaults()

    def _check_defaults(self) -> None:
        """Refuse a policy that assumes too long a life: that is a mistake of its author, and no law is about it."""
        for number, plan in enumerate(self.clients):
            assumed = min(plan.policy.default_lifetime, plan.policy.max_lifetime)
            if assumed > self.lifetime:
                raise ValueError(
                    f"client {number}: default_lifetime is {assumed} s, but tokens live {self.lifetime} s,"
                    " and TokenFault.NO_EXPIRES_IN leaves that unsaid"
                )

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

    Each fault is there in a part of the seeds only: one that is always there hides what happens without it. Most
    seeds are left as they are drawn. In the others one kind of trouble is made likely that needs several things to come
    together; or there is no trouble at all, and the promises for fair weather hold. A run of more than a week is long
    enough for troubles to come together by themselves, so none is made likely there, and one seed in fifty has fair
    weather. Faults go on for ``seconds``.

    Raises:
        ValueError: ``seed`` is not a whole number from 0 to 2**64 - 1, or ``seconds`` is no duration.
    """
    check_seed(seed)
    check_seconds("seconds", seconds)
    random = Random(seed)
    scenario = _draw_mixture(random, seed, seconds)
    if seconds > _WEEK:
        return _fair(scenario, random) if random.chance(0.02) else scenario
    return _fitted(random.pick(_EMPHASES)(scenario, random)) if random.chance(0.4) else scenario


def _draw_mixture(random: Random, seed: int, seconds: float) -> Scenario:
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
        token_faults=tuple(fault for fault in TokenFault if random.chance(0.25)),
        token_fault_rate=random.pick((0.0, 0.05, 0.3, 0.3)),
        api_faults=tuple(fault for fault in ApiFault if random.chance(0.2)),
        api_fault_rate=random.pick((0.0, 0.01, 0.1)),
    )


# What is made likely
# -------------------


def _fair(scenario: Scenario, random: Random) -> Scenario:
    """No trouble, and callers who come while the next token is due."""
    lifetime = random.pick((1_200, 3_600))
    plans = tuple(
        replace(plan, calls=Calls.STEADY, min_ttl=0.0, period=random.between(80.0, 100.0)) for plan in scenario.clients
    )
    scenario = _with_policies(
        replace(scenario, clients=plans), refresh_before=300.0, refresh_before_share=0.25, request_timeout=10.0
    )
    return replace(scenario, lifetime=lifetime, rates=(), token_faults=(), api_faults=())


def _overtaking(scenario: Scenario, random: Random) -> Scenario:
    """Answers that come after later ones: impatient attempts, quick repetition, short waits, late answers."""
    scenario = _with_client(scenario, Calls.STEADY, min_ttl=0.0, patience=15.0, period=random.between(100.0, 160.0))
    scenario = _with_policies(
        scenario,
        request_timeout=random.between(0.5, 3.0),
        **_short_waits(random),
        retry_base=0.25,
        retry_cap=random.between(1.0, 20.0),
    )
    blocks = (TokenFault.LOCKED, TokenFault.INVALID_CLIENT, TokenFault.RATE_LIMITED_RETRY_AFTER, TokenFault.FORBIDDEN)
    return replace(
        scenario,
        lifetime=60,
        latency=(0.0, 0.6),
        rates=_with_rates(scenario, {WorldFault.LATE: 0.5, WorldFault.LOST_BEFORE: 0.3}),
        token_faults=(*blocks, TokenFault.SERVER_ERROR, TokenFault.SERVER_ERROR),
        token_fault_rate=0.4,
    )


def _short_waits(random: Random) -> dict[str, float]:
    kinds = ("locked", "refused", "unclear", "rate_limited")
    waits = {f"{kind}_wait": random.between(1.0, 20.0) for kind in kinds}
    return waits | {f"{name}_cap": 20.0 for name in waits} | {"doubted_refusal_wait": random.between(1.0, 20.0)}


def _rejections(scenario: Scenario, random: Random) -> Scenario:
    """APIs that reject tokens, good and bad, even those of an hour ago; and an endpoint that issues them again."""
    calls = random.pick((Calls.STEADY, Calls.BURSTY))
    scenario = _with_client(scenario, calls, min_ttl=0.0, period=random.between(40.0, 90.0))
    scenario = _with_policies(scenario, refresh_before=300.0, refresh_before_share=random.pick((0.25, 0.9)))
    return replace(
        scenario,
        lifetime=random.pick((300, 1_200)),
        latency=(0.5, 4.0),
        api_latency=(0.005, 20.0),
        rates=_with_rates(scenario, {WorldFault.REVOKED: random.between(0.5, 4.0)}),
        token_faults=(TokenFault.SAME_TOKEN,),
        token_fault_rate=0.4,
        api_faults=(ApiFault.UNAUTHORIZED, ApiFault.UNAUTHORIZED_BEARER, ApiFault.UNAUTHORIZED_BARE),
        api_fault_rate=random.between(0.01, 0.1),
    )


def _rotations(scenario: Scenario, random: Random) -> Scenario:
    """Credentials that are replaced while requests are under way and blocks stand."""
    scenario = _with_client(scenario, Calls.STEADY, period=random.between(90.0, 200.0))
    return replace(
        scenario,
        lifetime=random.pick((10, 60)),
        latency=(0.5, 4.0),
        rates=_with_rates(scenario, {WorldFault.ROTATED: 20.0}),
        token_faults=(TokenFault.LOCKED, TokenFault.LOCKED, TokenFault.INVALID_CLIENT),
        token_fault_rate=random.pick((0.03, 0.3)),
    )


def _repetitions(scenario: Scenario, random: Random) -> Scenario:
    """An endpoint that issues the same token until it expires."""
    scenario = _with_client(scenario, Calls.STEADY, min_ttl=0.0, period=random.between(40.0, 60.0))
    scenario = _with_policies(scenario, retry_base=random.between(4.0, 16.0), retry_cap=120.0, malformed_cap=120.0)
    return replace(scenario, lifetime=300, token_faults=(TokenFault.SAME_TOKEN,), token_fault_rate=0.9)


_EMPHASES = (_fair, _fair, _overtaking, _rejections, _rotations, _repetitions)


def _fitted(scenario: Scenario) -> Scenario:
    """The scenario with clients who assume no longer life than its tokens have, which an emphasis may have cut."""
    plans = tuple(
        replace(plan, policy=_changed(plan.policy, {"default_lifetime": float(scenario.lifetime)}))
        if plan.policy.default_lifetime > scenario.lifetime
        else plan
        for plan in scenario.clients
    )
    return replace(scenario, clients=plans)


def _with_rates(scenario: Scenario, rates: dict[WorldFault, float]) -> tuple[tuple[WorldFault, float], ...]:
    """The rates of the scenario, with those in ``rates`` added or put in their place, in the order of the enum."""
    merged = dict(scenario.rates) | rates
    return tuple((fault, merged[fault]) for fault in WorldFault if fault in merged)


def _with_client(scenario: Scenario, calls: Calls, **fields: float) -> Scenario:
    """The scenario with one client, who calls like this."""
    changed = cast("dict[str, Any]", fields)  # Type checkers see more than numbers among the fields.
    return replace(scenario, clients=(replace(scenario.clients[0], calls=calls, **changed),))


def _with_policies(scenario: Scenario, **fields: float) -> Scenario:
    return replace(
        scenario,
        clients=tuple(replace(plan, policy=_changed(plan.policy, fields)) for plan in scenario.clients),
    )


def _changed(policy: Policy, fields: dict[str, float]) -> Policy:
    return replace(policy, **cast("dict[str, Any]", fields))  # Type checkers see counts among the fields.


# Clients
# -------


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
