"""Strategies for what a run follows from: policies, inputs, scripts of the server, whole scenarios."""

from __future__ import annotations

from typing import cast

from hypothesis import strategies as st

from evertoken import Policy, State
from evertoken.testing import (
    Alphabet,
    ApiBehaviour,
    ApiFault,
    Calls,
    ClientPlan,
    Overuse,
    Phase,
    Scenario,
    Script,
    TokenBehaviour,
    TokenFault,
    WorldFault,
    enabled_inputs,
)
from evertoken.testing.functional import Input

_EVERYTHING = Alphabet()
_CAPPED_WAITS = {
    "retry_base": "retry_cap",
    "locked_wait": "locked_wait_cap",
    "refused_wait": "refused_wait_cap",
    "unclear_wait": "unclear_wait_cap",
    "rate_limited_wait": "rate_limited_wait_cap",
    "rejection_interval": "rejection_interval_cap",
}


@st.composite
def policies(draw: st.DrawFn, /, **fixed: float) -> Policy:
    """Valid policies whose every wait is a few seconds, so that all of them come about in a short run.

    ``fixed`` are the fields that an SDK sets itself, by name: ``policies(leeway=0, budget_burst=1)``. They are not
    drawn; what contradicts them is drawn to fit.
    """
    values: dict[str, float] = {
        "refresh_before": draw(st.integers(0, 4)),
        "refresh_before_share": draw(st.sampled_from([0.5, 0.0, 0.25, 0.9])),
        "leeway": draw(st.integers(0, 2)),
        "leeway_share": draw(st.sampled_from([0.25, 0.0, 0.05, 0.9])),
        "refresh_jitter_share": draw(st.sampled_from([0.0, 0.02, 0.5])),
        "default_lifetime": draw(st.integers(2, 8)),
        "max_lifetime": draw(st.sampled_from([16, 1, 600])),
        "request_timeout": draw(st.integers(1, 4)),
        "doubted_refusal_wait": draw(st.integers(1, 4)),
        "wait_spread": draw(st.integers(0, 2)),
        "wait_spread_share": draw(st.sampled_from([0.0, 0.1, 0.5])),
        "budget_burst": draw(st.integers(1, 4)),
        "budget_interval_floor": draw(st.integers(1, 2)),
    }
    for wait, cap in _CAPPED_WAITS.items():
        values[wait], values[cap] = _wait_and_cap(draw, fixed.get(wait), fixed.get(cap))
    retry_base = fixed.get("retry_base", values["retry_base"])
    values["malformed_cap"] = max(retry_base, draw(st.integers(1, 16)))
    floor = fixed.get("budget_interval_floor", values["budget_interval_floor"])
    values["budget_interval"] = max(floor, draw(st.integers(1, 8)))
    values["budget_interval_floor"] = min(floor, fixed.get("budget_interval", floor))
    return Policy(**cast("dict[str, int]", values | fixed))


def _wait_and_cap(draw: st.DrawFn, wait: float | None, cap: float | None) -> tuple[float, float]:
    """A wait and the longest that it may double to; each as it is given, or drawn to fit the other."""
    if wait is None:
        wait = min(draw(st.integers(1, 4)), 4 if cap is None else cap)
    return wait, wait * draw(st.sampled_from([1, 2, 4])) if cap is None else cap


def inputs(policy: Policy, state: State, now: float, alphabet: Alphabet = _EVERYTHING) -> st.SearchStrategy[Input]:
    """One of the inputs that the grammar allows in ``state`` at ``now``, for a fold with ``functional.step``.

    The strategy draws from ``enabled_inputs``, and is empty if nothing of ``alphabet`` may happen now.
    """
    enabled = list(enabled_inputs(policy, state, now, alphabet))
    return st.sampled_from(enabled) if enabled else st.nothing()


# The server
# ----------

_LATENCIES = st.sampled_from([0.0, 0.5, 3.0, 12.0])
_LIFETIMES = st.sampled_from([60, 1, 3, 10, 300, 1_200])


def _token_behaviours() -> st.SearchStrategy[TokenBehaviour]:
    return st.builds(
        TokenBehaviour,
        fault=st.sampled_from(TokenFault),
        latency_before=_LATENCIES,
        latency_after=_LATENCIES,
        lifetime=st.one_of(st.none(), _LIFETIMES),
        bytes_per_second=st.sampled_from([100.0, 10.0]),
    )


def _api_behaviours() -> st.SearchStrategy[ApiBehaviour]:
    return st.builds(ApiBehaviour, fault=st.sampled_from(ApiFault), latency=_LATENCIES)


@st.composite
def _phases(draw: st.DrawFn) -> Phase:
    at = draw(st.integers(0, 1_000))
    length = draw(st.integers(1, 1_000))
    token = draw(st.one_of(st.none(), _token_behaviours()))
    return Phase(at=at, until=at + length, token=token, api=draw(st.one_of(st.none(), _api_behaviours())))


def scripts() -> st.SearchStrategy[Script]:
    """What an ``AuthorizationServer`` or the emulator will do: trouble, revocations, and a lock in case of overuse."""
    moments = st.lists(st.integers(0, 1_000), max_size=2, unique=True)
    overuse = st.builds(Overuse, requests=st.integers(5, 50), seconds=st.sampled_from([60.0, 600.0]))
    return st.builds(
        Script,
        lifetime=_LIFETIMES,
        phases=st.lists(_phases(), max_size=3).map(tuple),
        first_token_requests=st.lists(_token_behaviours(), max_size=3).map(tuple),
        first_api_calls=st.lists(_api_behaviours(), max_size=3).map(tuple),
        revocations=moments.map(lambda found: tuple(float(moment) for moment in sorted(found))),
        overuse=st.one_of(st.none(), overuse),
    )


# A whole world
# -------------

_CHANCES = st.sampled_from([0.1, 0.3, 1.0])


@st.composite
def _client_plans(draw: st.DrawFn, lifetime: int, policy: Policy | None) -> ClientPlan:
    default = Policy(default_lifetime=min(300, lifetime))
    return ClientPlan(
        calls=draw(st.sampled_from(Calls)),
        period=draw(st.sampled_from([60.0, 300.0])),
        patience=draw(st.sampled_from([15.0, 0.0, 600.0])),
        min_ttl=draw(st.sampled_from([0.0, 1.0, lifetime / 4])),
        offset=draw(st.sampled_from([0.0, -1e6, 1e9])),
        drift=draw(st.sampled_from([0.0, 1e-3, -1e-3])),
        policy=default if policy is None else policy,
    )


@st.composite
def scenarios(draw: st.DrawFn, *, seconds: float = 3_600.0, policy: Policy | None = None) -> Scenario:
    """Whole simulated runs for ``simulate``, of ``seconds`` each; they shrink to fewer clients and fewer faults.

    ``policy`` is that of all clients. Its ``default_lifetime`` must not exceed the lifetimes that the server gives,
    which are 60 s and more, since an answer may leave its lifetime out. Without a policy they have the defaults, with a
    ``default_lifetime`` that fits.
    """
    lifetime = draw(st.sampled_from([1_200, 60, 300]))
    quick = draw(st.booleans())
    faults = draw(st.lists(st.sampled_from(WorldFault), unique=True, max_size=4))
    return Scenario(
        seed=draw(st.integers(0, 2**32)),
        seconds=seconds,
        clients=tuple(draw(st.lists(_client_plans(lifetime, policy), min_size=1, max_size=2))),
        lifetime=lifetime,
        latency=(0.0, 0.0) if quick else (0.01, 2.0),
        api_latency=(0.0, 0.0) if quick else (0.01, 1.0),
        rates=tuple((fault, draw(_CHANCES)) for fault in faults),
        token_faults=tuple(draw(st.lists(st.sampled_from(TokenFault), unique=True, max_size=4))),
        token_fault_rate=draw(st.sampled_from([0.0, 0.05, 0.3])),
        api_faults=tuple(draw(st.lists(st.sampled_from(ApiFault), unique=True, max_size=3))),
        api_fault_rate=draw(st.sampled_from([0.0, 0.01, 0.1])),
    )
