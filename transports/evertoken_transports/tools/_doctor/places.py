"""The store: whether it can be reached, read, locked and written, by this user and with these rights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from urllib.parse import urlsplit

from evertoken import ClientCredentials
from evertoken._checks import is_loopback
from evertoken.sharing import Cipher, Found, Store, StoreTrouble
from evertoken.sharing._codec import key_of, read_record
from evertoken.sharing._record import Record
from evertoken_transports.stores._redis_look import name_of
from evertoken_transports.stores.file import FileStore
from evertoken_transports.stores.redis import RedisStore
from evertoken_transports.tools._doctor.finding import Finding, Level

STORE = "store"

_SECONDS = 2.0
_PROBE = hashlib.sha256(b"evertoken doctor").hexdigest()
"""A key that is nobody's: what is written there tries the store, and is taken away again."""

_HEARING = (
    "whoever waits for a token looks for it and is not told: this user lacks the right to publish and to subscribe "
    "there"
)


@dataclass(frozen=True, slots=True)
class Place:
    """What was found of the store, and what stands there for this client."""

    findings: tuple[Finding, ...]
    record: Record | None = None
    now: float = 0.0

    @property
    def is_usable(self) -> bool:
        """Whether a token may be asked for: without the store it would be one for this process alone."""
        return not any(each.stops for each in self.findings)


def looked_at(store: Store, where: str | None, grant: ClientCredentials, cipher: Cipher | None) -> Place:
    """Try ``store``, which was made of the argument ``where``, and read what it holds for ``grant``."""
    key = key_of(grant)
    try:
        found = store.load(key, timeout=_SECONDS)
        _write(store)
        told = _tried_lock(store, key) if isinstance(store, FileStore) else f"{store!r} can be read and written"
    except StoreTrouble as trouble:
        todo = "Mend that first. Until then no command asks for a token, and each process of a program asks by itself."
        return Place((Finding(STORE, Level.PROBLEM, str(trouble), todo),))
    warned = _warned(store, where, encrypted=cipher is not None) if isinstance(store, RedisStore) else None
    read = read_record(grant, key, found.value, cipher)
    if read.fault is not None:
        todo = (
            "Nothing: the next answer replaces it. If it comes back, somebody else writes there, or processes have "
            "different keys in EVERTOKEN_STORE_KEYS."
        )
        warned = Finding(STORE, Level.WARNING, f"{told}: the record is not believed: {read.fault}", todo)
    return Place((warned or Finding(STORE, Level.OK, told),), read.record, found.now)


def _tried_lock(store: FileStore, key: str) -> str:
    """Take the very lock that a request takes, and let it go."""
    with store._folder.trouble("be locked"):
        store._lock(key, _SECONDS).free()
    return f"{store._folder.path} is this user's and closed to others, and can be read, locked and written"


def _write(store: Store) -> None:
    """Write something into the store and take it away again. What stood there was left by a doctor that did not end."""
    for value in (b"doctor", None):
        found: Found = store.load(_PROBE, timeout=_SECONDS)
        store.swap(_PROBE, found.value, value, lasts=60.0, timeout=_SECONDS)


def _warned(store: RedisStore, where: str | None, *, encrypted: bool) -> Finding | None:
    """A warning of what works and could work better; None if nothing could."""
    if not _hears(store):
        todo = f"ACL SETUSER ... resetchannels &{store._prefix}:* +publish +subscribe"
        return Finding(STORE, Level.WARNING, f"{store!r}: {_HEARING}", todo)
    return _in_clear(store, where, encrypted=encrypted)


def _in_clear(store: RedisStore, where: str | None, *, encrypted: bool) -> Finding | None:
    """A warning if the network between this machine and the store could read the tokens."""
    parts = urlsplit(where or "")
    if parts.scheme != "redis" or encrypted or is_loopback(parts.hostname or "localhost"):
        return None
    found = f"{store!r} can be read and written, and tokens travel to it in clear"
    todo = "Use rediss:// (TLS), or encrypt what is stored by EVERTOKEN_STORE_KEYS, unless that network is your own."
    return Finding(STORE, Level.WARNING, found, todo)


def _hears(store: RedisStore) -> bool:
    """Whether this user may publish and subscribe. Without these rights everything works, a little later."""
    name = name_of(store._prefix, _PROBE)
    try:
        client = store._client()
        client.publish(name, b"")
        with client.pubsub() as channel:
            channel.subscribe(name)
            channel.get_message(timeout=_SECONDS)
    except Exception as error:  # noqa: BLE001 (of whichever client)
        return not any(kind.__name__ == "NoPermissionError" for kind in type(error).__mro__)
    return True
