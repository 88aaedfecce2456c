"""Lets ``Coordinator.shared`` hand out the coordinators of fake servers, for as long as one is entered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

from evertoken import ClientCredentials, Policy
from evertoken_transports._clock import Clock
from evertoken_transports._coordinator import Coordinator
from evertoken_transports.testing._virtual_coordinator import OVER, ServerCoordinator

NewCoordinator = Callable[[ClientCredentials, Policy], ServerCoordinator]


class Registry:
    """The coordinators of one server.

    Args:
        new: makes a coordinator.
        clock: the clock of the server.
    """

    def __init__(self, new: NewCoordinator, clock: Clock) -> None:
        self.clock = clock
        self.number = 0
        """The lowest number that no other registry had which was entered then; 0 before this one was entered."""
        self._new = new
        self._made: list[tuple[ClientCredentials, ServerCoordinator]] = []
        self._lock = threading.Lock()

    @property
    def base_url(self) -> str:
        """Where the server pretends to be: a host that can never exist (RFC 6761), so that nothing leaves the test."""
        return "https://mangopay.test" if self.number <= 1 else f"https://mangopay-{self.number}.test"

    def get(self, grant: ClientCredentials, policy: Policy) -> ServerCoordinator:
        """The coordinator for ``grant`` and ``policy``, which is made if there is none.

        It is found by the grant that it was made for, and after a rotation also by the one that it has now.
        """
        with self._lock:
            for first, coordinator in self._made:
                machine = coordinator.machine
                if policy == machine.policy and grant in (first, machine.grant):
                    return coordinator
            made = self._new(grant, policy)
            self._made.append((grant, made))
            return made

    def is_home_of(self, grant: ClientCredentials) -> bool:
        """Whether ``grant`` is for this very server."""
        return grant.endpoint.url.startswith(f"{self.base_url}/")

    def end(self) -> None:
        """End every coordinator that was handed out."""
        with self._lock:
            made = [coordinator for _, coordinator in self._made]
        for coordinator in made:
            coordinator.end()


def enter(registry: Registry) -> None:
    """Let ``Coordinator.shared`` ask ``registry`` for its own grants.

    A grant that belongs to no entered registry goes to the one that was entered last, if all of them have one clock.
    """
    with _lock:
        taken = {other.number for other in _entered}
        registry.number = next(number for number in range(1, len(taken) + 2) if number not in taken)
        if not _entered:
            _replaced.append(vars(Coordinator)["shared"])
            setattr(Coordinator, "shared", staticmethod(_shared))  # noqa: B010 (to type checkers it is no variable)
        _entered.append(registry)


def leave(registry: Registry) -> None:
    """Undo :func:`enter`; the order does not matter. After the last one ``Coordinator.shared`` is what it was."""
    with _lock:
        _entered.remove(registry)
        if not _entered:
            setattr(Coordinator, "shared", _replaced.pop())  # noqa: B010


def _shared(grant: ClientCredentials, policy: Policy, stores: tuple[Hashable, ...] = ()) -> Coordinator:  # noqa: ARG001 (none are asked in a test)
    with _lock:
        entered = list(reversed(_entered))
    homes = [registry for registry in entered if registry.is_home_of(grant)]
    if not entered:
        raise RuntimeError(OVER)
    if not homes and any(registry.clock is not entered[0].clock for registry in entered):
        raise RuntimeError(
            f"{len(entered)} MangopayServers with clocks of their own are entered, and the grant for "
            f"{grant.endpoint.url} belongs to none of them, so that it has no time: use grant() of one of them, "
            "or give them one clock"
        )
    return (homes or entered)[0].get(grant, policy)


_lock = threading.Lock()
_entered: list[Registry] = []
_replaced: list[object] = []
