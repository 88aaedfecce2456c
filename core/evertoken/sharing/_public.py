"""All that ``evertoken.sharing`` offers."""

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
from evertoken.sharing._ask import Ask
from evertoken.sharing._call import Edit
from evertoken.sharing._codec import key_of
from evertoken.sharing._sharing import Sharing
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
