"""All that ``evertoken_transports.stores`` offers."""

from __future__ import annotations

from evertoken_transports.stores.exchange import AsyncSharedExchange, SharedExchange
from evertoken_transports.stores.file import FileStore
from evertoken_transports.stores.redis import RedisStore

__all__ = ("AsyncSharedExchange", "FileStore", "RedisStore", "SharedExchange")
