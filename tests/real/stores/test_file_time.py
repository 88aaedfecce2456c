"""Time in a folder: deaf to the wall clock's steps while the host runs, right after a reboot, and never backwards."""

from __future__ import annotations

import errno
import os
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from evertoken_transports.stores import FileStore
from evertoken_transports.stores._host_clock import HostClock, boot_identity
from tests.real.stores.places import KEY

SOON = 5.0
DAY = 86_400.0


@dataclass
class Host:
    """A host whose clocks are moved by the test."""

    folder: Path
    wall: float = 1_000_000.0
    uptime: float = 100.0
    boot: str = "first"

    def store(self) -> FileStore:
        """As a new process has it."""
        store = FileStore(self.folder)
        store._clock = HostClock(clock=lambda: self.uptime, wall=lambda: self.wall, boot=lambda: self.boot)
        return store

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds
        self.uptime += seconds

    def reboot(self, *, down: float, wall_is_off_by: float = 0.0, boot: str = "second") -> None:
        self.wall += down + wall_is_off_by
        self.uptime, self.boot = 5.0, boot


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "store")


def put(store: FileStore, value: bytes = b"a", *, lasts: float = 10 * DAY) -> float:
    found = store.load(KEY, timeout=SOON).value
    swapped = store.swap(KEY, found, value, lasts=lasts, timeout=SOON)
    assert swapped.done
    return swapped.found.now


def now(store: FileStore) -> float:
    return store.load(KEY, timeout=SOON).now


@pytest.mark.parametrize("step", [-DAY, -1.0, 1.0, DAY, 10_000 * DAY])
def test_a_step_of_the_wall_clock_moves_no_moment(host: Host, step: float) -> None:
    began = put(host.store(), lasts=100.0)
    host.pass_time(10.0)
    host.wall += step
    assert now(host.store()) == began + 10.0
    assert put(host.store(), b"b", lasts=100.0) == began + 10.0
    host.pass_time(99.0)
    assert host.store().load(KEY, timeout=SOON).value == b"b"
    host.pass_time(1.0)
    assert host.store().load(KEY, timeout=SOON).value is None


@pytest.mark.parametrize("step", [-DAY, DAY])
def test_a_step_while_nothing_stands_there_moves_no_moment_of_one_process(host: Host, step: float) -> None:
    store = host.store()
    began = now(store)
    host.wall += step
    host.pass_time(3.0)
    assert put(store) == began + 3.0
    assert store.swap(KEY, b"a", None, lasts=1.0, timeout=SOON).done
    host.wall -= step
    assert now(store) == began + 3.0


def test_after_a_reboot_the_time_that_the_host_was_down_has_passed(host: Host) -> None:
    began = put(host.store(), lasts=1_000.0)
    host.reboot(down=600.0)
    assert now(host.store()) == began + 600.0
    host.pass_time(399.0)
    assert host.store().load(KEY, timeout=SOON).value == b"a"
    host.pass_time(1.0)
    assert host.store().load(KEY, timeout=SOON).value is None


def test_after_a_reboot_with_a_wall_clock_behind_moments_go_on_from_the_last_write(host: Host) -> None:
    began = put(host.store(), lasts=100.0)
    host.reboot(down=600.0, wall_is_off_by=-DAY)
    assert now(host.store()) == began
    # Each look is another process: the first one has fixed the time for the others.
    host.pass_time(60.0)
    assert now(host.store()) == began + 60.0
    host.wall += DAY  # Somebody has set it right.
    assert now(host.store()) == began + 60.0
    host.pass_time(40.0)
    assert host.store().load(KEY, timeout=SOON).value is None


def test_the_first_look_after_a_reboot_fixes_the_time_though_the_wall_clock_is_set_later(host: Host) -> None:
    began = put(host.store())
    host.reboot(down=600.0)
    assert now(host.store()) == began + 600.0
    host.wall += DAY
    assert now(host.store()) == began + 600.0


def test_after_a_reboot_time_goes_on_also_where_the_first_look_cannot_write(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = put(host.store())
    host.reboot(down=600.0)

    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, "")

    monkeypatch.setattr(os, "replace", fail)
    assert now(host.store()) == began + 600.0


def test_a_time_since_the_boot_that_ran_backwards_is_another_boot(host: Host) -> None:
    """A host that was restored from a snapshot, or a container of another time namespace."""
    began = put(host.store())
    host.pass_time(50.0)
    host.uptime = 1.0
    assert now(host.store()) == began + 50.0


def test_where_no_boot_can_be_told_from_another_a_wall_clock_far_ahead_stands_for_one(host: Host) -> None:
    host.boot = ""
    began = put(host.store())
    host.wall += 30.0
    assert now(host.store()) == began
    host.wall -= DAY
    assert now(host.store()) == began
    host.wall += DAY
    host.pass_time(500.0)
    host.reboot(down=600.0, boot="")
    assert now(host.store()) == began + 30.0 + 500.0 + 600.0
    host.pass_time(400.0)
    assert now(host.store()) == began + 30.0 + 500.0 + 600.0 + 400.0


@pytest.mark.parametrize("seed", range(30))
def test_whatever_the_wall_clock_does_no_moment_comes_before_a_write_that_was_before_it(host: Host, seed: int) -> None:
    draw, last = random.Random(seed), put(host.store())
    for number in range(40):
        what = draw.randrange(5)
        if what == 0:
            host.wall += draw.uniform(-DAY, DAY)
        elif what == 1:
            host.reboot(down=draw.uniform(0, 100), wall_is_off_by=draw.uniform(-DAY, DAY), boot=f"b{number}")
        elif what == 2:
            last = put(host.store(), b"%d" % number)
        host.pass_time(draw.uniform(0, 20))
        assert now(host.store()) >= last


def test_this_host_tells_its_boots_apart_where_it_is_linux() -> None:
    assert boot_identity() == boot_identity()
    assert bool(boot_identity()) == Path("/proc/sys/kernel/random/boot_id").exists()
