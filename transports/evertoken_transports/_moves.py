"""What a coordinator hands out, and to whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from evertoken import GiveUp, Ready, TokenRequest, Wait
from evertoken_transports._events import EventCallback

__all__ = ("Move", "Subscriber", "Waker", "wake")

Waker = Callable[[], object]
"""May be called from any thread. Whoever is woken asks again."""


class Move(NamedTuple):
    """What one caller does next, and the request that it must see carried first, if any.

    A request that is handed out here is claimed: whoever gets it reports exactly one outcome for it.
    """

    answer: Ready | GiveUp | Wait
    request: TokenRequest | None


class Subscriber(Protocol):
    """What a coordinator keeps up to date: a source. It is held weakly, so one that is dropped is forgotten."""

    on_event: EventCallback | None

    def republish(self, quiet_until: float, header: str | None) -> None:
        """Before ``quiet_until``, ``header`` is good and nothing needs doing. Called under the lock: only keep it."""
        ...

    def forked(self) -> None:
        """In a forked child: nothing that ran beside is there any more."""
        ...


def wake(wakers: list[Waker]) -> None:
    """Wake everyone. A waiter whose event loop is closed cannot be woken, and must not stop the others."""
    for wake in wakers:
        try:
            wake()
        except Exception:  # noqa: BLE001, S112 (there is nobody to tell: its loop is gone)
            continue
