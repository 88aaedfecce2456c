"""The scenario of a seed with a few things set by hand: how many clients there are, and what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypeAlias

from evertoken.testing._random import LARGEST_SEED, Random
from evertoken.testing.server._faults import ApiFault, TokenFault
from evertoken.testing.world._scenario import BY_THEMSELVES, DAY, ClientPlan, Scenario, WorldFault, draw_scenario

Fault: TypeAlias = WorldFault | TokenFault | ApiFault

EVERY_FAULT: tuple[Fault, ...] = (
    *WorldFault,
    *(fault for fault in TokenFault if fault is not TokenFault.NONE),
    *(fault for fault in ApiFault if fault is not ApiFault.NONE),
)
"""Whatever can go wrong: in the world, at the token endpoint, at the API."""

_FEW = 0.05


def arrange_scenario(
    seed: int, *, seconds: float = DAY, clients: int | None = None, faults: Sequence[Fault] | None = None
) -> Scenario:
    """The scenario of ``seed`` as ``draw_scenario`` gives it, but for what is set here. It follows from the arguments.

    Args:
        seed: a whole number from 0 to 2**64 - 1.
        seconds: how long faults go on.
        clients: how many there are. The first are those of the seed; further ones are borrowed from the seeds after it.
        faults: what can go wrong, each at the rate that the seed has for it, or at one drawn for it; none if empty.

    Raises:
        ValueError: ``clients`` is less than 1, or another argument is refused by ``draw_scenario``.
    """
    scenario = draw_scenario(seed, seconds=seconds)
    if clients is not None:
        if clients < 1:
            raise ValueError(f"clients must be at least 1, not {clients}")
        scenario = replace(scenario, clients=tuple(islice(_clients(scenario), clients)))
    return scenario if faults is None else _with_faults(scenario, faults)


def _clients(scenario: Scenario) -> Iterator[ClientPlan]:
    """The plans of the scenario, then those of other seeds whose tokens live as long, since plans are made for that."""
    yield from scenario.clients
    seed = scenario.seed
    while True:
        seed = (seed + 1) % (LARGEST_SEED + 1)
        other = draw_scenario(seed)
        if other.lifetime == scenario.lifetime:
            yield from other.clients


def _with_faults(scenario: Scenario, faults: Sequence[Fault]) -> Scenario:
    random = Random(scenario.seed).fork()
    rates = {
        kind: random.between(0.05, 1.5) if kind in BY_THEMSELVES else random.between(0.01, 0.3) for kind in WorldFault
    }
    rates.update(scenario.rates)
    return replace(
        scenario,
        rates=tuple((kind, rate) for kind, rate in rates.items() if kind in faults),
        token_faults=tuple(kind for kind in TokenFault if kind in faults),
        token_fault_rate=scenario.token_fault_rate or _FEW,
        api_faults=tuple(kind for kind in ApiFault if kind in faults),
        api_fault_rate=scenario.api_fault_rate or _FEW,
    )
