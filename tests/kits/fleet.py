"""A store in memory, processes with machines, and one clock: a fleet that a test drives step by step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from evertoken import HttpResponse, Outcome, Policy, TokenMachine, TokenRequest
from evertoken.sharing import (
    Action,
    Answer,
    Ask,
    Cipher,
    Edit,
    Fail,
    Found,
    Load,
    Over,
    Postpone,
    Send,
    Sharing,
    Sleep,
    Swapped,
)
from evertoken.sharing._actions import Swap
from evertoken.sharing._codec import key_of, read_record
from evertoken.sharing._record import Record
from tests.kits import canary
from tests.kits.driving import granted

__all__ = ("Fleet", "Process", "Scrambled", "Stock")


class Stock:
    """A store in memory, whose clock is ``ahead`` of the true time, in seconds.

    ``calls`` counts loads and swaps, ``lasts`` is what the last swap said of how long its value is needed, and
    ``holder_lives`` is what the store says of whoever has the lease.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.values: dict[str, bytes] = {}
        self.ahead = 1_000_000.0
        self.holder_lives: bool | None = None
        self.calls = 0
        self.lasts = 0.0

    def found(self, key: str) -> Found:
        return Found(self.values.get(key), self.fleet.now + self.ahead, self.holder_lives)

    def load(self, action: Load) -> Found:
        self.calls += 1
        return self.found(action.key)

    def swap(self, action: Swap) -> Swapped:
        self.calls += 1
        if self.values.get(action.key) != action.expected:
            return Swapped(done=False, found=self.found(action.key))
        assert action.value not in self.values.values()
        self.values[action.key] = action.value
        self.lasts = action.lasts
        return Swapped(done=True, found=self.found(action.key))


class Process:
    """A machine and its sharing. ``wall`` are the seconds by which its wall clock is ahead of the true time."""

    def __init__(self, fleet: Fleet, machine: TokenMachine, sharing: Sharing, wall: float) -> None:
        self.fleet = fleet
        self.machine = machine
        self.sharing = sharing
        self.wall = wall
        self.request: TokenRequest | None = None
        self.ask: Ask | None = None

    def begin(self) -> Ask:
        """Start a request. What is returned says what is to be done first."""
        now = self.fleet.now
        self.request = self.machine.start_request(now)
        self.ask = self.sharing.ask(now, self.request, nonce=self.fleet.nonce(), unix_time=now + self.wall)
        return self.ask

    def step(self, ask: Ask | Edit) -> Action:
        """Make the call of the store that is to be made, if one is. Returns what is to be done next."""
        match ask.action:
            case Load() as load:
                return ask.loaded(self.fleet.now, self.fleet.stock.load(load))
            case Swap() as swap:
                return ask.swapped(self.fleet.now, self.fleet.stock.swap(swap))
            case other:
                return other

    def until(self, ask: Ask | Edit, *kinds: type[Action]) -> Action:
        """Call the store, and sleep, as ``ask`` says, until an action of one of ``kinds`` is to be done."""
        for _ in range(200):
            if isinstance(ask.action, kinds):
                return ask.action
            if isinstance(ask.action, Sleep):
                assert isinstance(ask, Ask)
                assert ask.action.until > self.fleet.now
                self.fleet.now = ask.action.until
                ask.woken(self.fleet.now)
                continue
            before = ask.action
            assert self.step(ask) is not before, before
        raise AssertionError("no end")

    def tell(self, ask: Ask) -> Outcome:
        """Tell the machine what came of its request, which is what ``ask`` says."""
        request, now = self.request, self.fleet.now
        assert request is not None
        match ask.action:
            case Answer(response):
                return self.machine.receive_response(now, request, response)
            case Postpone(until, problem):
                return self.machine.request_postponed(now, request, until, problem)
            case Fail():
                return self.machine.send_failed(now, request, "reset")
            case _:
                raise AssertionError(ask.action)

    def fetch(self, answer: HttpResponse | None = None) -> Outcome:
        """Make a whole request, to which the endpoint answers ``answer``, or with the next token."""
        ask = self.begin()
        if isinstance(self.until(ask, Send, Answer, Postpone), Send):
            self.fleet.sent.append(self.fleet.now)
            ask.answered(self.fleet.now, self.fleet.next_token() if answer is None else answer)
            self.until(ask, Answer, Postpone)
        return self.tell(ask)


class Scrambled:
    """Stands in for a cipher. It turns the bytes around, and knows by a mark what it has encrypted itself."""

    def __init__(self, mark: bytes = b"1") -> None:
        self.mark = mark

    def encrypt(self, plain: bytes, /) -> bytes:
        return self.mark + plain[::-1]

    def decrypt(self, cipher: bytes, /) -> bytes | None:
        return cipher[1:][::-1] if cipher[:1] == self.mark else None


class Fleet:
    """Several processes of one client with one store."""

    def __init__(self, policy: Policy | None = None, draw: float = 0.5, cipher: Cipher | None = None) -> None:
        self.policy = policy or Policy()
        self.draw = draw
        self.cipher = cipher
        self.now = 1_000.0
        self.stock = Stock(self)
        self.sent: list[float] = []
        self._numbers: Iterator[int] = itertools.count()
        self._nonces: Iterator[int] = itertools.count(1)

    def nonce(self) -> str:
        return f"{next(self._nonces):032x}"

    def next_token(self, expires_in: float = 1_200) -> HttpResponse:
        return granted(next(self._numbers), expires_in)

    def process(self, *, host: str = "here", wall: float = 0.0, key: int = 0, **options: bool) -> Process:
        grant = canary.grant(api_key=canary.secret(key))
        machine = TokenMachine(grant, policy=self.policy, draw=lambda: self.draw, tiers=1)
        sharing = Sharing(host=host, draw=lambda: self.draw, cipher=self.cipher, **options)
        return Process(self, machine, sharing, wall)

    def record(self, key: int = 0) -> Record:
        grant = canary.grant(api_key=canary.secret(key))
        name = key_of(grant)
        read = read_record(grant, name, self.stock.values.get(name), self.cipher)
        assert read.record is not None, read.fault
        return read.record

    def edit(self, process: Process, edit: Edit) -> None:
        assert isinstance(process.until(edit, Over), Over)
