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
    assert str(status(fleet)) == "token: none\nblock: none\nbudget: 10 token requests left"
    assert status(fleet).is_open


def test_a_token_is_told_by_what_is_left_of_its_life_and_not_shown() -> None:
    fleet = Fleet()
    fleet.process().fetch(granted(0, 1_200))
    fleet.now += 100
    assert status(fleet).expires_in == 1_100
    assert "token: expires in 1100 s" in str(status(fleet))
    canary.assert_clean(status(fleet), str(status(fleet)))
    fleet.now += 1_120
    assert "token: expired 20 s ago" in str(status(fleet))
    fleet.process().fetch(granted(0, None))
    assert status(fleet).expires_in == 300


def test_blocks_bars_failures_and_whoever_is_asking_are_told() -> None:
    fleet = Fleet()
    fleet.process().fetch(LOCKED)
    block = status(fleet).block
    assert block is not None
    assert block[:2] == (BlockKind.LOCKED, 900)
    assert not status(fleet).is_open
    assert "block: locked, for another 900 s. " in str(status(fleet))
    fleet.now += 900
    assert status(fleet).block is None
    fleet.process(host="web 1").fetch(UNCLEAR)
    assert "turned away: host web 1, for another 60 s. " in str(status(fleet))
    fleet.now += 1
    fleet.process().fetch(FAILED)
    assert "failures: 1 in a row. " in str(status(fleet))
    assert "left, and none is made for another 1 s" in str(status(fleet))
    fleet.now += 1
    process = fleet.process()
    process.until(process.begin(), Send)
    assert status(fleet).asking_for == 15
    assert "asking: a process, for another 15 s at most" in str(status(fleet))


def test_what_is_not_believed_is_said() -> None:
    fleet = Fleet()
    grant = canary.grant()
    told = status_of(grant, fleet.policy, key_of(grant), Found(b"{}", 0.0))
    assert told.fault is not None
    assert str(told).startswith("record: not believed: ")
