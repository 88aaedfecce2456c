"""The shop of examples/own_simulator.py with one bug each: what embedders get wrong, in a few lines."""

from __future__ import annotations

import runpy
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from evertoken import Challenge, HttpResponse, LocalProtocolError, Rejection, TokenRequest
from evertoken.testing import BrokenRule, DriverRule

if TYPE_CHECKING:
    from examples.own_simulator import Shop, Simulator
else:
    EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "own_simulator.py"))
    Shop, Simulator = EXAMPLE["Shop"], EXAMPLE["Simulator"]

__all__ = ("BUGS", "Quick", "Shop", "breaches")


class Quick(Simulator):
    """The world of the example without its laws, which judge the machine and not the driver. It ends at a broken rule.

    A payment with an expired token, to which a bug may lead, does not end it: the rule should have been seen before.
    """

    seconds = 600

    @override
    def check(self, shop: Shop) -> None:
        if shop.check.broken:
            raise StopIteration

    @override
    def call(self, shop: Shop, header: str) -> None:
        self.expiry[header] = max(self.expiry[header], self.now + 1)
        super().call(shop, header)


class NeverReportsAFailure(Shop):
    """Only answers are told to the machine."""

    @override
    def fail(self, request: TokenRequest) -> None:
        pass


class TellsTheNeighbour(Shop):
    """One answer in ten is told to the other shop's machine, which says so and is not listened to."""

    @override
    def arrive(self, request: TokenRequest, response: HttpResponse) -> None:
        if self.world.random.random() >= 0.1:
            super().arrive(request, response)
            return
        (neighbour,) = (shop for shop in self.world.shops if shop is not self)
        with suppress(LocalProtocolError):
            neighbour.machine.receive_response(self.clock(), request, response)


class ReadsAWallClock(Shop):
    """The clock is set back by a minute, and later once more."""

    @override
    def clock(self) -> int:
        return self.world.now - 60 * (self.world.now >= 200) - 60 * (self.world.now >= 400)


class SendsLate(Shop):
    """Requests stand in a queue for up to half a minute; their deadlines are not looked at."""

    @override
    def send(self, request: TokenRequest) -> None:
        self.world.later(self.world.random.randint(0, 30), super().send, request)


class KeepsTheFirstRequest(Shop):
    """The first request is built once, and sent each time."""

    first: TokenRequest | None = None

    @override
    def send(self, request: TokenRequest) -> None:
        self.first = self.first or request
        super().send(self.first)


class AsksWheneverThereIsNoToken(Shop):
    """Without a token it asks, whatever poll says."""

    @override
    def fetch(self) -> None:
        if self.machine.authorization(self.clock()) is not None:
            super().fetch()
            return
        try:
            request = self.machine.start_request(self.clock())
        except LocalProtocolError:
            request = TokenRequest(1, "POST", "https://api.sandbox.mangopay.com/v2.01/oauth/token", (), b"", 1e9)
        self.send(request)


class RetriesByItself(Shop):
    """A failure is tried again, twice, before the machine hears of it."""

    tries = 0

    @override
    def fail(self, request: TokenRequest) -> None:
        self.tries += 1
        if self.tries % 3:
            self.send(request)
        else:
            super().fail(request)


class ForgetsItsTimer(Shop):
    """It polls after answers, and at no other time but the first."""

    @override
    def pay(self) -> None:
        header = self.machine.authorization(self.clock())
        if header is None:
            self.turned_away += 1
        else:
            self.world.call(self, header)
        if not self.saved:
            self.fetch()

    @override
    def arrive(self, request: TokenRequest, response: HttpResponse) -> None:
        super().arrive(request, response)
        self.fetch()


class RestoresAsIfNoTimeHadPassed(Shop):
    """A process that begins again restores its machine with `elapsed=0`, however long it was gone."""

    @override
    def start(self) -> None:
        if self.saved is not None:
            self.saved = self.saved[0], self.world.now
        super().start()


class KeepsTheHeader(Shop):
    """A header is used for ten minutes."""

    header: tuple[str, int] | None = None

    @override
    def pay(self) -> None:
        now = self.clock()
        if self.header is None or now >= self.header[1]:
            header = self.machine.authorization(now)
            self.header = None if header is None else (header, now + 600)
        if self.header is not None:
            self.world.call(self, self.header[0])
        self.fetch()


class NeverTellsOfA401(Shop):
    """A payment that is refused is given back to the customer, and that is all."""

    @override
    def answered(self, header: str, answer: HttpResponse) -> None:
        if answer.status == 200:
            super().answered(header, answer)


class CallsEvery401TheTokens(Shop):
    """Whatever a 401 says, the token is to blame."""

    @override
    def answered(self, header: str, answer: HttpResponse) -> None:
        if answer.status != 401:
            super().answered(header, answer)
        elif self.machine.token_rejected(self.clock(), header, Challenge.TOKEN) is Rejection.DROPPED:
            self.fetch()


class ForgetsItsSnapshot(Shop):
    """After a crash there is a new machine."""

    @override
    def start(self) -> None:
        self.saved = None
        super().start()


class GivesUpAndLetsTheAnswerCome(Shop):
    """After three seconds a failure is told; the answer is not stopped, and told too."""

    @override
    def send(self, request: TokenRequest) -> None:
        super().send(request)
        self.world.later(3, self.fail, request)


BUGS: dict[type[Any], DriverRule] = {
    NeverReportsAFailure: DriverRule.TOLD,
    TellsTheNeighbour: DriverRule.OWN_MACHINE,
    ReadsAWallClock: DriverRule.CLOCK,
    SendsLate: DriverRule.IN_TIME,
    KeepsTheFirstRequest: DriverRule.SENT_ONCE,
    AsksWheneverThereIsNoToken: DriverRule.ALLOWED,
    RetriesByItself: DriverRule.SENT_ONCE,
    ForgetsItsTimer: DriverRule.ASKED_FOR,
    RestoresAsIfNoTimeHadPassed: DriverRule.ELAPSED,
    KeepsTheHeader: DriverRule.HEADER,
    NeverTellsOfA401: DriverRule.REJECTED,
    CallsEvery401TheTokens: DriverRule.EVIDENCE,
    ForgetsItsSnapshot: DriverRule.SNAPSHOT,
    GivesUpAndLetsTheAnswerCome: DriverRule.ONE_OUTCOME,
}
"""Each bug and the rule that it breaks."""


def breaches(shop_class: type[Shop], seed: int) -> list[BrokenRule]:
    """The rules that shops of ``shop_class`` are found to break, and how; the world is stopped soon after the first."""
    world = type("World", (Quick,), {"shop_class": shop_class})(seed)
    with suppress(StopIteration):
        world.run()
    return [breach for shop in world.shops for breach in shop.check.broken]
