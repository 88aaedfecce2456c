"""The coordinators that ``Coordinator.shared`` hands out, and which of them are worth their memory."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import TYPE_CHECKING

from evertoken import ClientCredentials, Freshness, Policy, RequestState
from evertoken_transports._events import write
from evertoken_transports._inside import step

if TYPE_CHECKING:
    from evertoken_transports._coordinator import Coordinator

_REMEMBERED = 86_400.0
"""A coordinator that is worth keeping only for what it has learnt (counts of failures, blocks that are over, another
secret) is kept for so many seconds after the last thing that happened to it. To learn that anew after such a silence
costs one request a day."""

_MANY = 10_000
_TOO_MANY = (
    "%d grants have a token, a block or a request of their own in this process, and each costs some memory. If there"
    " are not so many clients, look for what makes a grant anew with another secret, scope or parameter each time"
)
_Stores = tuple[Hashable, ...]
_Key = tuple[ClientCredentials, Policy, _Stores]


class Registry:
    """Finds the coordinator of a grant, a policy and stores, while it is worth keeping or somebody uses it.

    Each time one is made, two others are looked at, and are kept alive no longer if they know nothing: the first of the
    new ones, and of those that were worth keeping the one that was looked at longest ago. So coordinators that were
    never asked for a token do not pile up, no call takes longer because there are many grants, and what counts is kept.
    """

    def __init__(
        self,
        make: Callable[[ClientCredentials, Policy, _Stores], Coordinator],
        has_sources: Callable[[Coordinator], bool],
    ) -> None:
        self._make = make
        self._has_sources = has_sources
        self._new: OrderedDict[_Key, Coordinator] = OrderedDict()
        self._kept: OrderedDict[_Key, Coordinator] = OrderedDict()
        # Those that are in neither, while somebody uses them. The others are not listed here a second time, since that
        # would cost more memory for each than its token does.
        self._alive: weakref.WeakValueDictionary[_Key, Coordinator] = weakref.WeakValueDictionary()
        self._has_warned = False
        self._make_lock_anew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._make_lock_anew)

    def get(self, grant: ClientCredentials, policy: Policy, stores: _Stores) -> Coordinator:
        """The coordinator of ``grant``, ``policy`` and ``stores``. It is made if there is none."""
        key = (grant, policy, stores)
        with self._lock, step():
            coordinator = self._found(key)
            if coordinator is None:
                made = self._make(grant, policy, stores)
                coordinator = self._found(key) or made  # Making one may run a destructor, which may come in here.
                self._forget_two()
            if key not in self._kept:
                self._new[key] = coordinator
            warns = len(self._kept) >= _MANY and not self._has_warned
            self._has_warned |= warns
        if warns:
            write(logging.WARNING, _TOO_MANY, _MANY)
        return coordinator

    def add_name(self, coordinator: Coordinator, old: ClientCredentials, new: ClientCredentials) -> None:
        """Find ``coordinator``, which is that of ``old``, by the grant ``new``, too.

        After a rotation, sources that are made with the new secret must share its token.
        """
        policy, stores = coordinator.machine.policy, coordinator.stores
        with self._lock, step():
            if self._found((old, policy, stores)) is coordinator:
                self._new[new, policy, stores] = coordinator

    def clear(self) -> None:
        """Forget all coordinators. Only tests do so."""
        with self._lock, step():
            self._new.clear()
            self._kept.clear()
            self._alive.clear()
            self._has_warned = False

    def _make_lock_anew(self) -> None:
        """Called in a forked child too, where a thread that does not exist there may hold the lock."""
        self._lock = threading.RLock()

    def _found(self, key: _Key) -> Coordinator | None:
        return self._kept.get(key) or self._new.get(key) or self._alive.get(key)

    def _forget_two(self) -> None:
        for queue in (self._kept, self._new):
            for key, coordinator in list(itertools.islice(queue.items(), 1)):
                with suppress(KeyError):
                    # One with a source may get its first token at any moment, and must then outlive that source.
                    kept = self._has_sources(coordinator) or _is_worth_keeping(coordinator)
                    (self._kept if kept else self._alive)[key] = coordinator
                    if kept:
                        self._kept.move_to_end(key)
                    if queue is self._new or not kept:
                        del queue[key]


def _is_worth_keeping(coordinator: Coordinator) -> bool:
    """Whether a new coordinator in place of this one would know less."""
    now, state = coordinator.clock(), coordinator.machine.state_value
    seen = coordinator.machine.explain(now)
    if (
        seen.freshness in (Freshness.VALID, Freshness.REFRESH_DUE)
        or seen.request_state is not RequestState.IDLE
        or seen.budget_refill_at is not None
        or seen.next_rejection_at is not None
        or any(now < dropped.forget_at for dropped in state.rejections.dropped)
    ):
        return True
    has_learnt = bool(seen.failures or state.blocks or seen.credentials_generation)
    return has_learnt and now < state.now + _REMEMBERED
