"""What a shared store has to be able to do: keep one value for each key, swap it as a whole, and tell the time.

A store knows no rule. It compares and swaps bytes, so that two of them are alike in all that matters, and whatever is
decided is decided in one place, here in the core, where it can be explored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from evertoken._secrecy import Unpicklable


@dataclass(frozen=True, slots=True)
class Found(Unpicklable):
    """What stands in the store under one key.

    ``value`` is the record as it stands; None if there is none. ``now`` is the store's own clock in seconds, read
    during the call. ``holder_lives`` says whether the process that last swapped with a ``holder`` still lives; None
    where the store cannot tell (Redis).
    """

    value: bytes | None = field(repr=False)
    now: float
    holder_lives: bool | None = None


@dataclass(frozen=True, slots=True)
class Swapped:
    """What became of a swap. Not ``done``: the value was not the expected one, and nothing was changed.

    ``found`` is what stands now: after a swap that was done, the new value.
    """

    done: bool
    found: Found


class StoreTrouble(Exception):
    """The store did not do it, or nobody knows whether it did. The text is for people, and says what to do."""

    __module__ = "evertoken.sharing"


class Store(Protocol):
    """Compare and swap, and a clock. Blocking: asynchronous drivers run it in a worker thread of its own.

    A key is 64 hexadecimal digits. Each call is over ``timeout`` seconds after it began, with an answer or with
    :class:`StoreTrouble`; after the latter of a swap, nobody knows whether it was done.
    """

    def load(self, key: str, /, *, timeout: float) -> Found:
        """What stands under ``key``."""
        ...

    def swap(
        self,
        key: str,
        expected: bytes | None,
        value: bytes | None,
        /,
        *,
        lasts: float,
        holder: str = "",
        timeout: float,
    ) -> Swapped:
        """Replace ``expected`` by ``value`` in one step, or change nothing. None stands for no value.

        After ``lasts`` seconds the store may forget the value. ``holder`` is the nonce of the lease that this very
        process takes by this swap, and empty if it takes none. A store that can tell whether a process lives ties the
        last holder that was named to it, until that process swaps again or dies; swaps of others, which name none, do
        not touch it.
        """
        ...

    def subscribe(self, key: str, callback: Callable[[], None], /) -> Callable[[], None] | None:
        """Have ``callback`` called, from any thread, after the value of ``key`` changes; gives the way to end that.

        None: this store cannot tell.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections. Closing twice is closing once."""
        ...


class Cipher(Protocol):
    """The optional encryption of records, which the core has no library for. It must authenticate what it encrypts."""

    def encrypt(self, plain: bytes, /) -> bytes:
        """``plain`` in a form that nobody reads who has no key."""
        ...

    def decrypt(self, cipher: bytes, /) -> bytes | None:
        """What was encrypted under any of the keys; None if it was under none of them."""
        ...
