"""Looking on while a world runs. A watcher changes nothing; a world without one does no work for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from evertoken._grammar import Input
from evertoken._states import State
from evertoken.testing.server._arrivals import Arrival
from evertoken.testing.server._server import AuthorizationServer
from evertoken.testing.world._checks import Broken
from evertoken.testing.world._clients import Client
from evertoken.testing.world._scenario import Scenario, WorldFault


class Watcher(Protocol):
    """Somebody who looks on. ``time`` is the world's clock in nanoseconds, and never runs backwards."""

    def begin(self, scenario: Scenario, clients: Sequence[Client], server: AuthorizationServer) -> None:
        """The run begins. Clients and server are the real ones: look, and touch nothing."""
        ...

    def step(self, time: int, client: Client, before: State, happened: Input | None, after: State) -> None:
        """A machine has made a step. ``happened`` is None where the process ended and another began."""
        ...

    def arrival(self, time: int, client: Client, arrival: Arrival) -> None:
        """A token request or an API call of ``client`` has reached the server."""
        ...

    def fault(self, time: int, kind: WorldFault, client: Client | None, until: int) -> None:
        """Something goes wrong from ``time`` to ``until``; to a request, or at once, where the two are the same.

        ``client`` is None where it concerns everybody. Told just before it takes effect.
        """
        ...

    def gave_up(self, time: int, client: Client) -> None:
        """A caller of ``client`` has given up: there was no token in time."""
        ...

    def end(self, time: int, broken: Broken | None) -> None:
        """The run is over: at its end, or at the law that was broken."""
        ...
