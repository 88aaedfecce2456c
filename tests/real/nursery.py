"""Processes that are forked from one that has imported all that they need, which takes a second: once is enough.

``python -m tests.real.nursery FD`` is that one. Through the socket FD it is sent what a process is to be, as JSON, with
its standard input and output, and answers with the process's id.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kits.worlds import until

__all__ = ("Nursery", "Process", "nursery")

ROOT = Path(__file__).parents[2]
MOST = 65_536
"""Bytes of what is said of one process."""


class Process:
    """A process of its own, to which one speaks in lines."""

    def __init__(self, pid: int, to_it: int, from_it: int) -> None:
        self._pid = pid
        self._to_it, self._from_it = os.fdopen(to_it, "w"), os.fdopen(from_it)

    def line(self) -> str:
        """The next line that it tells; empty when it has ended."""
        return self._from_it.readline().rstrip("\n")

    def rest(self) -> str:
        """What else it tells, until it ends."""
        return self._from_it.read()

    def tell(self, what: str = "") -> None:
        """Give it the line that it waits for."""
        self._to_it.write(f"{what}\n")
        self._to_it.flush()

    @property
    def is_alive(self) -> bool:
        with suppress(ProcessLookupError):
            os.kill(self._pid, 0)
            return True
        return False

    def pause(self) -> None:
        self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it, and see to it that it is gone."""
        self._send(signal.SIGKILL)
        until(lambda: not self.is_alive)

    def close(self) -> None:
        self.kill()
        with suppress(BrokenPipeError):
            self._to_it.close()
        self._from_it.close()

    def _send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, number)


class Nursery:
    """From which processes are forked."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
        self._line, theirs = socket.socketpair()
        with theirs:
            # Python complains of whoever forks and has threads, which is what some of these processes are to try.
            command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.real.nursery"]
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def born(self, kind: str, *arguments: str) -> Process:
        """A new process that is a ``kind`` of those in ``main``."""
        their_input, to_it = os.pipe()
        from_it, their_output = os.pipe()
        try:
            said = json.dumps([kind, *arguments]).encode()
            assert len(said) < MOST
            socket.send_fds(self._line, [said], [their_input, their_output])
        finally:
            os.close(their_input)
            os.close(their_output)
        return Process(int(self._line.recv(MOST)), to_it, from_it)

    def close(self) -> None:
        self._line.close()
        self._process.wait()


@pytest.fixture(scope="session")
def nursery() -> Generator[Nursery]:
    made = Nursery()
    yield made
    made.close()


def main(descriptor: str) -> None:
    """Fork a process for each message, until there are no more."""
    from tests.real.fleet import worker
    from tests.real.stores import child

    kinds: dict[str, Callable[..., Callable[[], None]]] = {"worker": worker.ready, "child": child.ready}
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Nobody waits for them.
    with socket.socket(fileno=int(descriptor)) as line:
        while True:
            said, descriptors, _, _ = socket.recv_fds(line, MOST, 2)
            if not said:
                return
            kind, *arguments = json.loads(said)
            live = kinds[kind](*arguments)
            pid = os.fork()
            if pid == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                line.close()
                os._exit(_lived(live, *descriptors))
            for each in descriptors:
                os.close(each)
            line.sendall(b"%d" % pid)


def _lived(live: Callable[[], None], their_input: int, their_output: int) -> int:
    """A whole life, and its exit status."""
    for number, each in enumerate((their_input, their_output)):
        os.dup2(each, number)
        os.close(each)
    try:
        live()
    except BaseException:  # noqa: BLE001 (whatever it is: the test sees that the process has ended)
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main(*sys.argv[1:])
