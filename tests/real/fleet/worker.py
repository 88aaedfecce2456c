"""The processes of a fleet, which a nursery forks: ``python -m tests.real.fleet.worker``.

It is told of each on a line of its own, as JSON: a socket, by which the process is spoken to, and URL, KEY, THREADS,
POLICY and STORES. Several stores are tiers, the nearest first. A process says ``ready`` and its id, and then does what
it is told, a line each, and answers with one line of JSON: ``ask`` has every thread ask for a token, ``rejected`` has
an API refuse the one in hand. To import all that it needs takes half a second, so that is done once.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from typing import Any

import filelock  # noqa: F401  # pyright: ignore[reportUnusedImport]  (before the fork)

from evertoken import Challenge, Policy, TokenUnavailable, mangopay
from evertoken_transports.h11 import H11Exchange
from evertoken_transports.stores.exchange import SharedExchange
from evertoken_transports.threads import TokenSource
from tests.real.stores.places import store_of

__all__ = ("main",)


def main(url: str, key: str, threads: str, policy: str, *stores: str) -> None:
    """Serve until the input ends."""
    exchange: Any = H11Exchange()
    for place in reversed(stores):
        exchange = SharedExchange(exchange, store_of(place))
    source = TokenSource(
        mangopay.sandbox("fleet", key, base_url=url), exchange=exchange, policy=Policy(**json.loads(policy))
    )
    say(f"ready {os.getpid()}")
    for line in sys.stdin:
        deed, _, rest = line.strip().partition(" ")
        say(json.dumps(_DEEDS[deed](source, int(threads), rest)))


def ask(source: TokenSource, threads: int, timeout: str) -> list[str]:
    """What each thread got: a token, or the name of the error."""
    got = list[str]()

    def one() -> None:
        try:
            got.append(source.authorization(float(timeout) if timeout else None))
        except TokenUnavailable as error:
            got.append(f"{type(error).__name__}: {error}")

    waiting = [threading.Thread(target=one, daemon=True) for _ in range(threads)]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()
    return got


def rejected(source: TokenSource, threads: int, header: str) -> list[str]:
    """An API refuses ``header``; then ask again."""
    source.token_rejected(header, Challenge.TOKEN)
    return ask(source, threads, "")


def say(what: str) -> None:
    """One line."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


_DEEDS = {"ask": ask, "rejected": rejected}


def nursery() -> None:
    """Fork a process for each line, until there are no more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Nobody waits for them.
    for place in ("/nowhere", "redis://nowhere"):
        store_of(place)
    for line in sys.stdin:
        if os.fork() == 0:
            where, *arguments = json.loads(line)
            speaker = socket.socket(socket.AF_UNIX)
            speaker.connect(where)
            os.dup2(speaker.fileno(), sys.stdin.fileno())
            os.dup2(speaker.fileno(), sys.stdout.fileno())
            sys.stdin = os.fdopen(sys.stdin.fileno())  # What was read ahead was for the nursery.
            main(*arguments)
            os._exit(0)


if __name__ == "__main__":
    nursery()
