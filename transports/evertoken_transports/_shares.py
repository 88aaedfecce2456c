"""How a source shares its token with other processes, by a store that it was given."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, cast

from evertoken._checks import check_type
from evertoken._secrecy import Unpicklable
from evertoken_transports._clock import Clock
from evertoken_transports._exchange import AsyncExchange, Exchange, stores_of

if TYPE_CHECKING:
    from evertoken.sharing import Store


class Shares(Unpicklable):
    """How a source shares its token with other processes: not at all, or by ``store``. Call :meth:`check` once."""

    def __init__(self, store: Store | None, keys: Sequence[str | bytes], *, store_required: bool) -> None:
        self._store, self._required = store, store_required
        self._lonely = store is None and (bool(keys) or bool(store_required))
        self._keys: Any = ()
        if store is not None:
            from evertoken_transports.stores._cipher import Keys  # noqa: PLC0415 (for those who share)

            self._keys = Keys(keys)

    def check(self) -> None:
        """Raise TypeError or ValueError, which name the argument that is wrong.

        The constructor does not do it, so that its caller can first delete the local variable with the keys: error
        trackers show local variables.
        """
        check_type("store_required", self._required, bool)
        if self._lonely:
            raise ValueError("store_required and keys go with a store: give one")
        if self._store is not None:
            from evertoken_transports.stores._known import check_store  # noqa: PLC0415

            check_store(self._store)
            self._keys.cipher()

    def stores(self, exchange: object) -> tuple[Hashable, ...]:
        """The stores on the way to the endpoint, if ``exchange`` is used: the nearest first.

        With other keys, or with ``store_required``, a store counts as another one: its sources have a coordinator of
        their own.
        """
        behind = stores_of(exchange)
        if self._store is None:
            return behind
        is_plain = not self._keys and not self._required
        mine = self._store if is_plain else (self._store, self._keys, self._required)
        return (cast("Hashable", mine), *behind)

    def around(self, exchange: Exchange, clock: Clock) -> Exchange:
        """``exchange``, behind the store if there is one."""
        if self._store is None:
            return exchange
        from evertoken_transports.stores.exchange import SharedExchange  # noqa: PLC0415 (for those who share)

        return SharedExchange(exchange, self._store, keys=self._keys, store_required=self._required, clock=clock)

    def around_async(self, exchange: AsyncExchange, clock: Clock) -> AsyncExchange:
        """As :meth:`around`, for event loops."""
        if self._store is None:
            return exchange
        from evertoken_transports.stores.exchange import AsyncSharedExchange  # noqa: PLC0415

        return AsyncSharedExchange(exchange, self._store, keys=self._keys, store_required=self._required, clock=clock)
