"""The examples run as they stand, come to the same end everywhere, and notice what they say they check."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
OWN_SIMULATOR = EXAMPLES / "own_simulator.py"


def run(hash_seed: str) -> str:
    return subprocess.run(
        [sys.executable, str(OWN_SIMULATOR), "11"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
    ).stdout


def test_the_simulator_of_ones_own_comes_to_the_same_end_under_any_hash_seed() -> None:
    told = run("1")
    assert told == run("2")
    found = re.fullmatch(
        r"seed 11: (\d+) payments, (\d+) turned away, (\d+) token requests, (\d+) restarts, (\d+) states,"
        r" history [0-9a-f]{12}\n",
        told,
    )
    assert found is not None, told
    paid, turned_away, requests, restarts, states = map(int, found.groups())
    assert paid > turned_away > 0
    assert requests > 50
    assert restarts >= 2
    assert states > 500


def test_the_simulator_of_ones_own_notices_a_payment_with_an_expired_token() -> None:
    simulator = runpy.run_path(str(OWN_SIMULATOR))["Simulator"]
    simulator.lifetime = 50  # The endpoint says 60.
    with pytest.raises(AssertionError, match="a payment carries an expired token"):
        simulator(11).run()
