"""One token for many processes: a shared store is a small cache in front of the token endpoint, with a lease.

**Whatever is shared is one record, one opaque value for each key.** It holds the token that was granted last, a block
that is known, the lease of whoever is asking, and the account of the whole fleet: failures, back-off, budget. A store
(:class:`Store`) compares and swaps that value, and tells the time. All rules are here, and pure.

An exchange with a store does this for each request. It looks at the record: a token that is fresh and newer than the
one in hand is the answer; a block that stands is the answer; else it takes the lease, asks the inner exchange, and
keeps what came of it, which gives the lease back. Who finds the lease taken waits until that is over.

The parts, for who writes a driver: :class:`Sharing` is made once, and :meth:`Sharing.ask` gives an :class:`Ask` for
each request, which says what to do (:class:`Load`, :class:`Acquire`, :class:`Send` …) and is told what came of it.
"""

from __future__ import annotations

from evertoken.sharing._actions import (
    Acquire,
    Action,
    Answer,
    Fail,
    Keep,
    Load,
    Over,
    Postpone,
    Release,
    Send,
    Sleep,
)
from evertoken.sharing._ask import Ask, Edit, Sharing
from evertoken.sharing._codec import key_of
from evertoken.sharing._status import Status, status_of
from evertoken.sharing._store import Cipher, Found, Store, StoreTrouble, Swapped

__all__ = (
    "Acquire",
    "Action",
    "Answer",
    "Ask",
    "Cipher",
    "Edit",
    "Fail",
    "Found",
    "Keep",
    "Load",
    "Over",
    "Postpone",
    "Release",
    "Send",
    "Sharing",
    "Sleep",
    "Status",
    "Store",
    "StoreTrouble",
    "Swapped",
    "key_of",
    "status_of",
)
