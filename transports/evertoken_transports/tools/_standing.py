"""What a store holds for one client, for people: moments as seconds from now, and no token."""

from __future__ import annotations

from collections.abc import Iterator

from evertoken import ClientCredentials, Policy
from evertoken.sharing import Cipher, Found, Store
from evertoken.sharing._codec import key_of, read_record
from evertoken.sharing._record import Record


def lines(grant: ClientCredentials, store: Store, policy: Policy, cipher: Cipher | None = None) -> list[str]:
    """What is to be shown. Raises :class:`~evertoken.sharing.StoreTrouble`."""
    key = key_of(grant)
    found = store.load(key, timeout=2.0)
    head = [f"client: {grant.client_id} at {grant.endpoint.url}", f"store: {store!r}, key {key[:12]}…"]
    read = read_record(grant, key, found.value, cipher)
    if read.fault is not None:
        return [*head, f"record: not believed: {read.fault}"]
    if read.record is None:
        return [*head, "record: none"]
    return [*head, *_of(read.record, found, policy)]


def _of(record: Record, found: Found, policy: Policy) -> Iterator[str]:
    now, account = found.now, record.account
    yield f"token: {_token(record, now, policy)}"
    block = record.block
    if block is not None and now < block.ends:
        yield f"block: {block.kind.value}, for another {block.ends - now:.0f} s. {block.problem}"
    else:
        yield "block: none"
    lease = record.lease
    if lease is not None and now < lease.until:
        alive = {True: ", and lives", False: ", and has died", None: ""}[found.holder_lives]
        yield f"asking: a process asks since {now - lease.since:.0f} s{alive}"
    if account.failures:
        problem = "" if account.problem is None else f". {account.problem}"
        yield f"failures: {account.failures} in a row, next try in {max(0.0, account.retry_at - now):.0f} s{problem}"
    for bar in record.bars:
        if now < bar.until:
            yield f"turned away: host {bar.host}, for another {bar.until - now:.0f} s. {bar.problem}"


def _token(record: Record, now: float, policy: Policy) -> str:
    if record.grant is None:
        return "none"
    granted, age = record.grant.granted, now - record.grant.asked
    life = policy.default_lifetime if granted.expires_in is None else granted.expires_in
    if age >= life:
        return f"expired {age - life:.0f} s ago"
    return f"expires in {life - age:.0f} s, asked for {age:.0f} s ago"
