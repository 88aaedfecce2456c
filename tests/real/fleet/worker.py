"""The processes of a fleet.

A process does what it is told, a line each, and answers with one line of JSON: ``ask`` has every thread ask for a
token, ``insist`` does so when there is one, ``rejected`` has an API refuse the one in hand.
"""

from __future__ import annotations

import functools
import json
import sys
import threading
from collections.abc import Callable
from typing import Any

import filelock  # noqa: F401  # pyright: ignore[reportUnusedImport]  (before the fork)

from evertoken import Challenge, ClientCredentials, Policy, TokenUnavailable, mangopay
from evertoken_transports.h11 import H11Exchange
from evertoken_transports.stores.exchange import SharedExchange
from evertoken_transports.threads import TokenSource
from tests.real.stores.places import store_of

__all__ = ("ready",)


def ready(url: str, key: str, threads: str, policy: str, *stores: str) -> Callable[[], None]:
    """A life in which one shares by ``stores``, the nearest first."""
    for place in stores:
        store_of(place).close()  # So that what it needs is there before the fork.
    return functools.partial(_serve, _grant_of(url, key), int(threads), Policy(**json.loads(policy)), stores)


@functools.cache
def _grant_of(url: str, key: str) -> ClientCredentials:
    """Its sealing key costs 20 ms; derived before the fork, as where an application is preloaded, it does so once."""
    grant = mangopay.sandbox("fleet", key, base_url=url)
    grant.seal("", "")
    return grant


def _serve(grant: ClientCredentials, threads: int, policy: Policy, stores: tuple[str, ...]) -> None:
    """Serve until the input ends."""
    exchange: Any = H11Exchange()
    for place in reversed(stores):
        exchange = SharedExchange(exchange, store_of(place))
    source = TokenSource(grant, exchange=exchange, policy=policy)
    for line in sys.stdin:
        deed, _, rest = line.strip().partition(" ")
        sys.stdout.write(f"{json.dumps(_DEEDS[deed](source, threads, rest))}\n")
        sys.stdout.flush()


def ask(source: TokenSource, threads: int, timeout: str) -> list[str]:
    """What each thread got: a token, or the name of the error."""
    got = list[str]()

    def one() -> None:
        try:
            got.append(source.authorization(float(timeout)))
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
    return ask(source, threads, "300")


def insist(source: TokenSource, threads: int, pause: str) -> list[str]:
    """Ask now and then until there is a token, and then for all."""
    while not ask(source, 1, "300")[0].startswith("Bearer "):
        threading.Event().wait(float(pause))
    return ask(source, threads, "300")


_DEEDS = {"ask": ask, "insist": insist, "rejected": rejected}
