"""The scenario of a seed, with the number of clients or the faults set by hand."""

from __future__ import annotations

import pytest

from evertoken.testing import ApiFault, TokenFault, WorldFault, draw_scenario
from evertoken.testing._arranged import EVERY_FAULT, arrange_scenario

SEEDS = range(6)


def test_where_nothing_is_set_by_hand_it_is_the_scenario_of_the_seed() -> None:
    for seed in SEEDS:
        assert arrange_scenario(seed, seconds=5.0) == draw_scenario(seed, seconds=5.0)


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
    with pytest.raises(ValueError, match="clients must be at least 1, not 0"):
        arrange_scenario(1, clients=0)


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
