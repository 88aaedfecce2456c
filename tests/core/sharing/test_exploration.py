"""A small fleet, explored: what may never be true in any interleaving, and which rule each of these laws leans on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from evertoken import Policy
from evertoken.sharing import Acquire, Action, Ask, Send, _glance, _record
from evertoken.sharing._record import Grant, Lease, Record
from evertoken.testing._random import Random
from tests.kits import fleet_world
from tests.kits.fleet_world import (
    Broken,
    World,
    act,
    answer,
    breadth_first,
    first_world,
    go,
    pause,
    plain_records,
    unblock,
    wait,
    walk,
)

SLOWEST = 20.0
"""Seconds of the small policy: lease 3, back-off 4 or the end of a block 6, a look 3, a request 2, a refill 4."""
STARVED = 6.0


def walks(world: World, seed: int, most: int) -> fleet_world.Search | None:
    """The first of so many ways at random on which a law is broken, or on which somebody waits for too long."""
    random = Random(seed)
    with plain_records():
        for _ in range(most):
            found = walk(world, random, random.pick((20, 40, 80)))
            if found.law is not None or found.slowest > SLOWEST or found.starved > STARVED:
                return found
    return None


@pytest.mark.no_cover
@pytest.mark.parametrize(("processes", "faults", "most"), [(2, 0, 700), (2, 1, 900), (3, 1, 500)])
def test_no_world_within_reach_breaks_a_law_and_from_each_all_have_a_token_soon(
    processes: int, faults: int, most: int
) -> None:
    with plain_records():
        found = breadth_first(first_world(processes, faults), most)
    assert found.law is None, found
    assert found.looked_at >= most
    assert 0 < found.slowest <= SLOWEST
    assert found.starved <= STARVED


@pytest.mark.no_cover
@pytest.mark.parametrize("barred", [(), (1,)], ids=["all hosts welcome", "one host turned away"])
def test_no_way_at_random_with_many_faults_breaks_a_law(barred: tuple[int, ...]) -> None:
    found = walks(first_world(3, 6, barred=barred), 11, 40)
    assert found is None, found


# Each rule, taken away
# =====================


_kept, _refused = _record.kept, _record.refused


def newest_is_what_came_last(policy: Policy, record: Record, now: float, lease: Lease, grant: Grant) -> Record:
    """A token is written over whatever stands there."""
    return _kept(policy, record._replace(grant=None), now, lease, grant)


def refuses_whatever_is_known(policy: Policy, record: Record, *told: Any, **rest: Any) -> Record:  # noqa: ANN401
    """A refusal is written whatever was granted or lifted since."""
    after = _refused(policy, record._replace(floor=0, grant=None, block=None), *told, **rest)
    return after._replace(floor=record.floor, grant=record.grant)


def one_slot(*told: Any, **rest: Any) -> Record:  # noqa: ANN401
    """The last answer is all that is kept: a refusal takes the token away."""
    return _refused(*told, **rest)._replace(grant=None)


def counts_from_one(record: Record, _now: float) -> int:
    """Numbers begin anew where the store has lost them."""
    return record.n + 1


def never_minds_the_lease(ask: Ask, now: float) -> Action:
    """Who wakes up with a lease that is nearly over asks all the same."""
    return ask._send(now)


def tells_no_number(record: Record, now: float, unblocked: Callable[..., Record] = _record.unblocked) -> Record:
    """The word of an operator takes no number."""
    return unblocked(record, now)._replace(floor=record.floor, n=record.n)


def does_not_know_its_own_lease(ask: Ask, now: float, look: Callable[[Ask, float], Action] = Ask._look) -> Action:
    """A swap whose answer was lost is somebody else's."""
    if ask._record.lease is None:
        return look(ask, now)
    nonce, ask._nonce = ask._nonce, f"{ask._nonce}x"
    try:
        return look(ask, now)
    finally:
        ask._nonce = nonce


def without_wall_clocks(patch: pytest.MonkeyPatch) -> None:
    """Only the store's clock says how old a token is, and it is believed when it goes back."""
    patch.setattr(_glance, "_MOST_WALL", -math.inf)
    patch.setattr(_record, "clock_doubt", _for_ever)


def _for_ever(_policy: Policy) -> float:
    return math.inf


def of_record(name: str, double: Callable[..., object]) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(_record, name, double)


# Each way that a rule was made for, by hand
# ==========================================


def asleep_in_flight() -> World:
    """After another one has failed, a process asks, and sleeps for longer than its lease lasts."""
    world = go(first_world(2, 9), 1)
    world = go(answer(wait(world, 1), 1, "500"), 1)
    world = act(go(wait(world, 1), 0, Send), 0)
    return wait(pause(world, 0), 1)


def late_token() -> World:
    """Another process has been granted a token by the time that it wakes up, and then it is granted one as well."""
    world = go(wait(asleep_in_flight(), 4), 1)
    world = go(answer(wait(world, 1), 1, "ok"), 1)
    return go(answer(pause(world, 0, paused=False), 0, "ok"), 0)


def late_refusal() -> World:
    """... and then it is refused."""
    world = go(wait(asleep_in_flight(), 4), 1)
    world = go(answer(wait(world, 1), 1, "ok"), 1)
    return go(answer(pause(world, 0, paused=False), 0, "locked"), 0)


def opened_meanwhile() -> World:
    """... and then it is refused as another process was before, after which an operator has mended the cause."""
    world = go(wait(asleep_in_flight(), 4), 1)
    world = go(answer(wait(world, 1), 1, "locked"), 1)
    world = unblock(world._replace(kinds=("unblock",)))
    return go(answer(pause(world, 0, paused=False), 0, "locked"), 0)


def lost_data() -> World:
    """... after the store has lost all its data, and another process was granted a token under a lease since."""
    world = wait(asleep_in_flight(), 1)._replace(value=None, before=None, lost=1)
    world = go(world, 1)
    world = go(answer(wait(world, 1), 1, "ok"), 1)
    return go(answer(pause(world, 0, paused=False), 0, "ok"), 0)


def refused_beside_a_token() -> World:
    """A token is kept, falls due, and the next request for one is refused."""
    world = go(first_world(1, 9), 0)
    world = go(answer(wait(world, 1), 0, "ok"), 0)
    world = act(go(wait(world, 4), 0, Send), 0)
    return go(answer(wait(world, 1), 0, "locked"), 0)


def clock_behind() -> World:
    """The store's clock goes back by two seconds, and a process that has no token looks near the end of its life."""
    world = go(first_world(2, 9), 0)
    world = go(answer(wait(world, 1), 0, "ok"), 0)
    return wait(go(wait(world, 5)._replace(skew=-2.0), 1), 2)


class Ablation(NamedTuple):
    """A way, the rule without which a law is broken on it, and which law that is."""

    way: Callable[[], World]
    install: Callable[[pytest.MonkeyPatch], None]
    law: str


ABLATIONS = {
    "order by number, of tokens": Ablation(late_token, of_record("kept", newest_is_what_came_last), "younger"),
    "order by number, of refusals": Ablation(
        late_refusal, of_record("refused", refuses_whatever_is_known), "although a later request was granted"
    ),
    "the operator's number": Ablation(opened_meanwhile, of_record("unblocked", tells_no_number), "had opened"),
    "numbers follow the clock": Ablation(lost_data, of_record("_next_number", counts_from_one), "younger"),
    "two slots": Ablation(refused_beside_a_token, of_record("refused", one_slot), "pushed out of the store"),
    "both clocks": Ablation(clock_behind, without_wall_clocks, "expired"),
}
"""By the rule that is missing."""


@pytest.mark.parametrize("name", ABLATIONS)
def test_with_its_rule_this_way_breaks_no_law_and_without_it_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    way, install, law = ABLATIONS[name]
    with plain_records():
        way()
        install(monkeypatch)
        with pytest.raises(Broken, match=law):
            way()


def test_a_lease_that_is_nearly_over_is_not_asked_under(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ask, "_go", never_minds_the_lease)
    found = walks(first_world(2, 3, ("pause",)), 5, 200)
    assert found is not None
    assert "outlast" in str(found.law)


def test_a_process_knows_its_own_lease_and_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def tries() -> Ask | None:
        world = act(go(first_world(1, 9), 0, Acquire), 0, "after")
        return act(world, 0).processes[0].ask

    with plain_records():
        ask = tries()
        assert ask is not None
        assert isinstance(ask.action, Send)
        monkeypatch.setattr(Ask, "_look", does_not_know_its_own_lease)
        ask = tries()
        assert ask is not None
        assert not isinstance(ask.action, Send)
