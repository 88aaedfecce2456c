"""The processes of these tests, by what they do."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

from evertoken.sharing import StoreTrouble
from tests.real.stores.places import KEY, store_of
from tests.real.stores.register import Call

__all__ = ("ready",)

SOON = 5.0


def ready(deed: str, place: str, *arguments: str) -> Callable[[], None]:
    """A life in which ``deed`` is done to the store at ``place``."""
    store_of(place).close()  # So that what it needs is there before the fork.
    return partial(_DEEDS[deed], place, *arguments)


def hold(place: str, holder: str) -> None:
    """Take the lease, tell it, and live until told to end."""
    store = store_of(place)
    assert store.swap(KEY, None, b"leased", lasts=600, holder=holder, timeout=SOON).done
    say("holds")
    sys.stdin.readline()


def hold_and_fork(place: str, holder: str) -> None:
    """The same, with a child that lives on, and looks whether its parent does whenever it is told to."""
    store = store_of(place)
    assert store.swap(KEY, None, b"leased", lasts=600, holder=holder, timeout=SOON).done
    if os.fork() == 0:
        say(store.load(KEY, timeout=SOON).holder_lives)
        sys.stdin.readline()
        say(store.load(KEY, timeout=SOON).holder_lives)
        os._exit(0)
    threading.Event().wait()


def fork(place: str) -> None:
    """Swap, fork, and swap on both sides, the child first."""
    store = store_of(place)
    swapped = store.swap(KEY, None, b"parent", lasts=600, timeout=SOON)
    assert swapped.done
    child = os.fork()
    expected, value = (b"parent", b"child") if child == 0 else (b"child", b"parent")
    if child:
        os.waitpid(child, 0)
    done = store.swap(KEY, expected, value, lasts=600, timeout=SOON).done
    say(f"{value.decode()} {'done' if done else 'not done'}")
    if child == 0:
        os._exit(0)


def write(place: str, name: str) -> None:
    """Swap as fast as it goes, until killed."""
    store, count = store_of(place), 0
    say("begins")
    while True:
        found = store.load(KEY, timeout=SOON).value
        value = f"{name} {count} ".encode() * 2_000
        store.swap(KEY, found, value, lasts=600, holder=f"{name}.{count}", timeout=SOON)
        count += 1


def record(place: str, name: str, calls: str) -> None:
    """Load and swap so many times, once told to begin, and tell of each call when it began and what came of it.

    A call that is begun is told first: whoever is killed in the midst of it may have done it.
    """
    store, clock = store_of(place), time.monotonic_ns
    known: bytes | None = None
    say("ready")
    sys.stdin.readline()
    for count in range(int(calls)):
        value = f"{name}.{count}".encode()
        is_swap = count % 3 != 0
        begun = Call(name, clock(), None, known if is_swap else None, value if is_swap else None, is_swap=is_swap)
        tell(begun)
        try:
            if is_swap:
                swapped = store.swap(KEY, known, value, lasts=1e6, holder=f"{name}.{count}", timeout=1.0)
                done, found = swapped.done, swapped.found.value
            else:
                done, found = None, store.load(KEY, timeout=1.0).value
        except StoreTrouble:
            threading.Event().wait(
                0.01
            )  # Calls that are in vain are soon over, and some are to come after the trouble.
            continue
        known = found
        tell(begun.over(clock(), done, found))


def tell(call: Call) -> None:
    """One line for ``call``."""
    sys.stdout.write(json.dumps(call.as_json()) + "\n")
    sys.stdout.flush()


def say(what: object) -> None:
    """Tell the test."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


_DEEDS = {each.__name__: each for each in (fork, hold, hold_and_fork, record, write)}
