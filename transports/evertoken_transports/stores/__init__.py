"""Stores: one token for all processes of a host, or of many hosts.

:class:`FileStore` is for the processes of one user on one host, :class:`RedisStore` for those of many hosts.
:class:`SharedExchange` and :class:`AsyncSharedExchange` are the exchanges that share a token by a store. Sources and
auth objects make one of these where they are given ``store=``.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from evertoken._late import late_names

if TYPE_CHECKING:
    from evertoken_transports.stores._public import *  # noqa: F403
    from evertoken_transports.stores._public import __all__ as __all__
else:

    def _public() -> ModuleType:
        import evertoken_transports.stores._public as public  # noqa: PLC0415 (when one of its names is asked for)

        return public

    __getattr__, __dir__ = late_names(__name__, _public)
