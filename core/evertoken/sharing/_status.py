"""What stands in a store, for people: without the token."""

from __future__ import annotations

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
    """What a shared store knows of one grant. Redacted: log it, print it. All times are seconds from now.

    ``token_for`` is how much longer the token is handed out, ``scope`` what it is for; None if there is no token that
    is. ``blocks`` are the kinds of block that stand, each with its end and what was met; ``barred`` are hosts that were
    turned away, with theirs. ``asking_for`` is how much longer the lease of whoever is asking lasts at most.
    ``retry_in`` is when anybody may ask, 0.0 if that is now. ``fault`` says why the record is not believed.
    """

    token_for: float | None = None
    scope: str | None = None
    blocks: tuple[tuple[BlockKind, float, Problem], ...] = ()
    barred: tuple[tuple[str, float], ...] = ()
    asking_for: float | None = None
    failures: int = 0
    retry_in: float = 0.0
    problem: Problem | None = None
    budget_left: int = 0
    fault: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing keeps anybody from asking that an operator's word would end."""
        return self.fault is None and not self.blocks and not self.barred and self.retry_in == 0.0

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        if self.fault is not None:
            return [f"the record in the store is not believed: {self.fault}"]
        lines = ["no token" if self.token_for is None else f"token: handed out for another {self.token_for:.0f} s"]
        lines += [f"{kind.value} for another {left:.0f} s: {problem}" for kind, left, problem in self.blocks]
        lines += [f"turned away at {host}: it does not ask for another {left:.0f} s" for host, left in self.barred]
        if self.asking_for is not None:
            lines.append(f"a process is asking, for another {self.asking_for:.0f} s at most")
        if self.failures:
            lines.append(f"{self.failures} failures in a row: {self.problem}")
        if self.retry_in > 0:
            lines.append(f"nobody asks for another {self.retry_in:.0f} s")
        lines.append(f"budget: {self.budget_left} token requests left")
        return lines


def status_of(grant: ClientCredentials, policy: Policy, key: str, found: Found, cipher: Cipher | None = None) -> Status:
    """What ``found``, which stands under ``key``, says."""
    read = read_record(grant, key, found.value, cipher)
    if read.fault is not None:
        return Status(fault=read.fault)
    now = found.now
    record = _record.blank(policy) if read.record is None else read.record
    record = _record.settled(policy, record, now, holder_lives=found.holder_lives)
    account, block, lease = record.account, record.block, record.lease
    token_for, scope = _token_of(policy, record, now)
    return Status(
        token_for=token_for,
        scope=scope,
        blocks=() if block is None or now >= block.ends else ((block.kind, block.ends - now, block.problem),),
        barred=tuple([(bar.host, bar.until - now) for bar in record.bars if now < bar.until]),
        asking_for=None if lease is None else lease.until - now,
        failures=account.failures,
        retry_in=max(0.0, _record.free_at(policy, record, now) - now),
        problem=account.problem,
        budget_left=_schedule.refill(policy, account.budget, now).level,
    )


def _token_of(policy: Policy, record: _record.Record, now: float) -> tuple[float | None, str | None]:
    if record.grant is None:
        return None, None
    granted = record.grant.granted
    token = _schedule.make_token(policy, granted, started=record.grant.asked, received=now, draw=0.0)
    return (token.fresh_until - now, granted.scope) if now < token.fresh_until else (None, None)
