"""Processes that share, and the endpoint that they ask."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from evertoken_transports.emulator import Emulator
from tests.kits import canary
from tests.real.nursery import Nursery, Process

__all__ = ("CLIENT", "KEY", "PATIENT", "Fleet", "are_tokens", "asked", "command", "got_by", "running_fleet")

CLIENT = "fleet"
KEY = canary.secret()
THREADS = 4
PATIENT = {"store_wait": 30.0, "request_timeout": 30.0}
"""For counts that hold on a busy machine as well: one call of the store may take a tenth of the first."""


class Fleet:
    """Processes that share, and the endpoint that they ask."""

    def __init__(self, nursery: Nursery, emulator: Emulator, places: Callable[[int], list[str]]) -> None:
        self.emulator, self._nursery, self._places = emulator, nursery, places
        self.workers = list[Process]()

    def start(self, count: int, policy: dict[str, float] = PATIENT) -> list[Process]:
        """So many more processes, ready to ask."""
        made = [
            self._nursery.born(
                "worker", self.emulator.base_url, KEY, str(THREADS), json.dumps(policy), *self._places(number)
            )
            for number in range(count)
        ]
        self.workers += made
        return made

    def ask(self, workers: list[Process], deed: str = "ask 300") -> set[str]:
        """What they all get, asked at once."""
        for worker in workers:
            worker.tell(deed)
        return {each for worker in workers for each in got_by(worker)}

    @property
    def asked(self) -> int:
        return asked(self.emulator)

    def end(self, workers: list[Process] | None = None) -> None:
        for worker in self.workers if workers is None else workers:
            worker.close()
        self.workers = [worker for worker in self.workers if workers is not None and worker not in workers]


@contextmanager
def running_fleet(nursery: Nursery, emulator: Emulator, places: Callable[[int], list[str]]) -> Generator[Fleet]:
    """A fleet that ends with the test."""
    made = Fleet(nursery, emulator, places)
    try:
        yield made
    finally:
        made.end()


def got_by(worker: Process) -> list[str]:
    """What came of what ``worker`` was told: for each thread a token, or the name of the error."""
    return [str(each) for each in json.loads(worker.line())]


def are_tokens(got: set[str]) -> bool:
    """Whether everybody got one."""
    return all(each.startswith("Bearer ") for each in got)


def asked(emulator: Emulator) -> int:
    """How many token requests there were."""
    return sum(arrival.method == "POST" for arrival in emulator.arrivals)


def command(emulator: Emulator, store: str, *arguments: str, key: str = KEY) -> subprocess.Popen[str]:
    """``evertoken`` in a process of its own, as from a shell."""
    environment = {**os.environ, "EVERTOKEN_CLIENT_ID": CLIENT, "EVERTOKEN_API_KEY": key}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    there = ["--profile", "mangopay-sandbox", "--url", emulator.base_url, "--store", store]
    return subprocess.Popen(
        [sys.executable, "-m", "evertoken_transports.tools.cli", *arguments, *there],
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
