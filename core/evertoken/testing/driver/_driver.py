"""Checks that a driver keeps the rules: what it does with its machine and the network is held to what it should do.

    check = DriverCheck(clock)
    driver = YourDriver(check.machine_class(grant, policy=policy, draw=draw))

The laws of this package judge the machine. Whoever embeds one writes what is around it, and there other mistakes are
made: an answer that nobody tells, a timer that is forgotten, a header that is kept. A machine puts up with all of them,
and so they go unnoticed until a token endpoint has locked somebody out.

A check looks on from three places: its ``machine_class`` sees what the driver asks and tells, ``sent``, ``answered``
and ``failed`` see what the network carries, ``api_call`` and ``api_answer`` see what the token is used for. It uses
nothing but public names, changes nothing, and knows no time but that of the ``clock`` it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from evertoken._challenge import Challenge, read_challenge
from evertoken._http import HttpResponse, TokenRequest
from evertoken._machine import TokenMachine
from evertoken._secrecy import Unpicklable
from evertoken.testing.driver._driver_book import ABOUT_THE_TOKEN, Book, Caller
from evertoken.testing.driver._driver_machine import CheckedMachine, Errand, Told
from evertoken.testing.driver._driver_rules import BrokenRule, DriverRule, when


class DriverCheck(Unpicklable):
    """Looks on while a driver runs machines in a simulation, and says in words which rule it broke.

    One check is for one process: what it knows of the machines in it ends with :meth:`crashed`. Its methods, and those
    of its machines, must not overlap, as those of a machine must not.

    Args:
        clock: the time of the simulation, in seconds. It is the truth that the driver's own clock is held against, and
            may have another origin.
        name: what the driver is called in messages.
        grace: how many seconds the driver may take for what is to be done at once, and be wrong by. Make it shorter for
            policies with shorter waits.
        snapshots: whether the driver keeps snapshots, so that a process that begins again has to go on from one.
    """

    def __init__(
        self, clock: Callable[[], float], *, name: str = "the driver", grace: float = 1.0, snapshots: bool = True
    ) -> None:
        self._book = Book(clock, name=name, grace=grace, snapshots=snapshots)
        self._came = 0
        self.machine_class: type[TokenMachine] = type("CheckedTokenMachine", (CheckedMachine,), {"book": self._book})
        """What the driver makes its machines of, and restores them with: a ``TokenMachine`` like any other."""

    @property
    def broken(self) -> tuple[BrokenRule, ...]:
        """The first breach of each rule, in order of time; those that follow it are rarely news."""
        return tuple(self._book.first.values())

    def end(self) -> tuple[BrokenRule, ...]:
        """Look once more for what is overdue, and return what was broken: a test says ``assert not check.end()``."""
        self._book.look()
        return self.broken

    # What the network carries
    # ------------------------

    @contextmanager
    def exchange(self, request: TokenRequest | None = None) -> Generator[None]:
        """Wrap the network's part of an exchange: calls :meth:`sent`, and at the end :meth:`answered`.

        If an ``Exception`` is raised, :meth:`failed` is called instead. Anything else that is raised (a task is
        cancelled) is no word of the network, so neither of the two is called.
        """
        self.sent(request)
        try:
            yield
        except Exception:
            self.failed(request)
            raise
        self.answered(request)

    def sent(self, request: TokenRequest | None = None) -> None:
        """The driver has handed a token request to the network, which may lose or double it from here on.

        ``request`` is None where a network carries only bytes: they then count as the request that was claimed last.
        """
        now = self._book.look()
        errand = self._errand(request)
        if errand is None:
            self._book.broke(
                DriverRule.CLAIMED,
                "a token request was sent that no machine of this process has given out",
                "send what start_request returns, and nothing else, and nothing of a process that has ended",
            )
            return
        self._book.done(("sent", errand))
        errand.sent += 1
        if errand.sent > 1:
            self._book.broke(
                DriverRule.SENT_ONCE,
                f"{errand} was sent again",
                "tell the machine what came of it, and ask poll when the next one may be started",
            )
        elif errand.told and errand.told_at < errand.deadline:
            self._book.broke(
                DriverRule.CLAIMED,
                f"{errand} was sent after its outcome had been told at {when(errand.told_at)}",
                "start another one when poll says SendRequest",
            )
        elif now >= errand.deadline + self._book.grace:
            self._book.broke(
                DriverRule.IN_TIME,
                f"{errand} was sent, which was claimed at {when(errand.claimed_at)} and had until"
                f" {when(errand.deadline)}",
                "send it as soon as it is claimed, and give it up at its deadline (TokenRequest.seconds_left)",
            )

    def answered(self, request: TokenRequest | None = None) -> None:
        """The network has brought an answer to the driver, of whatever status."""
        self._brought(request, Told.ANSWER)

    def failed(self, request: TokenRequest | None = None) -> None:
        """The network has told the driver that no answer will come."""
        self._brought(request, Told.FAILURE)

    def _brought(self, request: TokenRequest | None, what: Told) -> None:
        now = self._book.look()
        errand = self._errand(request)
        if errand is None:  # The request was made by a process that has ended.
            return
        errand.brought.append(what)
        if not errand.told:
            self._book.owe(
                ("told", errand),
                now + self._book.grace,
                DriverRule.TOLD,
                f"{errand} came to {what.value} at {when(now)}, and the machine has not been told",
                "call receive_response for every answer and send_failed for every failure, as soon as it is known",
            )

    def _errand(self, request: TokenRequest | None) -> Errand | None:
        found = None
        for machine in self._book.machines:
            if request is None:
                for errand in machine.errands.values():
                    found = errand if found is None or errand.claimed_at >= found.claimed_at else found
            elif request.owner is machine.owner:
                found = machine.errands.get(request.id)
        return found

    # What the token is used for
    # --------------------------

    def api_call(self, authorization: str) -> None:
        """A call of the API leaves with this Authorization header."""
        now = self._book.look()
        if any(machine.vouches(authorization, now, self._book.grace) for machine in self._book.machines):
            return
        handed = max((machine.handed.get(authorization, -1.0) for machine in self._book.machines), default=-1.0)
        which = "which no machine of this process ever handed out"
        if handed >= 0.0:
            which = f"which the machine handed out at {when(handed)}, and would not now"
        self._book.broke(
            DriverRule.HEADER,
            f"a call left with a header {which}",
            "ask the machine for the header of each call (authorization, published), and keep none",
        )

    def api_answer(self, authorization: str, answer: HttpResponse) -> None:
        """The API has answered a call that carried this Authorization header."""
        now = self._book.look()
        held = [machine for machine in self._book.machines if machine.vouches(authorization, now, 0.0)]
        for machine in held or self._book.machines[-1:]:
            profile = machine.grant.endpoint.profile
            challenge = read_challenge(answer.status, answer.headers, answer.body, profile)
            self._book.hear(authorization, now, challenge)
            if challenge is Challenge.LOCKED:
                self._book.owe(
                    ("locked", machine),
                    now + self._book.grace,
                    DriverRule.LOCKED,
                    f"the API said at {when(now)} that the account is locked, and the machine has not been told",
                    "tell the machine at once, so that nobody knocks on the token endpoint either",
                )
            elif held and challenge in ABOUT_THE_TOKEN:
                self._book.owe(
                    ("rejected", authorization),
                    now + self._book.grace,
                    DriverRule.REJECTED,
                    f"the API answered {answer.status} at {when(now)} to the token in hand, and the machine has not"
                    " been told",
                    "call token_rejected with the header of that call and what read_challenge says",
                )

    # Callers, and processes
    # ----------------------

    @contextmanager
    def caller(self, machine: TokenMachine | None = None, min_ttl: float = 0.0) -> Generator[None]:
        """Wrap the wait of one caller: until it ends, somebody wants a token of ``machine``, or of the one made last.

        A caller who comes and leaves at the same moment need not be wrapped: the machine is asked for its
        ``authorization``, and so the check sees such a caller too.
        """
        now = self._book.look()
        self._came += 1
        number = self._came
        self._book.callers[number] = Caller(now, machine if isinstance(machine, CheckedMachine) else None, min_ttl)
        try:
            yield
        finally:
            self._book.look()
            self._book.callers.pop(number, None)

    def crashed(self, *, lost: bool = False) -> None:
        """The process ends here, and owes nothing any more. ``lost``: its snapshots are gone with it."""
        if self._book.machines:
            self._book.look()
        self._book.duties.clear()
        self._book.machines.clear()
        self._book.callers.clear()
        self._book.heard.clear()
        self._book.lost_snapshot = lost

    def resumed(self) -> None:
        """The process has not run until now (its host was asleep): what fell due meanwhile is due from now on."""
        now = self._book.moment()
        self._book.duties = {
            key: duty._replace(due=max(duty.due, now + self._book.grace)) for key, duty in self._book.duties.items()
        }
        self._book.callers = {number: caller._replace(came=now) for number, caller in self._book.callers.items()}
        for machine in self._book.machines:
            machine.rested(now)
