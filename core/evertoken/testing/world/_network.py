"""What lies between clients and the server: the heap of events, the way there and back, and the losses on the way."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable

from evertoken._http import HttpResponse, TokenRequest
from evertoken.testing._random import Random
from evertoken.testing.laws._meant import ServerLaws
from evertoken.testing.server._answers import WHOLE, Delivery, ServerRequest
from evertoken.testing.server._arrivals import Arrival
from evertoken.testing.server._script import ApiBehaviour, Script, TokenBehaviour
from evertoken.testing.server._server import AuthorizationServer
from evertoken.testing.world._checks import Checks
from evertoken.testing.world._clients import SECOND, Call, Client
from evertoken.testing.world._scenario import Scenario, WorldFault
from evertoken.testing.world._watch import Watcher

_SILENT = (Delivery.HANG, Delivery.ENDLESS)
_TOKEN_PATH = "/v2.01/oauth/token"
_API_PATH = "/v2.01/client/users"
_NOBODY = -1
"""In place of a deadline: the carrier is not there any more, and reports nothing."""


@functools.lru_cache(maxsize=64)
def _api_request(authorization: str) -> ServerRequest:
    """The one call that callers make; the token is a simulated one, and no secret."""
    return ServerRequest("GET", _API_PATH, (("Authorization", authorization),))


def api_key(number: int) -> str:
    """The client's secret after ``number`` rotations, as long as a real one: short ones cost more to censor."""
    return f"simulated-key-{number}"


class Network:
    """Virtual time, and everything that is on its way. Events happen in ``(time, seq)`` order."""

    def __init__(self, scenario: Scenario, script: Script, watch: Watcher | None) -> None:
        self.scenario = scenario
        self.watch = watch
        self.time = 0
        self.checks = Checks(scenario)
        self.faulty = True
        """Whether anything goes wrong still."""
        self.handled = 0
        """How many events there have been."""
        self.token_requests = 0
        """How many token requests have reached the server."""
        self.api_calls = 0
        """How many API calls have reached the server."""
        self.random = Random(scenario.seed)
        """What every draw of the run is taken from."""
        self.latency = scenario.latency
        """How long a message of the token endpoint is under way, from least to most, in seconds."""
        self.partition_until = 0
        """Until when, in nanoseconds, nothing gets through."""
        self.outage: tuple[int, TokenBehaviour] = (0, TokenBehaviour())
        """Until when, in nanoseconds, every token request is treated alike, and how."""
        self.server = AuthorizationServer(
            "client", api_key(0), script=script, seed=scenario.seed, token_prefix="simulated", keep_arrivals=8
        )
        """The model of the token endpoint and of the API."""
        self.laws = [ServerLaws(plan.policy, scenario.lifetime) for plan in scenario.clients]
        """What each client owes to the server."""
        self.carried: Arrival | None = None
        """The arrival whose answer is being told to a client."""
        self._rates = dict(scenario.rates)
        self._events: list[tuple[int, int, Callable[..., None], tuple[object, ...]]] = []
        self._seq = 0

    def run_until(self, end: int) -> None:
        """Let everything happen that is due by ``end``, on the world's clock in nanoseconds."""
        events = self._events
        while events and events[0][0] <= end:
            self.time, _, action, arguments = heapq.heappop(events)
            self.handled += 1
            action(*arguments)
        self.time = end

    def at(self, time: int, action: Callable[..., None], *arguments: object) -> None:
        """Do something at ``time``."""
        self._seq += 1
        heapq.heappush(self._events, (time, self._seq, action, arguments))

    def after(self, seconds: float, action: Callable[..., None], *arguments: object) -> None:
        """Do something in ``seconds``."""
        self.at(self.time + round(seconds * SECOND), action, *arguments)

    def at_client(self, client: Client, epoch: int, action: Callable[..., None], arguments: tuple[object, ...]) -> None:
        """Do something at a client as soon as it is awake, unless its process has ended since ``epoch``."""
        if self.time < client.asleep_until:
            self.at(client.asleep_until, self.at_client, client, epoch, action, arguments)
        elif epoch == client.epoch:
            action(*arguments)

    def _has(self, fault: WorldFault, client: Client) -> bool:
        """Whether ``fault`` strikes what happens now. For a fault that is not in the scenario, no number is drawn."""
        if not (self.faulty and fault in self._rates and self.random.chance(self._rates[fault])):
            return False
        self._tell(fault, client)
        return True

    def _tell(self, fault: WorldFault, client: Client | None = None, until: int = 0) -> None:
        self.checks.struck(fault)
        if self.watch is not None:
            self.watch.fault(self.time, fault, client, max(self.time, until))

    # On the way
    # ----------

    def send_token_request(self, client: Client, request: TokenRequest) -> None:
        """Carry a token request, or lose it."""
        epoch, deadline = client.epoch, client.world_time_at(request.deadline)
        timeout = client.plan.policy.request_timeout
        if self._has(WorldFault.ABANDONED, client):
            self.after(self.random.draw() * timeout, self.at_client, client, epoch, client.abandon, (request,))
        if self._has(WorldFault.CARRIER_LOST, client):
            deadline = _NOBODY
        if self.time < self.partition_until or self._has(WorldFault.LOST_BEFORE, client):
            refused = self.random.chance(0.5)
            moment = min(deadline, self.time + self._way()) if refused else deadline
            self._tell_failure(client, epoch, request, moment, "connection refused" if refused else "timed out")
            return
        self.at(self.time + self._way(), self._token_request, client, epoch, request, deadline)
        if self._has(WorldFault.DUPLICATED, client):
            self.at(self.time + self._way(), self._token_request, client, epoch, request, deadline)

    def send_call(self, client: Client, call: Call, authorization: str, grace: float) -> None:
        """Carry an API call. Where nothing takes time, it is answered on the spot."""
        if self.time < self.partition_until:
            return
        least, most = self.scenario.api_latency
        if most == 0.0:
            self.handled += 1
            self._api_call(client, client.epoch, call, authorization, grace)
            return
        way = self.random.between(least, most)
        self.after(way, self._api_call, client, client.epoch, call, authorization, grace - way - 1e-6)

    def _way(self) -> int:
        least, most = self.latency
        return round(self.random.between(least, most) * SECOND) if most else 0

    # At the server
    # -------------

    def _token_request(self, client: Client, epoch: int, request: TokenRequest, deadline: int) -> None:
        self.token_requests += 1
        self._arrange_token_fault()
        answer = self.server.handle(
            self.time / SECOND, ServerRequest(request.method, _TOKEN_PATH, request.headers, request.body)
        )
        if self.watch is not None:
            self.watch.arrival(self.time, client, self.server.arrivals[-1])
        lost = self.time < self.partition_until or self._has(WorldFault.LOST_AFTER, client)
        if lost or answer.delivery in _SILENT:
            self._tell_failure(client, epoch, request, deadline, "timed out")
            return
        moment = self.time + round(answer.duration() * SECOND) + self._way()
        if answer.response is None or answer.delivery is Delivery.CUT:
            self._tell_failure(client, epoch, request, min(moment, deadline), "connection closed")
            return
        if self._has(WorldFault.LATE, client):
            moment += round(self.random.between(0.5, 3.0) * client.plan.policy.request_timeout * SECOND)
        if moment > deadline and self.random.chance(0.5):
            self._tell_failure(client, epoch, request, deadline, "timed out")
        if deadline != _NOBODY:
            carried = (client, request, answer.response, self.server.arrivals[-1])
            self.at(moment, self.at_client, client, epoch, self._bring, carried)

    def _bring(self, client: Client, request: TokenRequest, response: HttpResponse, arrival: Arrival) -> None:
        """Hand the client its answer; what the server meant by it (``carried``) goes to the laws, past the parser."""
        self.carried = arrival
        client.receive(request, response)
        self.carried = None

    def _arrange_token_fault(self) -> None:
        scenario = self.scenario
        until, behaviour = self.outage
        if self.time >= until:
            if not (self.faulty and scenario.token_faults and self.random.chance(scenario.token_fault_rate)):
                return
            behaviour = self._draw_token_behaviour()
        self.checks.struck(behaviour.fault)
        self.server.next_token_requests(behaviour)

    def _draw_token_behaviour(self) -> TokenBehaviour:
        faults = self.scenario.token_faults
        slow = self.random.chance(0.2)
        return TokenBehaviour(
            fault=self.random.pick(faults),
            latency_before=self.random.between(0.0, 10.0) if slow else 0.0,
            latency_after=self.random.between(0.0, 10.0) if slow else 0.0,
            retry_after=self.random.pick((None, None, 0, 5, 300)),
            bytes_per_second=self.random.between(10.0, 500.0),
        )

    def _tell_failure(self, client: Client, epoch: int, request: TokenRequest, moment: int, reason: str) -> None:
        """The carrier reports at ``moment``, if it is still there."""
        if moment != _NOBODY:
            self.at(moment, self.at_client, client, epoch, client.send_failed, (request, reason))

    def _api_call(self, client: Client, epoch: int, call: Call, authorization: str, grace: float) -> None:
        self.api_calls += 1
        if self.faulty and self.scenario.api_faults and self.random.chance(self.scenario.api_fault_rate):
            fault = self.random.pick(self.scenario.api_faults)
            self.checks.struck(fault)
            self.server.next_api_calls(ApiBehaviour(fault=fault))
        answer = self.server.handle(self.time / SECOND, _api_request(authorization))
        arrival = self.server.arrivals[-1]
        if self.watch is not None:
            self.watch.arrival(self.time, client, arrival)
        self.checks.now = self.time / SECOND
        self.checks.arrival(client.number, arrival.token_truth, grace=grace)
        if answer.response is None or answer.delivery is not WHOLE:
            return
        carried = (client, call, authorization, answer.response, arrival)
        least, most = self.scenario.api_latency
        if most == 0.0:
            self.at_client(client, epoch, self._api_answer, carried)
        else:
            self.after(self.random.between(least, most), self.at_client, client, epoch, self._api_answer, carried)

    def _api_answer(
        self, client: Client, call: Call, authorization: str, response: HttpResponse, arrival: Arrival
    ) -> None:
        if response.status == 200:
            client.answered(call, authorization, response)
            return
        now = client.now()
        before = client.machine.authorization(now)
        client.answered(call, authorization, response)
        broken = self.laws[client.number].api_answered(now, arrival, before, client.machine.authorization(now))
        if broken is not None:
            self.checks.now = self.time / SECOND
            self.checks.fail(client.number, broken)
