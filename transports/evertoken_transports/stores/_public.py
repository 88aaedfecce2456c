"""All public names of ``evertoken_transports.stores``, which imports this module when one of them is asked for."""

from __future__ import annotations

from evertoken_transports.stores.exchange import AsyncSharedExchange, SharedExchange
from evertoken_transports.stores.file import FileStore
from evertoken_transports.stores.redis import RedisStore

__all__ = ("AsyncSharedExchange", "FileStore", "RedisStore", "SharedExchange")
