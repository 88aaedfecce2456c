"""Stores: one token for all processes of a host, or of many hosts.

:class:`FileStore` is for the processes of one user on one host, :class:`RedisStore` for those of many hosts.
:class:`SharedExchange` and :class:`AsyncSharedExchange` are the exchanges that share by them; sources and auth objects
make one where they are given ``store=``.
"""

from __future__ import annotations

from evertoken_transports.stores.exchange import AsyncSharedExchange, SharedExchange
from evertoken_transports.stores.file import FileStore
from evertoken_transports.stores.redis import RedisStore

__all__ = ("AsyncSharedExchange", "FileStore", "RedisStore", "SharedExchange")
