"""Error trackers show local variables: whatever raises, wherever, the frames of ours hold no secret and no token."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping

import pytest

from evertoken import (
    AuthenticationParts,
    Challenge,
    ClientCredentials,
    HttpResponse,
    TokenEndpoint,
    TokenMachine,
    TokenRequest,
    TokenUnavailable,
    mangopay,
)
from evertoken_transports import Coordinator, Event, Token
from evertoken_transports.httpx import BearerAuth, HttpxExchange
from evertoken_transports.threads import TokenSource
from tests.kits import canary
from tests.kits.driving import bearer, granted

LOCKED = b'{"error":"unauthorized_client"}'
MOST = 40
"""Calls of one callback in one operation: more than any makes."""
PATIENCE = 0.5
"""Seconds that a caller has: fewer than any back-off, since no time passes here."""


class Bang(BaseException):
    """What a callback raises: nothing that anybody handles."""


class Fuse:
    """Lets one of the callbacks raise, at its n-th call from now."""

    def __init__(self) -> None:
        self.left = math.inf
        self.what = ""

    def light(self, what: str, count: int) -> None:
        self.what, self.left = what, count

    def burn(self, what: str) -> None:
        """Called by each callback in turn."""
        if what == self.what:
            self.left -= 1
            if self.left == 0:
                raise Bang(what)


class Proof:
    """Client authentication that proves the client by its secret in a header."""

    def __init__(self, fuse: Fuse) -> None:
        self._fuse = fuse

    def authenticate(self, grant: ClientCredentials) -> AuthenticationParts:
        """Burns before, as an embedder's own code may raise."""
        self._fuse.burn("authenticate")
        return AuthenticationParts((("X-Key", grant.client_secret),))


class Stage:
    """A source in one thread, each of whose callbacks can raise."""

    def __init__(self) -> None:
        self.fuse = Fuse()
        self.now: float = 1_000.0
        self.tokens = 0
        endpoint = TokenEndpoint("https://as.example/token", Proof(self.fuse))
        self.grant = ClientCredentials(endpoint, "canary", canary.secret(), api_base="https://api.example")
        machine = TokenMachine(self.grant, draw=self.draw)
        self.coordinator = Coordinator(machine, clock=self.clock, wall=self.wall, on_event=self.told)
        self.source = TokenSource(
            self.grant, exchange=self.exchange, coordinator=self.coordinator, background=False, on_event=self.told
        )

    def clock(self) -> float:
        self.fuse.burn("clock")
        if self.fuse.what == "NaN":
            self.fuse.left -= 1
            return self.now if self.fuse.left else math.nan
        return self.now

    def wall(self) -> float:
        self.fuse.burn("wall")
        return 1_700_000_000.0

    def called(self, came: Token | TokenUnavailable) -> None:
        assert str(came)
        self.fuse.burn("callback")

    def draw(self) -> float:
        self.fuse.burn("draw")
        return 0.5

    def told(self, event: Event) -> None:
        assert str(event)
        self.fuse.burn("on_event")

    def exchange(self, request: TokenRequest) -> HttpResponse:
        self.fuse.burn("exchange")
        assert request.headers
        self.tokens += 1
        return granted(self.tokens)

    def filter(self, record: logging.LogRecord) -> bool:
        """A filter of the application's, on our logger."""
        assert record.getMessage()
        self.fuse.burn("log filter")
        return True


OPERATIONS: Mapping[str, Callable[[Stage], object]] = {
    "authorization": lambda stage: stage.source.authorization(PATIENCE),
    "authorization with min_ttl": lambda stage: stage.source.authorization(PATIENCE, 100),
    "authorization_nowait": lambda stage: stage.source.authorization_nowait(),
    "token_rejected": lambda stage: stage.source.token_rejected(bearer(stage.tokens), Challenge.TOKEN),
    "token_rejected, unknown": lambda stage: stage.source.token_rejected(bearer(77), Challenge.TOKEN),
    "token": lambda stage: stage.source.token(PATIENCE),
    "token with min_ttl": lambda stage: stage.source.token(PATIENCE, 100),
    "token_nowait": lambda stage: stage.source.token_nowait(),
    "when_token": lambda stage: stage.source.when_token(stage.called, 0),
    "answered, 200": lambda stage: stage.source.answered(bearer(stage.tokens), "GET", 200, (), b"", resendable=True),
    "answered, 401": lambda stage: stage.source.answered(bearer(stage.tokens), "GET", 401, (), b"", resendable=True),
    "answered, locked": lambda stage: stage.source.answered(bearer(), "GET", 400, (), LOCKED, resendable=True),
    "token_worked": lambda stage: stage.source.token_worked(bearer(stage.tokens)),
    "replace_credentials": lambda stage: stage.source.replace_credentials(stage.grant.with_secret(canary.secret(1))),
    "endpoint_blocked": lambda stage: stage.source.endpoint_blocked(5),
    "lift_block": lambda stage: stage.source.lift_block(),
    "explain": lambda stage: stage.source.explain(),
    "next_deadline": lambda stage: stage.source.next_deadline(),
    "a look": lambda stage: stage.coordinator._claim_or_wait(print),
    "claim_or_wait": lambda stage: stage.coordinator._claim_or_wait(print, since=stage.now, deadline=stage.now + 5),
    "a sent request": lambda stage: send(stage, granted(9)),
    "a failed request": lambda stage: send(stage, canary.secret()),
}
AGES = {"without a token": None, "fresh": 10.0, "due": 280.0, "expired": 400.0}


def send(stage: Stage, answer: HttpResponse | str) -> object:
    """Carry a request by hand."""
    _, request = stage.coordinator._claim_or_wait(print)
    if request is None:
        return None
    stage.coordinator._took(request)
    if isinstance(answer, str):
        return stage.coordinator.send_failed(request, answer)
    return stage.coordinator.receive_response(request, answer)


def raised(callback: str, act: Callable[[Stage], object], age: float | None) -> Iterator[BaseException]:
    """What an operation raises if the callback does, at each of its calls in turn."""
    for count in range(1, MOST):
        stage = Stage()
        if age is not None:
            stage.source.authorization(PATIENCE)
            stage.now += age
        stage.fuse.light(callback, count)
        logger = logging.getLogger("evertoken")
        logger.addFilter(stage.filter)
        try:
            act(stage)
        except BaseException as error:  # noqa: BLE001 - Bang is one
            yield error
        finally:
            logger.removeFilter(stage.filter)
        if stage.fuse.left > 0:
            return
    raise AssertionError(f"{callback} is called more than {MOST} times")


@pytest.mark.parametrize("age", AGES.values(), ids=AGES)
@pytest.mark.parametrize("act", OPERATIONS.values(), ids=OPERATIONS)
def test_whichever_callback_raises_our_frames_show_nothing(
    act: Callable[[Stage], object], age: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="evertoken")
    for callback in ("clock", "NaN", "wall", "callback", "draw", "on_event", "exchange", "authenticate", "log filter"):
        for error in raised(callback, act, age):
            canary.assert_clean(error)


def test_each_callback_is_reached(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="evertoken")
    reached = {
        callback: sum(isinstance(error, Bang) for error in raised(callback, OPERATIONS["authorization"], None))
        for callback in ("clock", "on_event", "exchange", "log filter")
    }
    assert all(reached.values()), reached


PASSWORD = f"https://user:{canary.secret()}@host.example"


@pytest.mark.parametrize(
    "make",
    [
        lambda: TokenEndpoint(PASSWORD),
        lambda: ClientCredentials(TokenEndpoint("https://a.example"), "id", "key", api_base=PASSWORD),
        lambda: ClientCredentials(TokenEndpoint("https://a.example"), "id", "key", resource=f" {canary.secret()}"),
        lambda: ClientCredentials(TokenEndpoint("https://a.example"), "id", "key", scope=f" {canary.secret()}"),
        lambda: ClientCredentials(TokenEndpoint("https://a.example"), f"{canary.secret()} ", "key"),
        lambda: ClientCredentials(TokenEndpoint("https://a.example"), "id", f"{canary.secret()} "),
        lambda: ClientCredentials(
            TokenEndpoint("https://a.example"), "id", "key", parameters={"p": f"{canary.secret()} "}
        ),
        lambda: mangopay.sandbox("id", "key", base_url=PASSWORD),
        lambda: mangopay.sandbox("id", f"{canary.secret()} "),
        lambda: mangopay.production(f"{canary.secret()} ", canary.secret()),
        lambda: canary.grant().with_secret(f" {canary.secret()}"),
        lambda: HttpxExchange(proxy=PASSWORD.replace("https", "gopher")),
        lambda: BearerAuth(canary.grant(), proxy=PASSWORD.replace("https", "gopher")),
        lambda: BearerAuth(canary.grant(), proxy=PASSWORD, exchange=Stage().exchange),
        lambda: BearerAuth(canary.grant(), proxy=PASSWORD, timeout=-1),
        lambda: BearerAuth(canary.grant(), origins=(PASSWORD,)),
        lambda: BearerAuth(canary.grant(), origins=PASSWORD),
    ],
)
def test_what_is_refused_is_in_no_frame_of_ours(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"\w+") as caught:
        make()
    canary.assert_clean(caught.value)
