"""A world in which everything goes wrong, in seconds: virtual time, clients with real machines, the server, a network.

One heap holds the events in ``(time, seq)`` order; times are whole nanoseconds; every draw comes from one generator at
the moment of its decision. So a scenario has one course, whatever the interpreter. First come the faults, then they
stop, and within the bound that the policy allows every client must have a token that works.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field

from typing_extensions import override

from evertoken import mangopay
from evertoken._grammar import AnswerReceived, BlockLifted, CredentialsReplaced, Input, RequestClaimed
from evertoken._grant import ClientCredentials
from evertoken._http import TokenRequest
from evertoken._states import BlockKind, State
from evertoken.happenings import Happening
from evertoken.testing._restart import Restart
from evertoken.testing._trace import Trace
from evertoken.testing.laws._laws import liveness_bound
from evertoken.testing.laws._meant import ServerLaws
from evertoken.testing.server._script import Overuse, Script, TokenBehaviour
from evertoken.testing.world._checks import GAVE_UP, RECOVERED, Broken, BudgetCheck, LawBroken
from evertoken.testing.world._clients import SECOND, Client
from evertoken.testing.world._network import Network, api_key
from evertoken.testing.world._scenario import BY_THEMSELVES, DAY, Calls, Scenario, WorldFault
from evertoken.testing.world._watch import Watcher

# Bound once: before Python 3.12, reading an enum member through its class is slow.
_STEADY, _BURSTY, _IDLE, _ = Calls
_OVERUSE_SECONDS = 600.0
_HOUR = 3_600.0


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one run. ``broken`` is None if every law held.

    ``seconds`` is how long the run was on the world's clock, ``events`` counts what happened in it, ``steps`` the
    inputs of the machines, and ``seen`` how often each situation came about.
    """

    scenario: Scenario
    seconds: float
    events: int
    steps: int
    token_requests: int
    api_calls: int
    seen: dict[str, int]
    broken: Broken | None
    trace: Trace = field(repr=False, compare=False)

    @property
    def digest(self) -> str:
        """What became of the run in 64 hex digits: SHA-256 of all lines of the trace."""
        return self.trace.digest

    @property
    def ok(self) -> bool:
        """Whether every law held."""
        return self.broken is None


class World(Network):
    """One run of one scenario.

    Args:
        scenario: all that the run follows from.
        keep_trace: whether the trace keeps its lines, or only its digest.
        client: how clients are made. A test of the checks passes one with a safeguard removed.
        watch: who looks on.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        keep_trace: bool = False,
        client: type[Client] = Client,
        watch: Watcher | None = None,
    ) -> None:
        super().__init__(scenario, Script(lifetime=scenario.lifetime, overuse=_overuse(scenario)), watch)
        self.trace = Trace([plan.policy for plan in scenario.clients], keep=keep_trace)
        self._keys = 0
        grant, numbered = self._grant(), enumerate(scenario.clients)
        self.clients = [client(number, plan, grant, self.random.draw, self) for number, plan in numbered]
        self._budgets = [BudgetCheck(plan.policy, _shortest(scenario)) for plan in scenario.clients]

    def _grant(self) -> ClientCredentials:
        return _grant_with(self._keys)

    # Running
    # -------

    def run(self) -> Report:
        """Run to the end, or to the first law that is broken."""
        broken = None
        try:
            self._begin()
            self.run_until(round(self.scenario.seconds * SECOND))
            self._recover()
        except LawBroken as stop:
            broken = stop.broken
        if self.watch is not None:
            self.watch.end(self.time, broken)
        return Report(
            self.scenario,
            self.time / SECOND,
            self.handled,
            self.checks.steps,
            self.token_requests,
            self.api_calls,
            dict(self.checks.seen),
            broken,
            self.trace,
        )

    def _begin(self) -> None:
        if self.watch is not None:
            self.watch.begin(self.scenario, self.clients, self.server)
        for client in self.clients:
            self.after(self.random.draw() * client.plan.period, self._caller, client, 0)
        for fault, rate in self.scenario.rates:
            if fault in BY_THEMSELVES:
                self.after(self._gap(rate), self._strike, fault, rate)

    # What clients ask of it
    # ----------------------

    def note(self, client: Client, before: State, happened: Input, after: State, told: tuple[Happening, ...]) -> None:
        """A machine has made a step: write it down, and hold it to the laws."""
        self.checks.now = self.time / SECOND
        self.trace.append(client.number, happened, after)
        if self.watch is not None:
            self.watch.step(self.time, client, before, happened, after)
        self.checks.step(client.number, client.plan.policy, before, happened, after, told=told)
        if not self._budgets[client.number].within(happened):
            self.checks.fail(client.number, "exchanges in any window are at most the burst and the refills in it")
        broken = self._broken_towards_the_server(self.laws[client.number], before, happened, after)
        if broken is not None:
            self.checks.fail(client.number, broken)

    def _broken_towards_the_server(self, laws: ServerLaws, before: State, happened: Input, after: State) -> str | None:
        """The law that a step breaks in view of what the server meant."""
        match happened:
            case RequestClaimed(asks=False):
                return laws.started(after.now, before.next_id)
            case AnswerReceived():
                if self.carried is not None:
                    return laws.answered(after.now, happened.id, self.carried, _header(before), _header(after))
                laws.ended(happened.id)
            case BlockLifted():
                laws.lifted()
            case CredentialsReplaced():
                laws.replaced()
            case _:
                pass
        return None

    @override
    def send_token_request(self, client: Client, request: TokenRequest) -> None:
        if request.grant is not None and request.grant.secret_source is not None:  # Its claim only asked for a secret.
            broken = self.laws[client.number].started(client.now(), request.id)
            if broken is not None:
                self.fail(client, broken)
        super().send_token_request(client, request)

    def fail(self, client: Client, law: str) -> None:
        """Stop the run: what ``client`` does, or its machine, has broken ``law``."""
        self.checks.now = self.time / SECOND
        self.checks.fail(client.number, law)

    def saw(self, situation: str) -> None:
        """Count a situation that has come about."""
        self.checks.seen[situation] += 1

    def gave_up(self, client: Client, why: str) -> None:
        """A caller has given up."""
        self.saw(GAVE_UP)
        self.saw(why)
        if self.watch is not None:
            self.watch.gave_up(self.time, client)

    def wake_at(self, client: Client, time: int) -> None:
        """Let the client's waiting callers ask again at ``time``."""
        if not self.time < client.timer_at <= time:
            client.timer_at = time
            self.at(time, self.at_client, client, client.epoch, client.time_is_up, (time,))

    # Callers
    # -------

    def _caller(self, client: Client, number: int) -> None:
        if not self.faulty:
            return
        if self.time < client.asleep_until:
            self.at(client.asleep_until, self._caller, client, number)
            return
        client.call()
        if client.plan.calls is _BURSTY:
            for _ in range(19):
                client.call()
        self.after(self._until_next_call(client, number), self._caller, client, number + 1)

    def _until_next_call(self, client: Client, number: int) -> float:
        period = client.plan.period
        calls = client.plan.calls
        if calls is _STEADY:
            return period * self.random.between(0.5, 1.5)
        if calls is _BURSTY:
            return period * 20
        if calls is _IDLE:
            return period * self.random.draw() if number % 4 else DAY * self.random.between(0.05, 3.0)
        return 1.0 if number % 100 else DAY

    # What goes wrong by itself
    # -------------------------

    def _gap(self, rate: float) -> float:
        return self.random.between(0.0, 2.0) * _HOUR / rate

    def _strike(self, fault: WorldFault, rate: float) -> None:
        if not self.faulty:
            return
        client = self.random.pick(self.clients)
        match fault:
            case WorldFault.PARTITION:
                self.partition_until = self.time + round(self.random.between(1.0, 900.0) * SECOND)
                self._tell(fault, until=self.partition_until)
            case WorldFault.OUTAGE:
                self._break_down()
            case WorldFault.REVOKED:
                self._tell(fault)
                self.server.revoke_all(self.time / SECOND)
            case WorldFault.ROTATED:
                self._rotate()
            case _:
                self._strike_client(fault, client)
        self.after(self._gap(rate), self._strike, fault, rate)

    def _strike_client(self, fault: WorldFault, client: Client) -> None:
        match fault:
            case WorldFault.CRASH:
                self._crash(client)
            case WorldFault.RESTART:
                self._restart(client)
            case WorldFault.SUSPEND:
                self._suspend(client)
            case WorldFault.CLOCK_STOPPED:
                self._stop_clock(client)
            case WorldFault.LIFTED:
                self._tell(fault, client)
                self.at_client(client, client.epoch, client.lift, ())
            case _:
                self._tell(fault, client)
                self._report(client)

    def _break_down(self) -> None:
        if self.scenario.token_faults:
            until = self.time + round(self.random.between(10.0, 7_200.0) * SECOND)
            self._tell(WorldFault.OUTAGE, until=until)
            self.outage = (until, self._draw_token_behaviour())

    def _crash(self, client: Client) -> None:
        self._tell(WorldFault.CRASH, client)
        before = client.machine.state_value
        client.crash()
        self.laws[client.number].crashed()
        self._budgets[client.number] = BudgetCheck(client.plan.policy, _shortest(self.scenario))
        self._note_anew(client, before, None)

    def _restart(self, client: Client) -> None:
        """End the process, and let it go on from a snapshot later.

        Sometimes the host is booted too, and its clock begins anew; sometimes there is a new key meanwhile.
        """
        if self.time < client.asleep_until:
            return
        before = client.machine.state_value
        client.asleep_until = self.time + round(self.random.between(0.0, 900.0) * SECOND)
        self._tell(WorldFault.RESTART, client, client.asleep_until)
        clock = self.random.between(0.0, 100.0) if self.random.chance(0.5) else None
        grant = self._grant() if self.random.chance(0.5) else client.grant
        restart = client.restart(grant, secrets=self.random.chance(0.5), clock=clock, last_save=self.random.chance(0.5))
        self.laws[client.number].restarted(restart)
        self._budgets[client.number].moved(restart.now - restart.elapsed - restart.taken_at)
        self._note_anew(client, before, restart)

    def _note_anew(self, client: Client, before: State, restart: Restart | None) -> None:
        after = client.machine.state_value
        self.trace.append(client.number, restart, after)
        self.checks.now = self.time / SECOND
        self.checks.restarted(client.number, client.plan.policy, before, restart, after)
        if self.watch is not None:
            self.watch.step(self.time, client, before, None, after)

    def _suspend(self, client: Client, fault: WorldFault = WorldFault.SUSPEND) -> None:
        client.asleep_until = max(client.asleep_until, self.time + round(self.random.between(1.0, 5_000.0) * SECOND))
        self._tell(fault, client, client.asleep_until)

    def _stop_clock(self, client: Client) -> None:
        if self.time >= client.asleep_until:
            self._suspend(client, WorldFault.CLOCK_STOPPED)
            client.stop_clock(client.asleep_until - self.time)

    def _rotate(self) -> None:
        self._tell(WorldFault.ROTATED)
        self._keys += 1
        self.server.set_api_key(api_key(self._keys))
        for client in self.clients:
            self.after(self.random.between(0.0, self.random.pick((5.0, 600.0))), self._hand_out, client)

    def _hand_out(self, client: Client) -> None:
        """The operator gives the new key to whatever process there is."""
        if self.time < client.asleep_until:
            self.at(client.asleep_until, self._hand_out, client)
        else:
            client.rotate(self._grant())

    def _report(self, client: Client) -> None:
        kind = self.random.pick((BlockKind.LOCKED, BlockKind.REFUSED, BlockKind.RATE_LIMITED))
        seconds = self.random.pick((None, 0.0, 1.0, 100.0))
        self.at_client(client, client.epoch, client.report, (kind, seconds))

    # Recovery
    # --------

    def _recover(self) -> None:
        """Stop the faults while callers ask on: a token must come in time, and in the end one that the API takes."""
        if self.server.lock_count:
            self.checks.fail(0, "the overuse rule never fires")
        self.faulty = False
        self.latency = (0.0, 0.0)
        self.partition_until = 0
        self.outage = (0, TokenBehaviour())
        start = max(self.time, *(client.asleep_until for client in self.clients))
        self.run_until(start)
        for client in self.clients:
            client.rotate(self._grant())
        bounds = [liveness_bound(client.plan.policy) * (1 + abs(client.plan.drift)) for client in self.clients]
        longest = max(bounds)
        for client, bound in zip(self.clients, bounds, strict=True):
            self._ask_on(client, start + round(bound * SECOND), bound / 64, longest / 24)
        for bound in sorted(set(bounds)):
            self.run_until(start + round(bound * (1 + 1 / 64) * SECOND))
            self._demand([client for client, own in zip(self.clients, bounds, strict=True) if own == bound], start)
        self.run_until(self.time + round((longest + self.scenario.lifetime) * SECOND))
        for client in self.clients:
            if client.served_at < self.time - round(longest / 16 * SECOND):
                self.checks.fail(client.number, "in the end, calls are served")

    def _ask_on(self, client: Client, until: int, often: float, seldom: float) -> None:
        client.call_patiently()
        self.after(often if self.time < until else seldom, self._ask_on, client, until, often, seldom)

    def _demand(self, clients: list[Client], start: int) -> None:
        for client in clients:
            if client.ready_at < start:
                self.checks.fail(client.number, "a token is there within the bound, once faults have ended")
            self.saw(RECOVERED)


@functools.lru_cache(maxsize=1_024)
def _grant_with(key: int) -> ClientCredentials:
    """The grant with this key, one for all worlds.

    A mere number seals its snapshots: it takes 20 ms to derive the real key, and a year has thousands of snapshots.
    """
    grant = mangopay.sandbox("client", api_key(key), base_url="https://api.example")
    object.__setattr__(grant, "_key", key.to_bytes(32))
    return grant


def _header(state: State) -> str | None:
    """The header that a state hands out, None without a token."""
    return state.token.authorization if state.token is not None else None


def _shortest(scenario: Scenario) -> float:
    """The shortest life of a token, as the clients may come to know it: a repeated one has less left."""
    return 1.0 if scenario.token_faults else float(scenario.lifetime)


def _overuse(scenario: Scenario) -> Overuse | None:
    """The server's rule, as strict as the budgets of the clients allow; none where processes begin anew."""
    if WorldFault.CRASH in scenario.faults:
        return None
    window = _OVERUSE_SECONDS + 4 * scenario.latency[1] + 1
    most = 1
    for plan in scenario.clients:
        policy = plan.policy
        interval = min(policy.budget_interval, max(policy.budget_interval_floor, _shortest(scenario) / 2)) - 2.0**-10
        most += policy.budget_burst + math.ceil(window * (1 + abs(plan.drift)) / interval)
    if WorldFault.DUPLICATED in scenario.faults:
        most *= 2
    return Overuse(requests=most, seconds=_OVERUSE_SECONDS)
