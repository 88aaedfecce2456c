"""Processes that share, and the endpoint that they ask."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory

from evertoken_transports.emulator import Emulator
from tests.kits import canary
from tests.kits.source_tree import ROOT
from tests.kits.worlds import LIMIT

__all__ = ("CLIENT", "KEY", "Fleet", "Worker", "are_tokens", "asked", "command", "running_fleet")

CLIENT = "fleet"
KEY = canary.secret()
THREADS = 4


class Nursery:
    """From which processes are forked."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
        self._folder = TemporaryDirectory()
        self._listener = socket.socket(socket.AF_UNIX)
        self._where = f"{self._folder.name}/socket"
        self._listener.bind(self._where)
        self._listener.listen()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.real.fleet.worker"],
            cwd=ROOT,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
        )

    def born(self, *arguments: str) -> socket.socket:
        """A new process, by what it is spoken to."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps([self._where, *arguments])}\n")
        self._process.stdin.flush()
        self._listener.settimeout(LIMIT)
        return self._listener.accept()[0]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._listener.close()
        self._folder.cleanup()


class Worker:
    """A process of the fleet."""

    def __init__(
        self, nursery: Nursery, url: str, stores: list[str], key: str, policy: dict[str, float] | None
    ) -> None:
        self._line = nursery.born(url, key, str(THREADS), json.dumps(policy or {}), *stores)
        self._file = self._line.makefile("rw")
        word, _, pid = self.line().partition(" ")
        assert word == "ready"
        self._pid = int(pid)

    def line(self) -> str:
        return self._file.readline().strip()

    def tell(self, deed: str) -> None:
        self._file.write(f"{deed}\n")
        self._file.flush()

    def got(self) -> list[str]:
        return [str(each) for each in json.loads(self.line())]

    def pause(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    def end(self) -> None:
        """Kill it, and see to it that it is gone."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        while self._file.readline():
            pass
        self._file.close()
        self._line.close()


class Fleet:
    """Processes that share, and the endpoint that they ask."""

    def __init__(self, emulator: Emulator, places: Callable[[int], list[str]]) -> None:
        self.emulator, self._places = emulator, places
        self.workers = list[Worker]()
        self._nursery = Nursery()

    def start(self, count: int, key: str = KEY, policy: dict[str, float] | None = None) -> list[Worker]:
        """So many more processes, ready to ask."""
        made = [
            Worker(self._nursery, self.emulator.base_url, self._places(number), key, policy) for number in range(count)
        ]
        self.workers += made
        return made

    def ask(self, workers: list[Worker], deed: str = "ask") -> set[str]:
        """What they all get, asked at once."""
        for worker in workers:
            worker.tell(deed)
        return {each for worker in workers for each in worker.got()}

    @property
    def asked(self) -> int:
        return asked(self.emulator)

    def close(self) -> None:
        self.end()
        self._nursery.close()

    def end(self, workers: list[Worker] | None = None) -> None:
        for worker in self.workers if workers is None else workers:
            worker.end()
        self.workers = [worker for worker in self.workers if workers is not None and worker not in workers]


@contextmanager
def running_fleet(emulator: Emulator, places: Callable[[int], list[str]]) -> Generator[Fleet]:
    """A fleet that ends with the test."""
    made = Fleet(emulator, places)
    try:
        yield made
    finally:
        made.close()


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
