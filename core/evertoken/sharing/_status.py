"""What stands in a store, for people: without the token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from evertoken import _schedule
from evertoken._grant import ClientCredentials
from evertoken._policy import Policy
from evertoken._problems import Problem
from evertoken._states import BlockKind
from evertoken.sharing import _record
from evertoken.sharing._codec import read_record
from evertoken.sharing._store import Cipher, Found


@dataclass(frozen=True, slots=True)
class Status:
    """What a shared store holds for one grant. Redacted: log it, print it. All times are seconds from now.

    ``expires_in`` is how long the token has to live, below 0 once it has expired; None if there is none. ``block`` is
    the kind of the block that stands, when it ends, and what was met. ``barred`` are hosts that were turned away, with
    the same. ``asking_for`` is how much longer the lease of whoever is asking lasts at most. ``retry_in`` is when
    anybody may ask, 0.0 if that is now. ``problem`` is that of the last of so many ``failures``. ``fault`` says why the
    record is not believed.
    """

    expires_in: float | None = None
    block: tuple[BlockKind, float, Problem] | None = None
    barred: tuple[tuple[str, float, Problem], ...] = ()
    asking_for: float | None = None
    failures: int = 0
    retry_in: float = 0.0
    problem: Problem | None = None
    budget_left: int = 0
    fault: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing keeps anybody from asking that an operator's word would end."""
        return self.fault is None and self.block is None and not self.barred and self.retry_in == 0.0

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        if self.fault is not None:
            yield f"record: not believed: {self.fault}"
            return
        if self.expires_in is None:
            yield "token: none"
        elif self.expires_in > 0:
            yield f"token: expires in {self.expires_in:.0f} s"
        else:
            yield f"token: expired {-self.expires_in:.0f} s ago"
        if self.block is None:
            yield "block: none"
        else:
            kind, ends, problem = self.block
            yield f"block: {kind.value}, for another {ends:.0f} s. {problem}"
        for host, until, problem in self.barred:
            yield f"turned away: host {host}, for another {until:.0f} s. {problem}"
        if self.asking_for is not None:
            yield f"asking: a process, for another {self.asking_for:.0f} s at most"
        if self.failures:
            yield f"failures: {self.failures} in a row. {self.problem}"
        later = f", and none is made for another {self.retry_in:.0f} s" if self.retry_in else ""
        yield f"budget: {self.budget_left} token requests left{later}"


def status_of(grant: ClientCredentials, policy: Policy, key: str, found: Found, cipher: Cipher | None = None) -> Status:
    """What ``found``, which stands under ``key``, says."""
    read = read_record(grant, key, found.value, cipher)
    if read.fault is not None:
        return Status(fault=read.fault)
    now = found.now
    record = _record.blank(policy) if read.record is None else read.record
    record = _record.settled(policy, record, now, holder_lives=found.holder_lives)
    account, block, held, lease = record.account, record.block, record.grant, record.lease
    return Status(
        expires_in=None if held is None else held.asked + _record.life_of(policy, held.granted) - now,
        block=None if block is None or now >= block.ends else (block.kind, block.ends - now, block.problem),
        barred=tuple([(bar.host, bar.until - now, bar.problem) for bar in record.bars if now < bar.until]),
        asking_for=None if lease is None else lease.until - now,
        failures=account.failures,
        retry_in=max(0.0, _record.free_at(policy, record, now) - now),
        problem=account.problem,
        budget_left=_schedule.refill(policy, account.budget, now).level,
    )
