"""What to draw of a run: a watcher that folds what it is told into bands and marks, in memory that does not grow.

For each client there are three bands, as there are three answers to "how is the token?": what the machine holds it to
be, whether the endpoint may be asked, and what the token in hand is worth at the server. A fourth one says when the
process was asleep or down. Two bands are for everybody: the network, and the token endpoint.

Moments on a client's clock are turned into the world's time as soon as they are known, since its clock may be set
anew before they come.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence

from evertoken._grammar import AnswerReceived, BlockLifted, BlockReported, CredentialsReplaced, Input, TokenRejected
from evertoken._look import freshness, request_state
from evertoken._states import State
from evertoken._step import settle
from evertoken.outcomes import Abandoned, Blocked, Failed, Granted, Malformed, Outcome
from evertoken.testing.server._arrivals import Arrival, Route, TokenTruth
from evertoken.testing.server._faults import TokenFault
from evertoken.testing.server._server import AuthorizationServer
from evertoken.testing.world._bands import Band, Marks
from evertoken.testing.world._checks import Broken
from evertoken.testing.world._clients import SECOND, Client
from evertoken.testing.world._scenario import Scenario, WorldFault

_AFTER = 1.08
"""The time that is shown, as a multiple of the time with faults. What comes after them may take days: everybody asks on
until there is a token."""

_COLUMNS_OF_A_MARK = 3

Plan = list[tuple[int, str]]
"""What a band will show if nothing happens: a moment, in nanoseconds of the world's clock, and the key from then on."""


@enum.unique
class Happening(enum.Enum):
    """The kinds of marks."""

    GRANTED = "granted"
    """A token request brought a token."""
    FAILED = "failed"
    """A token request came to nothing: it had no answer or a useless one, or was abandoned."""
    BLOCKED = "blocked"
    """A token request was told to come back later, or never; or somebody reported a block."""
    DROPPED = "dropped"
    """An API rejected the token, and it was dropped."""
    KEPT = "kept"
    """An API rejected the token, and it was kept."""
    BAD_CALL = "bad call"
    """An API call arrived with a token that was not valid at the server."""
    GAVE_UP = "gave up"
    """A caller gave up: there was no token in time."""
    DISTURBED = "disturbed"
    """A token request, or its answer, met a fault on the way."""
    ANEW = "anew"
    """The process began anew."""
    MENDED = "mended"
    """The operator gave new credentials, or lifted the blocks."""
    REVOKED = "revoked"
    """The server revoked every token."""
    ROTATED = "rotated"
    """The API key was replaced at the server."""
    FAULTY = "faulty"
    """The token endpoint answered with a fault of its own."""


_NAMES: dict[type[Outcome], str] = {Failed: "failed", Malformed: "malformed answer", Abandoned: "abandoned"}
_AWAY = (WorldFault.SUSPEND, WorldFault.CLOCK_STOPPED, WorldFault.RESTART)
_TOLD_BY_STEPS = (WorldFault.CRASH, WorldFault.LIFTED, WorldFault.REPORTED)


class ClientLane:
    """What is drawn of one client."""

    def __init__(self, client: Client, resolution: int) -> None:
        self.client = client
        self.freshness = Band(resolution)
        self.request = Band(resolution)
        self.truth = Band(resolution)
        self.away = Band(resolution)
        self.marks = Marks(resolution * _COLUMNS_OF_A_MARK)
        self._freshness: Plan = []
        self._request: Plan = []
        self._token: str | None = None
        self.foresee(0, client.machine.state_value)

    # Told by the timeline
    # --------------------

    def foresee(self, time: int, state: State) -> None:
        """Work out what time alone makes of ``state`` from ``time`` on, unless something happens."""
        client, policy = self.client, self.client.plan.policy
        self._token = None if state.token is None else state.token.value
        due: list[float] = [] if state.token is None else [state.token.refresh_at, state.token.fresh_until]
        ahead = [(at, settle(policy, state, moment)) for at, moment in _ahead(client, time, due)]
        self._freshness = [(at, freshness(then).value) for at, then in ahead]
        attempt = state.attempt
        later = state if attempt is None else settle(policy, state, attempt.deadline)
        waits = [later.unblock_at, later.budget_at, later.backoff.retry_at]
        waits += [] if attempt is None else [attempt.deadline]
        ahead = [(at, settle(policy, state, moment)) for at, moment in _ahead(client, time, waits)]
        self._request = [(at, request_state(then).value) for at, then in ahead]

    def reach(self, time: int, server: AuthorizationServer) -> None:
        """Draw what was foreseen, since nothing but time has happened until ``time``."""
        _follow(self.freshness, self._freshness, time)
        _follow(self.request, self._request, time)
        self._follow_truth(time, server)

    def pause(self, time: int, until: int, why: WorldFault) -> None:
        """The process is away until ``until``. With its clock stopped, everything that it waits for comes later."""
        self.away.extend(time, "")
        self.away.extend(until, why.value)
        if why is WorldFault.CLOCK_STOPPED:
            self._freshness = _put_off(self._freshness, time, until - time)
            self._request = _put_off(self._request, time, until - time)

    def _follow_truth(self, time: int, server: AuthorizationServer) -> None:
        number = None if self._token is None else server.token_number(self._token)
        if number is None:
            self.truth.extend(time, "")
            return
        token = server.tokens[number - 1]
        ends = token.expires_at if token.revoked_at is None else min(token.expires_at, token.revoked_at)
        self.truth.extend(min(time, round(ends * SECOND)), TokenTruth.VALID.value)
        self.truth.extend(time, token.truth(time / SECOND).value)


def _ahead(client: Client, time: int, moments: Sequence[float]) -> Iterator[tuple[int, float]]:
    """Now, and those of ``moments`` (on the client's clock) that lie ahead, with the world's time for each."""
    now = client.now()
    yield time, now
    for moment in sorted(moments):
        if now < moment < now + 1e9:
            yield client.world_time_at(moment), moment


def _follow(band: Band, plan: Plan, time: int) -> None:
    for (_, key), (until, _) in zip(plan, [*plan[1:], (time, "")], strict=True):
        band.extend(min(until, time), key)


def _put_off(plan: Plan, time: int, by: int) -> Plan:
    return [(at if at <= time else at + by, key) for at, key in plan]


class Timeline:
    """A watcher that keeps what a picture needs.

    Args:
        columns: how many points the picture will be wide. What lasts less than one of them is merged.
    """

    def __init__(self, columns: int = 1_000) -> None:
        self.columns = columns
        self.scenario: Scenario
        self.clients: list[ClientLane] = []
        self.network: Band
        self.endpoint: Band
        self.marks: Marks
        self.faults_end = self.end_time = self.shown_until = 0
        self.broken: Broken | None = None
        self._server: AuthorizationServer

    # What a watcher is told
    # ----------------------

    def begin(self, scenario: Scenario, clients: Sequence[Client], server: AuthorizationServer) -> None:
        """The run begins."""
        self.scenario = scenario
        self.faults_end = round(scenario.seconds * SECOND)
        self.shown_until = round(scenario.seconds * SECOND * _AFTER)
        resolution = max(1, self.shown_until // self.columns)
        self.network, self.endpoint = Band(resolution), Band(resolution)
        self.marks = Marks(resolution * _COLUMNS_OF_A_MARK)
        self.clients = [ClientLane(client, resolution) for client in clients]
        self._server = server

    def step(self, time: int, client: Client, before: State, happened: Input | None, after: State) -> None:
        """A machine has made a step."""
        if time > self.shown_until:
            return
        lane = self.clients[client.number]
        lane.reach(time, self._server)
        lane.foresee(time, after)
        what = _happening(before, happened, after)
        if what is not None:
            lane.marks.add(time, what[0].value, what[1])

    def arrival(self, time: int, client: Client, arrival: Arrival) -> None:
        """A request has reached the server."""
        if time > self.shown_until:
            return
        if arrival.route is Route.API:
            if arrival.token_truth is not TokenTruth.VALID:
                truth = arrival.token_truth or TokenTruth.UNKNOWN
                self.clients[client.number].marks.add(time, Happening.BAD_CALL.value, truth.value)
        elif arrival.fault not in (None, TokenFault.NONE):
            self.marks.add(time, Happening.FAULTY.value, arrival.fault.value)

    def fault(self, time: int, kind: WorldFault, client: Client | None, until: int) -> None:
        """Something goes wrong."""
        if time > self.shown_until or kind in _TOLD_BY_STEPS:
            return
        if client is None:
            self._fault_of_all(time, kind, until)
            return
        lane = self.clients[client.number]
        if kind in _AWAY:
            lane.reach(time, self._server)
            lane.pause(time, until, kind)
        else:
            lane.marks.add(time, Happening.DISTURBED.value, kind.value)

    def _fault_of_all(self, time: int, kind: WorldFault, until: int) -> None:
        match kind:
            case WorldFault.PARTITION | WorldFault.OUTAGE:
                band = self.network if kind is WorldFault.PARTITION else self.endpoint
                band.extend(time, "")
                band.extend(min(until, self.faults_end), kind.value)  # Recovery begins there, without any faults.
            case WorldFault.REVOKED:
                self.marks.add(time, Happening.REVOKED.value, "")
            case _:
                self.marks.add(time, Happening.ROTATED.value, "")

    def gave_up(self, time: int, client: Client) -> None:
        """A caller has given up."""
        if time <= self.shown_until:
            self.clients[client.number].marks.add(time, Happening.GAVE_UP.value, "")

    def end(self, time: int, broken: Broken | None) -> None:
        """The run is over."""
        self.end_time, self.broken = time, broken
        self.shown_until = min(self.shown_until, time)
        for lane in self.clients:
            lane.reach(self.shown_until, self._server)
            lane.away.extend(self.shown_until, "")
        self.network.extend(self.shown_until, "")
        self.endpoint.extend(self.shown_until, "")

    @property
    def bands(self) -> list[Band]:
        """Every band there is."""
        own = [band for lane in self.clients for band in (lane.freshness, lane.request, lane.truth, lane.away)]
        return [self.network, self.endpoint, *own]

    @property
    def merged(self) -> int:
        """How many stretches of all bands were too short for a place of their own."""
        return sum(band.merged for band in self.bands)


def _happening(before: State, happened: Input | None, after: State) -> tuple[Happening, str] | None:
    match happened:
        case None:
            return Happening.ANEW, "empty" if after.token is None else "with the token"
        case AnswerReceived(answer=Granted()):
            return Happening.GRANTED, "" if after.token is not before.token else "and not taken"
        case AnswerReceived(answer=Blocked() as answer):
            return Happening.BLOCKED, answer.kind.value
        case AnswerReceived(answer=answer):
            name = _NAMES.get(type(answer))
            return None if name is None else (Happening.FAILED, name)
        case TokenRejected():
            kind = Happening.KEPT if after.token is before.token else Happening.DROPPED
            return kind, f"evidence: {happened.challenge.value}"
        case BlockReported():
            return Happening.BLOCKED, f"reported: {happened.kind.value}"
        case CredentialsReplaced():
            return Happening.MENDED, "new credentials"
        case BlockLifted():
            return Happening.MENDED, "blocks lifted"
        case _:
            return None
