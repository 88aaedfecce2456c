"""Which store is meant. Apart from the rest, so that a process needs nothing else to begin."""

from __future__ import annotations

from evertoken.sharing import Store

__all__ = ("KEY", "OTHER", "store_of")

KEY, OTHER = "ab" * 32, "cd" * 32


def store_of(place: str) -> Store:
    """The store at ``place``: a folder, or a URL."""
    if "://" in place:
        from evertoken_transports.stores.redis import RedisStore

        return RedisStore(place)
    from evertoken_transports.stores.file import FileStore

    return FileStore(place)
