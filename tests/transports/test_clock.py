"""The clocks: they never run backwards, and what the machine slept or was paused counts."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evertoken_transports import _clock, suspend_aware_clock, watchful_clock

# Whole numbers, so that sums are exact.
STEPS = st.lists(st.tuples(st.integers(0, 1000), st.integers(-5000, 5000)), max_size=20)


class Hands:
    """A base clock and a wall clock that are set by hand."""

    def __init__(self, base: float = 100.0, wall: float = 1_000_000.0) -> None:
        self.base = base
        self.wall = wall

    def pass_by(self, seconds: float) -> None:
        self.base += seconds
        self.wall += seconds

    def clock(self, tolerance: float = 1.0) -> _clock.Clock:
        return watchful_clock(base=lambda: self.base, wall=lambda: self.wall, tolerance=tolerance)


# ------------------------------------------------------------------------------------------------- the default


def test_the_default_clock_never_runs_backwards() -> None:
    readings = [suspend_aware_clock() for _ in range(1000)]
    assert readings == sorted(readings)


@pytest.mark.parametrize(
    ("platform", "name"), [("linux", "CLOCK_BOOTTIME"), ("darwin", "CLOCK_MONOTONIC_RAW")], ids=["Linux", "macOS"]
)
def test_the_default_clock_is_the_one_that_counts_suspended_time(
    platform: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(time, name, 77, raising=False)
    monkeypatch.setattr(time, "clock_gettime", {77: 5.5}.__getitem__)
    assert _clock._choose_clock()() == 5.5


def test_on_other_platforms_monotonic_counts_suspended_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert _clock._choose_clock() is time.monotonic


def test_a_kernel_without_that_clock_is_served_by_monotonic(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(clock_id: int) -> float:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(time, "clock_gettime", unknown)
    assert _clock._if_it_works(77) is time.monotonic


def test_the_default_clock_is_called_without_a_python_frame() -> None:
    assert not hasattr(suspend_aware_clock, "__code__")


# ------------------------------------------------------------------------------------------ the watchful clock


def test_it_is_the_base_clock_while_both_agree() -> None:
    hands = Hands()
    clock = hands.clock()
    for _ in range(10):
        hands.pass_by(3.25)
        assert clock() == hands.base


def test_a_pause_that_the_wall_clock_betrays_counts_whole_and_stays() -> None:
    hands = Hands()
    clock = hands.clock()
    hands.wall += 8 * 3600
    assert clock() == 100.0 + 8 * 3600
    hands.pass_by(5.0)
    assert clock() == 105.0 + 8 * 3600


def test_two_pauses_add_up() -> None:
    hands = Hands()
    clock = hands.clock()
    hands.wall += 60
    hands.wall += 40
    assert clock() == 200.0


def test_setting_the_wall_clock_back_does_nothing() -> None:
    hands = Hands()
    clock = hands.clock()
    hands.wall -= 3600
    assert clock() == 100.0


def test_a_wall_clock_that_is_set_to_and_fro_counts_once() -> None:
    hands = Hands()
    clock = hands.clock()
    for _ in range(50):
        hands.wall += 3600
        assert clock() == 3700.0
        hands.wall -= 3600
        assert clock() == 3700.0


def test_noise_within_the_tolerance_never_becomes_time() -> None:
    hands = Hands()
    clock = hands.clock(tolerance=1.0)
    for _ in range(1000):
        hands.wall += 1.0
        assert clock() == 100.0
        hands.wall -= 1.0
        assert clock() == 100.0


def test_a_drift_that_lasts_counts_once_it_exceeds_the_tolerance() -> None:
    hands = Hands()
    clock = hands.clock(tolerance=1.0)
    for _ in range(5):
        hands.wall += 0.25
    assert clock() == 101.25


def test_a_thread_held_up_between_the_two_readings_adds_nothing() -> None:
    hands = Hands()
    held_up = 0.0

    def base() -> float:
        hands.pass_by(held_up)
        return hands.base

    def wall() -> float:
        hands.pass_by(held_up)
        return hands.wall

    clock = watchful_clock(base=base, wall=wall)
    held_up = 30.0
    assert clock() == 160.0
    held_up = 0.0
    assert clock() == 160.0


@given(STEPS, st.integers(0, 100))
def test_it_never_runs_backwards_and_never_behind_its_base(steps: list[tuple[int, int]], tolerance: int) -> None:
    hands = Hands()
    clock = hands.clock(tolerance)
    before = clock()
    for passed, step in steps:
        hands.pass_by(passed)
        hands.wall += step
        now = clock()
        assert now >= before + passed
        assert now >= hands.base
        before = now


@given(STEPS)
def test_it_is_never_ahead_of_both_clocks(steps: list[tuple[int, int]]) -> None:
    hands = Hands()
    clock = hands.clock(0.0)
    furthest = 0.0
    for passed, step in steps:
        hands.pass_by(passed)
        hands.wall += step
        furthest = max(furthest, hands.wall - 1_000_000.0 - (hands.base - 100.0))
        assert clock() == hands.base + furthest


def test_threads_that_notice_the_same_pause_agree_on_it_for_good() -> None:
    hands = Hands()
    first_is_there, second_is_done = threading.Event(), threading.Event()

    class SlowLock:
        """Holds up the thread that noticed the smaller advance until the other has counted the larger one."""

        def __enter__(self) -> None:
            if threading.current_thread() is slow:
                first_is_there.set()
                assert second_is_done.wait(10)

        def __exit__(self, *_: object) -> None:
            return

    clock = hands.clock()
    slow = threading.Thread(target=clock, daemon=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_clock, "_raising", SlowLock())
        hands.wall += 100.0
        slow.start()
        assert first_is_there.wait(10)
        hands.wall += 0.5
        assert clock() == 200.5
        second_is_done.set()
        slow.join(10)
    assert clock() == 200.5


# In a process of its own: a runner of tests has threads, and Python warns of forking beside them.
FORK = """
import os
from evertoken_transports import _clock, watchful_clock
hands = {"wall": 1000.0}
clock = watchful_clock(base=lambda: 100.0, wall=lambda: hands["wall"])
hands["wall"] += 100.0
with _clock._raising:
    child = os.fork()
    if child == 0:
        os._exit(0 if clock() == 200.0 else 1)
    raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
def test_a_forked_child_is_not_held_by_a_lock_of_its_parent() -> None:
    assert subprocess.run([sys.executable, "-c", FORK], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf"), True, "1"])
def test_a_wrong_tolerance_is_refused_by_name(tolerance: float) -> None:
    with pytest.raises(ValueError, match="tolerance"):
        watchful_clock(tolerance=tolerance)


def test_with_the_real_clocks_it_starts_at_its_base() -> None:
    before = suspend_aware_clock()
    now = watchful_clock(tolerance=3600.0)()
    assert before <= now <= suspend_aware_clock()
