"""What an adapter passes on to the source that it makes."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic, TypedDict, TypeVar

from evertoken import Policy
from evertoken_transports._coordinator import Coordinator
from evertoken_transports._events import EventCallback

if TYPE_CHECKING:
    from evertoken.sharing import Store

_Exchange = TypeVar("_Exchange")


class SourceOptions(TypedDict, Generic[_Exchange], total=False):
    """The keyword arguments of the ``TokenSource`` of threads and of asyncio, where they are explained."""

    policy: Policy
    exchange: _Exchange | None
    coordinator: Coordinator | None
    background: bool
    keep_warm: bool
    ssl_context: ssl.SSLContext | None
    trust_env: bool
    store: Store | None
    store_required: bool
    keys: Sequence[str | bytes]
    on_event: EventCallback | None
