"""The joint state × event table of ``_states``, cell by cell: a machine is driven into each joint state first."""

from __future__ import annotations

import pytest

from evertoken import BlockKind, Challenge, Freshness, HttpResponse, LocalProtocolError, TokenMachine, TokenRequest
from evertoken import RequestState as Request
from evertoken._secrecy import replace
from evertoken.testing.laws._tables import FRESHNESS_TABLE, REQUEST_TABLE, Event, Joint, after
from tests.kits import canary
from tests.kits.driving import (
    FAILED,
    LIMITED,
    LOCKED,
    MALFORMED,
    REFUSED,
    UNCLEAR,
    bearer,
    error,
    granted,
    machine,
    serve,
)

JOINTS = [(freshness, request) for freshness in Freshness for request in Request]

# A token of 400 seconds, started at 0, with the default margins: due at 370, handed out until 395.
NOW = {Freshness.NONE: 210.0, Freshness.VALID: 210.0, Freshness.REFRESH_DUE: 375.0, Freshness.EXPIRED: 396.0}
REFRESH_AT, FRESH_UNTIL = 370.0, 395.0

# A wait that ends before the freshness changes, and one that outlasts it.
SHORT, LONG = 4.0, 4000.0

ANSWERS = {
    Event.GRANT: granted(1, 400),
    Event.FAIL: FAILED,
    Event.MALFORMED: MALFORMED,
    Event.REFUSE: REFUSED,
    Event.UNCLEAR: UNCLEAR,
    Event.LOCK: LOCKED,
    Event.RATE_LIMIT: LIMITED,
}


class Cell:
    """A machine in one joint state, and each event done to it."""

    def __init__(self, joint: Joint, waits: float) -> None:
        freshness, request = joint
        self.machine: TokenMachine = machine(
            request_timeout=waits,
            locked_wait=waits,
            unclear_wait_cap=86_400,
            retry_cap=waits,
            malformed_cap=waits,
        )
        if freshness is not Freshness.NONE:
            serve(self.machine, 0, expires_in=400)
        self.now: float = NOW[freshness]
        self.request: TokenRequest = self._enter(freshness, request, waits)

    def _enter(self, freshness: Freshness, state: Request, waits: float) -> TokenRequest:
        """The attempt in flight, or one that the machine does not know."""
        stranger = replace(machine().start_request(0), id=999, owner=self.machine.owner)
        if state is Request.IDLE:
            return stranger
        # While VALID, only a caller who asks for more remaining life can start a request.
        request = self.machine.start_request(self.now, 190 if freshness is Freshness.VALID else 0)
        if state is Request.IN_FLIGHT:
            return request
        answer = LOCKED if state is Request.BLOCKED else error(503, Retry_After=f"{waits:.0f}")
        self.machine.receive_response(self.now, request, answer)
        return stranger

    def joint(self) -> Joint:
        return (self.machine.freshness(self.now), self.machine.request_state(self.now))

    def apply(self, event: Event) -> None:
        if event in ANSWERS:
            self._receive(ANSWERS[event])
        elif event in (Event.LOSE, Event.WAIT_OVER, Event.FALL_DUE, Event.EXPIRE):
            self.now = self._moment_of(event)
        else:
            self._call(event)

    def _receive(self, answer: HttpResponse) -> None:
        self.machine.receive_response(self.now, self.request, answer)

    def _call(self, event: Event) -> None:
        match event:
            case Event.START:
                self.machine.start_request(self.now)
            case Event.ABANDON:
                self.machine.request_abandoned(self.now, self.request)
            case Event.REPORT:
                self.machine.endpoint_blocked(self.now, BlockKind.LOCKED)
            case Event.REJECT:
                self.machine.token_rejected(self.now, bearer(), Challenge.TOKEN)
            case Event.REPLACE:
                self.machine.replace_credentials(self.now, canary.grant(api_key=canary.secret(1)))
            case Event.LIFT:
                self.machine.lift_block(self.now)
            case _:
                raise AssertionError(event)

    def _moment_of(self, event: Event) -> float:
        """When the event happens by itself; now, where it cannot happen or already has."""
        freshness, request = self.joint()
        if event is Event.LOSE and request is Request.IN_FLIGHT:
            return self.now + SHORT
        if event is Event.WAIT_OVER and request in (Request.BACKING_OFF, Request.BLOCKED):
            return self.now + SHORT
        if event is Event.FALL_DUE and freshness is Freshness.VALID:
            return REFRESH_AT
        if event is Event.EXPIRE and freshness in (Freshness.VALID, Freshness.REFRESH_DUE):
            return FRESH_UNTIL
        return self.now


@pytest.mark.no_cover
@pytest.mark.parametrize("event", Event, ids=lambda event: event.name)
@pytest.mark.parametrize("joint", JOINTS, ids=lambda joint: "-".join(part.name for part in joint))
def test_each_event_leads_from_each_joint_state_where_the_table_says(joint: Joint, event: Event) -> None:
    cell = Cell(joint, SHORT if event in (Event.LOSE, Event.WAIT_OVER) else LONG)
    assert cell.joint() == joint
    expected = after(joint, event)
    if expected is None:
        before = cell.machine.state_value
        with pytest.raises(LocalProtocolError):
            cell.apply(event)
        assert cell.machine.state_value is before
        expected = joint
    else:
        cell.apply(event)
    assert cell.joint() == expected


def test_only_a_start_is_ever_forbidden() -> None:
    forbidden = {event for event in Event for joint in JOINTS if after(joint, event) is None}
    assert forbidden == {Event.START}


def test_a_start_is_allowed_only_when_idle_and_not_valid() -> None:
    allowed = [joint for joint in JOINTS if after(joint, Event.START) is not None]
    assert allowed == [(freshness, Request.IDLE) for freshness in Freshness if freshness is not Freshness.VALID]


def test_a_live_token_is_never_lost_to_anything_but_time_and_a_rejection() -> None:
    live = (Freshness.VALID, Freshness.REFRESH_DUE)
    losers = {e for e, row in FRESHNESS_TABLE.items() for old, new in row.items() if old in live and new not in live}
    assert losers == {Event.EXPIRE, Event.REJECT}


def test_only_time_a_new_secret_and_the_operator_end_a_block() -> None:
    openers = {event for event, row in REQUEST_TABLE.items() if row.get(Request.BLOCKED) is Request.IDLE}
    assert openers == {Event.WAIT_OVER, Event.REPLACE, Event.LIFT}


def test_every_event_stands_in_a_table() -> None:
    assert set(Event) == set(FRESHNESS_TABLE) | set(REQUEST_TABLE)
