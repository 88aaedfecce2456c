"""Which store is meant. Apart from the rest, so that a process needs nothing else to begin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from evertoken.sharing import Store

__all__ = ("KEY", "OTHER", "client_of_sentinel", "store_of")

KEY, OTHER = "ab" * 32, "cd" * 32


def store_of(place: str) -> Store:
    """The store at ``place``: a folder, a URL, or ``master:`` and a file that holds the port of the one that is."""
    if place.startswith("master:"):
        from evertoken_transports.stores.redis import RedisStore

        return RedisStore(client_of_sentinel(lambda: int(Path(place.removeprefix("master:")).read_text())))
    if "://" in place:
        from evertoken_transports.stores.redis import RedisStore

        return RedisStore(place)
    from evertoken_transports.stores.file import FileStore

    return FileStore(place)


def client_of_sentinel(port: Callable[[], int]) -> Any:  # noqa: ANN401
    """A client that asks Sentinel, who says ``port``, where the master is, each time that it connects."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry
    from redis.sentinel import Sentinel

    def found(_: str) -> tuple[str, int]:
        return "127.0.0.1", port()

    manager = cast("Any", Sentinel)([])
    manager.discover_master = found
    return manager.master_for("mymaster", socket_timeout=5.0, retry=Retry(NoBackoff(), 0))
