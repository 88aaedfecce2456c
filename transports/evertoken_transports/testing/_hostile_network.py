"""The network of a simulation: every request meets the faults that its scenario draws for it."""

from __future__ import annotations

from typing_extensions import override

from evertoken.testing import (
    ApiBehaviour,
    AuthorizationServer,
    Random,
    Scenario,
    ServerAnswer,
    ServerRequest,
    TokenBehaviour,
    TokenFault,
    WorldFault,
)
from evertoken_transports._clock import Clock
from evertoken_transports.testing._network import NETWORK_FAULTS, Network
from evertoken_transports.testing._source_checks import Checks


class HostileNetwork(Network):
    """A network that draws from ``random`` what becomes of each request, for as long as it is :attr:`faulty`."""

    def __init__(
        self, model: AuthorizationServer, clock: Clock, scenario: Scenario, random: Random, checks: Checks
    ) -> None:
        super().__init__(model, clock, lateness=0.0)
        self.faulty = True
        self._now = clock
        self._scenario = scenario
        self._rates = dict(scenario.rates)
        self._random = random
        self._checks = checks
        self._outage_until = 0.0
        self._outage = TokenBehaviour()

    def break_down(self) -> None:
        """From now on, for a while, every token request meets the same fault."""
        if self._scenario.token_faults:
            self._outage_until = self._now() + self._random.between(10.0, 7_200.0)
            self._outage = self._behaviour(self._random.pick(self._scenario.token_faults))
            self._checks.saw(f"outage: {self._outage.fault.value}")

    def recover(self) -> None:
        """From now on no request meets a fault or any latency, and a partition is over."""
        self.faulty = False
        self.part(0.0)

    @override
    def _passed(self, now: float, request: ServerRequest, trouble: WorldFault | None) -> ServerAnswer:
        before = len(self.model.arrivals)
        answer = super()._passed(now, request, trouble)
        for arrival in list(self.model.arrivals)[before:]:
            self._checks.arrival(arrival)
        return answer

    @override
    def _next_trouble(self, request: ServerRequest) -> WorldFault | None:
        """Draw a fault of the network, which is returned. What is drawn for the server is handed on to the model."""
        if not self.faulty:
            return None
        if request.path.endswith("/oauth/token"):
            return self._token_trouble()
        if self._scenario.api_faults and self._random.chance(self._scenario.api_fault_rate):
            fault = self._random.pick(self._scenario.api_faults)
            self._checks.saw(f"api: {fault.value}")
            self.model.next_api_calls(ApiBehaviour(fault=fault, bytes_per_second=self._random.between(10.0, 500.0)))
        return None

    def _token_trouble(self) -> WorldFault | None:
        """Draw at most one fault of the network; and, if the request gets to the server, how the server behaves."""
        struck = [fault for fault in NETWORK_FAULTS if self._random.chance(self._rates.get(fault, 0.0))]
        trouble = struck[0] if struck else None
        if trouble is not None:
            self._checks.saw(f"network: {trouble.value}")
            self.lateness = self._random.between(0.5, 3.0) * self._scenario.clients[0].policy.request_timeout
        if trouble is not WorldFault.LOST_BEFORE:
            self.model.next_token_requests(self._outage if self._now() < self._outage_until else self._drawn())
        return trouble

    def _drawn(self) -> TokenBehaviour:
        faults = self._scenario.token_faults
        fault = TokenFault.NONE
        if faults and self._random.chance(self._scenario.token_fault_rate):
            fault = self._random.pick(faults)
            self._checks.saw(f"token: {fault.value}")
        return self._behaviour(fault)

    def _behaviour(self, fault: TokenFault) -> TokenBehaviour:
        least, most = self._scenario.latency
        slow = self._random.chance(0.1)
        return TokenBehaviour(
            fault=fault,
            latency_before=self._random.between(least, most) + (self._random.between(0.0, 10.0) if slow else 0.0),
            latency_after=self._random.between(least, most),
            bytes_per_second=self._random.between(10.0, 500.0),
        )
