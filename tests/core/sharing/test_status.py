"""What a person is told of what stands in a store."""

from __future__ import annotations

from evertoken import BlockKind
from evertoken.sharing import Found, Send, Status, key_of, status_of
from tests.kits import canary
from tests.kits.driving import FAILED, LOCKED, UNCLEAR, granted
from tests.kits.fleet import Fleet


def status(fleet: Fleet) -> Status:
    grant = canary.grant()
    key = key_of(grant)
    return status_of(grant, fleet.policy, key, fleet.stock.found(key))


def test_an_empty_store_has_no_token_and_a_full_budget() -> None:
    fleet = Fleet()
    assert status(fleet) == Status(budget_left=10)
    assert str(status(fleet)) == "no token\nbudget: 10 token requests left"
    assert status(fleet).is_open


def test_a_token_is_told_by_what_is_left_of_it_and_not_shown() -> None:
    fleet = Fleet()
    fleet.process().fetch(granted(0, 1_200))
    fleet.now += 100
    assert status(fleet).token_for == 1_095
    assert "1095 s" in str(status(fleet))
    canary.assert_clean(status(fleet), str(status(fleet)))
    fleet.now += 1_100
    assert status(fleet).token_for is None
    fleet.process().fetch(granted(0, None))
    assert status(fleet).token_for == 295


def test_blocks_bars_failures_and_whoever_is_asking_are_told() -> None:
    fleet = Fleet()
    fleet.process().fetch(LOCKED)
    (kind, left, _), *rest = status(fleet).blocks
    assert (kind, left, rest) == (BlockKind.LOCKED, 900, [])
    assert not status(fleet).is_open
    assert "locked for another 900 s" in str(status(fleet))
    fleet.now += 900
    assert status(fleet).blocks == ()
    fleet.process(host="web 1").fetch(UNCLEAR)
    assert "turned away at web 1" in str(status(fleet))
    fleet.now += 1
    fleet.process().fetch(FAILED)
    assert "1 failures in a row" in str(status(fleet))
    assert "nobody asks for another 1 s" in str(status(fleet))
    fleet.now += 1
    process = fleet.process()
    process.until(process.begin(), Send)
    assert status(fleet).asking_for == 15
    assert "a process is asking" in str(status(fleet))


def test_what_is_not_believed_is_said() -> None:
    fleet = Fleet()
    grant = canary.grant()
    told = status_of(grant, fleet.policy, key_of(grant), Found(b"{}", 0.0))
    assert told.fault is not None
    assert "not believed" in str(told)
