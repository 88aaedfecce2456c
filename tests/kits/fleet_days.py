"""A large fleet over a long time, simulated event by event: what its rules cost and bring to hundreds of processes.

Each process wants a token at all times. Calls of the store and exchanges take time, by draws from one seed; faults are
functions of the moment and the process. Every token that a process hands out is held to the endpoint's own word.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

from evertoken import HttpResponse, Policy, TokenMachine, TokenRequest, Wait
from evertoken.sharing import Answer, Ask, Fail, Found, Load, Over, Postpone, Send, Sharing, Sleep, Swapped
from evertoken.sharing._actions import Swap
from evertoken.testing._random import Random
from tests.kits import canary
from tests.kits.fleet_world import plain_records

__all__ = ("Days", "Sent", "busiest", "quantile")


class Sent(NamedTuple):
    """One exchange: when, by which process, and whether it was made without the store."""

    now: float
    process: int
    lone: bool


class Leg(NamedTuple):
    """A request on its way through a ``store``, of the fleet or of a host. What comes of it goes to ``before``."""

    ask: Ask
    store: str
    tier: int
    before: Leg | None = None


class Member:
    """One process of the fleet."""

    def __init__(self, days: Days, number: int, host: str) -> None:
        self.days = days
        self.number = number
        self.host = host
        self.alive = True
        self.ask: Ask | None = None
        self.served_at: float | None = None
        draw, tiers = days.random.draw, days.tiers
        self.machine = TokenMachine(days.grant, policy=days.policy, draw=draw, tiers=tiers)
        self.sharings = [Sharing(host=host, draw=draw, behind=tiers - 1 - tier) for tier in range(tiers)]


def _up(_now: float, _process: int) -> bool:
    return True


def _well(_now: float, _process: int) -> int:
    return 200


class Days:
    """A fleet of ``size`` processes on as many hosts, or so many ``hosts``, all started within a tenth of a second.

    With two ``tiers``, each host has a store of its own before that of all. ``store_up`` and ``endpoint`` say of a
    moment and a process whether a call of the fleet's store gets there, and with which status the endpoint answers.
    ``failing`` is the share of those calls that fail besides.
    """

    def __init__(
        self,
        seed: int,
        size: int,
        *,
        life: float = 1_200.0,
        store_up: Callable[[float, int], bool] = _up,
        endpoint: Callable[[float, int], int] = _well,
        failing: float = 0.0,
        took: float = 0.2,
        policy: Policy | None = None,
        hosts: int | None = None,
        tiers: int = 1,
    ) -> None:
        self.random = Random(seed)
        self.tiers = tiers
        self.policy = policy or Policy()
        self.grant = canary.grant()
        self.life, self.took, self.failing = life, took, failing
        self.store_up, self.endpoint = store_up, endpoint
        self.now = 0.0
        self.values: dict[str, bytes | None] = {}
        self.sent: list[Sent] = []
        self.calls = 0
        self.expiry: dict[str, float] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.members = [Member(self, number, f"host {number % (hosts or size)}") for number in range(size)]
        for member in self.members:
            self.at(self.random.between(0, 0.1), member, self._wake)

    def run(self, until: float) -> Days:
        """Let everything happen that happens up to ``until``, in seconds. Returns this fleet."""
        with plain_records():
            while self._events and self._events[0][0] <= until:
                self.now, _, happen = heapq.heappop(self._events)
                happen()
        self.now = until
        return self

    def at(self, moment: float, member: Member, do: Callable[[Member], None]) -> None:
        """Have ``do`` happen to ``member`` at ``moment``, if that process lives by then."""

        def happen() -> None:
            if member.alive:
                do(member)

        heapq.heappush(self._events, (max(moment, self.now), next(self._numbers), happen))

    def restart(self, number: int) -> None:
        """The process ends, in the middle of whatever it does, and another one takes its place."""
        old = self.members[number]
        old.alive = False
        self.members[number] = new = Member(self, number, old.host)
        self.at(self.now + self.random.between(0, 1), new, self._wake)

    def served(self) -> list[float]:
        """When each process had its first token, of those that had one."""
        return [member.served_at for member in self.members if member.served_at is not None]

    # What a process does
    # -------------------

    def _wake(self, member: Member) -> None:
        if member.ask is not None:
            return
        header = member.machine.authorization(self.now)
        if header is not None:
            assert self.now < self.expiry[header], "a token is handed out that has expired"
            member.served_at = self.now if member.served_at is None else member.served_at
        action = member.machine.poll(self.now)
        if isinstance(action, Wait):
            self.at(action.until, member, self._wake)
            return
        request = member.machine.start_request(self.now)
        leg = self._leg(member, request, 0, None)
        member.ask = leg.ask
        self._drive(member, leg)

    def _leg(self, member: Member, request: TokenRequest, tier: int, before: Leg | None) -> Leg:
        nonce = f"{next(self._numbers):032x}"
        ask = member.sharings[tier].ask(self.now, request, nonce=nonce, unix_time=self.now)
        return Leg(ask, "fleet" if tier == self.tiers - 1 else member.host, tier, before)

    def _drive(self, member: Member, leg: Leg) -> None:
        match leg.ask.action:
            case Load() | Swap():
                self.at(self.now + self.random.between(0.001, 0.005), member, lambda m: self._call(m, leg))
            case Sleep(until):
                self.at(until, member, lambda m: self._woken(m, leg))
            case Send(request) if leg.tier < self.tiers - 1:
                self._drive(member, self._leg(member, request, leg.tier + 1, leg))
            case Send():
                self.sent.append(Sent(self.now, member.number, leg.ask._lone))
                sent = self.now
                self.at(self.now + self.took, member, lambda m: self._answered(m, leg, sent))
            case _:
                self._over(member, leg)

    def _woken(self, member: Member, leg: Leg) -> None:
        leg.ask.woken(self.now)
        self._drive(member, leg)

    def _call(self, member: Member, leg: Leg) -> None:
        self.calls += 1
        ask, action, value = leg.ask, leg.ask.action, self.values.get(leg.store)
        is_up = self.store_up(self.now, member.number) and not self.random.chance(self.failing)
        if leg.store == "fleet" and not is_up:
            ask.store_failed(self.now, "The store is away.")
        elif isinstance(action, Load):
            ask.loaded(self.now, Found(value, self.now))
        elif isinstance(action, Swap):
            done = value == action.expected
            self.values[leg.store] = action.value if done else value
            ask.swapped(self.now, Swapped(done, Found(self.values[leg.store], self.now)))
        self._drive(member, leg)

    def _answered(self, member: Member, leg: Leg, sent: float) -> None:
        status, ask = self.endpoint(self.now, member.number), leg.ask
        if status == 200:
            name = f"token#{len(self.expiry)}"
            self.expiry[f"Bearer {name}"] = sent + self.life
            content = {"access_token": name, "token_type": "bearer", "expires_in": self.life}
            ask.answered(self.now, HttpResponse(200, (), json.dumps(content).encode()))
        elif status == 0:
            ask.failed(self.now)
        else:
            body = b'{"error":"unauthorized_client"}' if status == 400 else b""
            ask.answered(self.now, HttpResponse(status, (), body))
        self._drive(member, leg)

    def _over(self, member: Member, leg: Leg) -> None:
        """A leg has come to its end: whoever is before it is told, or the machine."""
        match leg.ask.action:
            case Over():  # An answer that was told before has been saved in the background.
                return
            case Answer(response, unsaved):
                self._tell(member, leg, response)
                if unsaved:
                    leg.ask.save(self.now)
                    self._drive(member, leg)
            case other:
                self._tell(member, leg, other)

    def _tell(self, member: Member, leg: Leg, what: object) -> None:
        before, machine, request = leg.before, member.machine, leg.ask._request
        match what:
            case HttpResponse() if before is not None:
                before.ask.answered(self.now, what)
            case HttpResponse():
                machine.receive_response(self.now, request, what)
            case Postpone(until, problem) if before is not None:
                before.ask.postponed(self.now, until, problem)
            case Postpone(until, problem):
                machine.request_postponed(self.now, request, until, problem)
            case Fail() if before is not None:
                before.ask.failed(self.now)
            case Fail():
                machine.send_failed(self.now, request, "reset")
            case _:
                raise AssertionError(what)
        if before is not None:
            self._drive(member, before)
            return
        member.ask = None
        self._wake(member)


def busiest(moments: list[float], width: float = 1.0) -> int:
    """The most of ``moments`` that lie within ``width`` seconds, wherever these begin."""
    ordered = sorted(moments)
    return max(number + 1 - bisect.bisect_right(ordered, moment - width) for number, moment in enumerate(ordered))


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share of ``values`` lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
