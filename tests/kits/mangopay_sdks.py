"""Mangopay's own SDKs against the emulator: the emulator they reach, what it saw, and a program that is run whole."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from evertoken.testing import Arrival, Route
from evertoken_transports.emulator import Emulator
from tests.kits.emulation import LIMIT

__all__ = ("CLIENT", "KEY", "api_calls", "emulator", "run", "token_requests")

CLIENT, KEY = "my shop's", "an-API-key"

# The environment without its proxies, through which calls to this machine must not go.
_DIRECT = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    for name in os.environ.keys() - _DIRECT.keys():
        monkeypatch.delenv(name)
    with Emulator(client_id=CLIENT, api_key=KEY) as emulator:
        yield emulator


def token_requests(emulator: Emulator) -> list[int | None]:
    """The status of the answer to each token request that reached ``emulator``."""
    return [arrival.status for arrival in emulator.arrivals if arrival.route is Route.TOKEN]


def api_calls(emulator: Emulator) -> list[Arrival]:
    """What reached the API."""
    return [arrival for arrival in emulator.arrivals if arrival.route is Route.API]


def run(*command: str, folder: Path | None = None) -> str:
    """What ``command`` prints. The test fails if the command complains, or does not end."""
    ended = subprocess.run(command, cwd=folder, env=_DIRECT, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout + ended.stderr
    return ended.stdout
