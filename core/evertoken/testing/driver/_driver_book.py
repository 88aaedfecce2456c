"""What a check of a driver knows: machines and callers, what is owed and until when, and the rules that were broken."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import NamedTuple

from evertoken._challenge import Challenge
from evertoken._grant import ClientCredentials
from evertoken._http import TokenRequest
from evertoken._secrecy import Unpicklable
from evertoken._snapshot import Snapshot
from evertoken._states import BlockKind
from evertoken.testing.driver._driver_machine import CheckedMachine, Errand, Told
from evertoken.testing.driver._driver_rules import BrokenRule, DriverRule, when

ABOUT_THE_TOKEN = (Challenge.TOKEN, Challenge.UNKNOWN)
_MOST_SNAPSHOTS = 256


class Duty(NamedTuple):
    """What the driver has to do by ``due``, or it has broken ``rule``."""

    due: float
    rule: DriverRule
    did: str
    should: str


class Caller(NamedTuple):
    """Somebody who waits for a token."""

    came: float
    machine: CheckedMachine | None
    min_ttl: float


class Book(Unpicklable):
    """What one check has seen of a process, and what the process owes. See ``DriverCheck`` for the arguments."""

    def __init__(self, clock: Callable[[], float], *, name: str, grace: float, snapshots: bool) -> None:
        self.moment = clock
        self.name = name
        self.grace = grace
        self.snapshots = snapshots
        self.first: dict[DriverRule, BrokenRule] = {}
        self.duties: dict[object, Duty] = {}
        self.machines: list[CheckedMachine] = []
        self.clients: list[ClientCredentials] = []
        self.kept_ones: deque[tuple[Snapshot, float]] = deque(maxlen=_MOST_SNAPSHOTS)
        self.is_restoring = False
        self.lost_snapshot = False
        self.callers: dict[int, Caller] = {}
        self.heard: dict[str, list[tuple[float, Challenge]]] = {}
        self.sees_api = False

    # What the machines tell
    # ----------------------

    def made(self, machine: CheckedMachine) -> None:
        """The driver has made a machine; the first one perhaps before there is a clock."""
        if self.machines:
            self.look()
        grant = machine.grant
        stood = [other for other in self.machines if other.grant.same_client(grant)]
        known = any(grant.same_client(other) for other in self.clients)
        if known and self.snapshots and not self.is_restoring and not self.lost_snapshot:
            beside = "beside the one there is" if stood else "after the process had ended, without its snapshot"
            self.broke(
                DriverRule.SNAPSHOT,
                f"a new machine was made for the client {grant.client_id}, {beside}",
                "keep one machine for each client, save a snapshot after each claim and outcome, and begin with"
                " TokenMachine.restore; a driver that keeps none says DriverCheck(snapshots=False)",
            )
        self.lost_snapshot = False
        if stood:  # Nobody is left to tell the old machines what came of their requests.
            self.duties.clear()
            self.callers.clear()
        self.machines = [other for other in self.machines if other not in stood]
        self.machines.append(machine)
        if not known:
            self.clients.append(grant)

    @contextmanager
    def restoring(self, snapshot: Snapshot, elapsed: float) -> Generator[None]:
        """Wrap the driver's ``restore``: hold the stated age of the snapshot to the clock, and expect a new machine."""
        now = self.look()
        taken = next((at for kept, at in reversed(self.kept_ones) if kept == snapshot), None)
        if taken is not None and abs(now - taken - elapsed) > self.grace + 0.01 * (now - taken):
            self.broke(
                DriverRule.ELAPSED,
                f"a snapshot of {when(taken)} was restored with {when(elapsed)} as elapsed, and"
                f" {when(now - taken)} had passed",
                "keep the wall-clock time beside the snapshot, and hand restore the seconds since then",
            )
        self.is_restoring = True
        try:
            yield
        finally:
            self.is_restoring = False

    def kept(self, snapshot: Snapshot) -> None:
        """The driver has taken a snapshot."""
        self.kept_ones.append((snapshot, self.look()))

    def reading(self, machine: CheckedMachine, now: float) -> None:
        """The driver has come to ``machine`` with this reading of its clock."""
        moment = self.look()
        if machine.latest - now > self.grace:
            self.broke(
                DriverRule.CLOCK,
                f"the machine was told that it is {when(now)}, after it had been told {when(machine.latest)}",
                "read a clock that is never set (time.monotonic, or one that counts suspension too), and no wall clock",
            )
        machine.read(now, moment)

    def wanted(self, machine: CheckedMachine, now: float, min_ttl: float) -> None:
        """The driver has asked for a header at ``now``."""
        if machine.wanted_in_vain(now, min_ttl, self.moment(), self.grace):
            self._not_asked_for(machine.wants[0], "callers have come for a token since then")

    def claimed(self, errand: Errand) -> None:
        """The driver has started a request."""
        self.owe(
            ("sent", errand),
            errand.deadline + self.grace,
            DriverRule.IN_TIME,
            f"{errand} was claimed at {when(errand.claimed_at)}, and neither sent nor given up until its deadline",
            "send what start_request returns, or tell send_failed or request_abandoned",
        )

    def refused_claim(self, reason: str) -> None:
        """The driver has started a request although ``poll`` says Wait."""
        self.broke(
            DriverRule.ALLOWED,
            f"start_request was called while poll said: wait ({reason})",
            "call poll first, under the same lock, and start a request only when it says SendRequest",
        )

    def told(self, machine: CheckedMachine, request: TokenRequest, how: Told) -> None:
        """The driver has told ``machine`` what came of ``request``."""
        now = self.look()
        errand = machine.errands.get(request.id) if request.owner is machine.owner else None
        if errand is None:
            self.broke(
                DriverRule.OWN_MACHINE,
                f"{how.value} of token request {request.id} was told to a machine that did not make it",
                "keep the machine beside the request, and drop what comes for a process that has ended",
            )
            return
        self.done(("told", errand))
        self.done(("sent", errand))
        early = bool(errand.told) and errand.told_at < errand.deadline
        if early and len(errand.told) >= max(1, len(errand.brought)):
            self.broke(
                DriverRule.ONE_OUTCOME,
                f"{how.value} of {errand} was told, and {errand.told[0].value} at {when(errand.told_at)} before",
                "close the connection when you give up, or wait until the deadline: a request has one outcome",
            )
        elif how is not Told.GIVEN_UP and errand.brought and how not in errand.brought:
            self.broke(
                DriverRule.AS_IT_CAME,
                f"{errand} came to {errand.brought[0].value}, and {how.value} was told",
                "hand every answer to receive_response, whatever its status: the machine reads what it says",
            )
        if not errand.told:
            errand.told_at = now
        errand.told.append(how)

    def rejected(self, authorization: str, challenge: Challenge) -> None:
        """The driver has told a machine that a token was rejected."""
        now = self.look()
        self.done(("rejected", authorization))
        heard = [(at, said) for at, said in self.heard.get(authorization, []) if now - at <= self.grace]
        if not self.sees_api or challenge not in ABOUT_THE_TOKEN or challenge in [said for _, said in heard]:
            return
        said = f"whose answer says {heard[-1][1].value}" if heard else "of which no answer has come just now"
        self.broke(
            DriverRule.EVIDENCE,
            f"the machine was told {challenge.value} of a call {said}",
            "pass on what read_challenge makes of the answer: its status, headers and body, and the grant's profile",
        )

    def hear(self, authorization: str, now: float, challenge: Challenge) -> None:
        """The API has said something of a token. What it said long before is forgotten."""
        self.sees_api = True
        self.heard = {header: heard for header, heard in self.heard.items() if now - heard[-1][0] <= self.grace}
        self.heard.setdefault(authorization, []).append((now, challenge))

    def blocked(self, machine: CheckedMachine, kind: BlockKind) -> None:
        """The driver has told a machine of a block."""
        if kind is BlockKind.LOCKED:
            self.done(("locked", machine))

    # What is owed
    # ------------

    def look(self) -> float:
        """Note each rule that is broken by what is overdue now. Returns the moment."""
        now = self.moment()
        for key, duty in list(self.duties.items()):
            if duty.due < now:
                del self.duties[key]
                self.broke(duty.rule, duty.did, duty.should)
        for caller in self.callers.values() if self.machines else ():
            machine = self.machines[-1] if caller.machine is None else caller.machine
            served_from = machine.could_serve_from(now, caller.min_ttl)
            if served_from is not None and now - max(caller.came, served_from) > self.grace:
                self.broke(
                    DriverRule.SERVED,
                    f"a caller who came at {when(caller.came)} still waits, and the machine has had a token since"
                    f" {when(max(caller.came, served_from))}",
                    "let all who wait ask again after every input to the machine",
                )
            free_from = machine.free_from(now)
            if free_from is not None and now - max(caller.came, free_from) > self.grace:
                self._not_asked_for(max(caller.came, free_from), f"a caller has waited since {when(caller.came)}")
        return now

    def _not_asked_for(self, since: float, who: str) -> None:
        self.broke(
            DriverRule.ASKED_FOR,
            f"from {when(since)} on a token request could be started, and none was, though {who}",
            "ask poll whenever somebody wants a token, and again at the until of each Wait while somebody still does",
        )

    def owe(self, key: object, due: float, rule: DriverRule, did: str, should: str) -> None:
        """By ``due`` the driver has to do what ``key`` stands for, or sooner if that was owed already."""
        self.duties.setdefault(key, Duty(due, rule, did, should))

    def done(self, key: object) -> None:
        """The driver has done what ``key`` stands for, owed or not."""
        self.duties.pop(key, None)

    def broke(self, rule: DriverRule, did: str, should: str) -> None:
        """Note that ``rule`` is broken now, if it was not broken before."""
        if rule not in self.first:
            self.first[rule] = BrokenRule(rule, self.moment(), self.name, did, should)
