"""The scenario of a seed, with the number of clients or the faults set by hand."""

from __future__ import annotations

import pytest

from evertoken.testing import ApiFault, TokenFault, WorldFault, draw_scenario, simulate
from evertoken.testing.world._arranged import EVERY_FAULT, Fault, arrange_scenario
from tests.kits.fresh import in_a_fresh_interpreter

DAY = 86_400.0
SEEDS = range(6)


def test_where_nothing_is_set_by_hand_it_is_the_scenario_of_the_seed() -> None:
    for seed in SEEDS:
        assert arrange_scenario(seed, seconds=5.0) == draw_scenario(seed, seconds=5.0)


@pytest.mark.no_cover
def test_the_first_clients_are_those_of_the_seed_and_all_are_made_for_the_same_lifetime() -> None:
    for seed in SEEDS:
        drawn, arranged = draw_scenario(seed), arrange_scenario(seed, clients=20)
        assert len(arranged.clients) == 20
        assert len(set(arranged.clients)) == 20
        assert arranged.clients[: len(drawn.clients)] == drawn.clients
        others = (draw_scenario(seed + further) for further in range(1, 300))
        made_for_it = {client for other in others if other.lifetime == drawn.lifetime for client in other.clients}
        assert made_for_it.issuperset(arranged.clients[len(drawn.clients) :])
        assert arrange_scenario(seed, clients=1).clients == drawn.clients[:1]


def test_a_scenario_without_clients_is_refused() -> None:
    with pytest.raises(ValueError, match="clients must be at least 1, not 0"):
        arrange_scenario(1, clients=0)


def test_beyond_the_last_seed_clients_are_borrowed_from_the_first_ones() -> None:
    assert len(arrange_scenario(2**64 - 1, clients=20).clients) == 20


def test_faults_that_are_asked_for_are_there_and_no_others() -> None:
    for seed in SEEDS:
        assert arrange_scenario(seed, faults=()).faults == ()
        assert set(arrange_scenario(seed, faults=EVERY_FAULT).faults) == set(EVERY_FAULT)
        wanted = (WorldFault.CRASH, TokenFault.HANG, ApiFault.SCA)
        arranged = arrange_scenario(seed, faults=wanted)
        assert arranged.faults == wanted
        assert arranged.token_fault_rate > 0
        assert arranged.api_fault_rate > 0


def test_a_fault_that_the_seed_has_too_keeps_its_rate() -> None:
    for seed in SEEDS:
        drawn, arranged = draw_scenario(seed), arrange_scenario(seed, faults=EVERY_FAULT)
        assert set(drawn.rates) <= set(arranged.rates)
        assert all(rate > 0 for _, rate in arranged.rates)
        assert drawn.token_fault_rate in (0.0, arranged.token_fault_rate)


# No client assumes that tokens live longer than they do
# ------------------------------------------------------


@pytest.mark.no_cover
@pytest.mark.parametrize("clients", [None, 20])
def test_whatever_is_set_by_hand_no_policy_assumes_a_longer_life_than_tokens_have(clients: int | None) -> None:
    for seed in range(50):
        arranged = arrange_scenario(seed, clients=clients, faults=EVERY_FAULT)
        assert max(plan.policy.default_lifetime for plan in arranged.clients) <= arranged.lifetime


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("seed", "days", "clients", "faults"),
    [
        (65, 0.05, 20, None),
        (16, 0.1, None, (TokenFault.NO_EXPIRES_IN,)),
        (24, 0.2, 3, EVERY_FAULT),
    ],
)
def test_a_token_of_unsaid_lifetime_is_no_false_alarm(
    seed: int, days: float, clients: int | None, faults: tuple[Fault, ...] | None
) -> None:
    assert simulate(arrange_scenario(seed, seconds=days * DAY, clients=clients, faults=faults)).broken is None


ARRANGED = """
from evertoken.testing import simulate
from evertoken.testing.world._arranged import EVERY_FAULT, arrange_scenario
for seed in range({seeds}):
    report = simulate(arrange_scenario(seed, seconds=4_320.0, clients={clients}, faults={faults}))
    if report.broken is not None:
        print(report.scenario, report.broken)
"""


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("clients", "faults"),
    [(6, None), (None, "EVERY_FAULT"), (3, "EVERY_FAULT"), (3, ())],
)
def test_no_arranged_scenario_breaks_a_law(clients: int | None, faults: object) -> None:
    assert in_a_fresh_interpreter(ARRANGED.format(seeds=3, clients=clients, faults=faults)) == ""
