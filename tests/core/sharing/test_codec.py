"""A record in a store: whom it is believed, and under which key it stands."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from evertoken import (
    BasicAuthentication,
    Blocked,
    BlockKind,
    ClientCredentials,
    Failed,
    Granted,
    Policy,
    PostAuthentication,
    Problem,
    ProblemKind,
    TokenEndpoint,
    mangopay,
)
from evertoken._grant import AuthenticationParts
from evertoken.sharing import _record
from evertoken.sharing._codec import key_of, read_record, write_record
from evertoken.sharing._record import Grant, Record
from tests.kits import canary
from tests.kits.fleet import Scrambled

POLICY = Policy()
GRANT = canary.grant()
KEY = key_of(GRANT)
PROBLEM = Problem(ProblemKind.LOCKED, "Locked out", "Wait.", 400, "unauthorized_client", "locked")


def full() -> Record:
    """Something in every field."""
    record = _record.blank(POLICY)
    lease = _record.acquired(POLICY, record, 10.0, nonce="a-1", seconds=15).lease
    assert lease is not None
    record = _record.acquired(POLICY, record, 10.0, nonce="a-1", seconds=15)
    record = _record.kept(POLICY, record, 11.0, lease, Grant(Granted(canary.token(), 1_200, "a b"), 10, 9, lease.n))
    record = _record.acquired(POLICY, record, 20.0, nonce="b-1", seconds=15)
    assert record.lease is not None
    record = _record.failed(POLICY, record, 20.0, record.lease, Failed(PROBLEM), draw=0.5)
    record = _record.acquired(POLICY, record, 30.0, nonce="b-1", seconds=15)
    assert record.lease is not None
    blocked = Blocked(BlockKind.LOCKED, PROBLEM)
    record = _record.refused(POLICY, record, 30, record.lease, blocked, asked=30, draw=0.5)
    record = _record.acquired(POLICY, record, 40.0, nonce="b-1", seconds=15)
    assert record.lease is not None
    record = _record.barred(POLICY, record, 40, record.lease, blocked, host="here", draw=0.5)
    return _record.acquired(POLICY, record, 50.0, nonce="c-1", seconds=15)


def written(record: Record, beside: dict[str, object] | None = None, cipher: Scrambled | None = None) -> bytes:
    return write_record(GRANT, KEY, record, beside or {}, write="w", cipher=cipher)


@pytest.mark.parametrize("record", [full(), _record.blank(POLICY)], ids=["full", "blank"])
@pytest.mark.parametrize("cipher", [None, Scrambled()], ids=["plain", "encrypted"])
def test_a_record_is_read_as_it_was_written(record: Record, cipher: Scrambled | None) -> None:
    value = written(record, cipher=cipher)
    assert read_record(GRANT, KEY, value, cipher) == (record, {}, None)


def test_what_a_later_release_has_added_is_kept() -> None:
    read = read_record(GRANT, KEY, written(full(), {"colour": "blue"}), None)
    assert (read.record, read.beside) == (full(), {"colour": "blue"})


def test_nothing_in_a_store_is_no_fault() -> None:
    assert read_record(GRANT, KEY, None, None) == (None, {}, None)


def changed(value: bytes, **changes: object) -> bytes:
    return json.dumps({**json.loads(value), **changes}).encode()


def sealed(**changes: object) -> bytes:
    """As somebody would write it who knows the secret."""
    content = {**json.loads(written(full())), **changes}
    del content["seal"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return json.dumps({**content, "seal": GRANT.seal("record", f"{KEY}\0{text}")}).encode()


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "torn": lambda value: value[: len(value) // 2],
    "empty": lambda _value: b"",
    "not text": lambda _value: b"\xff\x00",
    "a list": lambda _value: b"[]",
    "forged": lambda value: changed(value, n=99),
    "no seal": lambda value: changed(value, seal=None),
    "a seal that is no ASCII": lambda value: changed(value, seal="\u00e4\ud800"),
    "another format": lambda _value: sealed(format=2),
    "a field of another type": lambda _value: sealed(n="1"),
    "counters that are none": lambda _value: sealed(account={**json.loads(written(full()))["account"], "times": []}),
    "not an object": lambda _value: sealed(account=3),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_what_is_damaged_foreign_or_forged_is_a_miss_and_says_why(damage: Callable[[bytes], bytes]) -> None:
    read = read_record(GRANT, KEY, damage(written(full())), None)
    assert read.record is None
    assert read.fault is not None
    canary.assert_clean(read)


def test_a_field_that_is_missing_is_a_miss() -> None:
    content = json.loads(written(full()))
    del content["n"], content["seal"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    value = json.dumps({**content, "seal": GRANT.seal("record", f"{KEY}\0{text}")}).encode()
    assert read_record(GRANT, KEY, value, None).record is None


def test_a_record_is_not_believed_under_another_key_or_another_secret() -> None:
    value = written(full())
    other = canary.grant(api_key=canary.secret(1))
    assert read_record(GRANT, "0" * 64, value, None).record is None
    assert read_record(other, KEY, value, None).record is None


def test_what_was_encrypted_under_another_key_is_a_miss() -> None:
    value = written(full(), cipher=Scrambled(b"2"))
    read = read_record(GRANT, KEY, value, Scrambled(b"1"))
    assert read.record is None
    assert read.fault is not None


def test_no_secret_is_in_a_value_and_with_encryption_no_token() -> None:
    assert canary.secret().encode() not in written(full())
    assert canary.token().encode() in written(full())
    assert canary.token().encode() not in written(full(), cipher=Scrambled())
    canary.assert_clean(full())


# Keys
# ----


@dataclasses.dataclass(frozen=True)
class Own:
    """A client authentication of an embedder's."""

    identity: str = ""

    def authenticate(self, grant: ClientCredentials) -> AuthenticationParts:
        del grant
        return AuthenticationParts()


class Plain(Own):
    """Another one."""


def grant(authentication: Any = PostAuthentication(), url: str = "https://as.example/token", **rest: Any) -> str:  # noqa: ANN401, B008
    secret = rest.pop("secret", canary.secret())
    return key_of(ClientCredentials(TokenEndpoint(url, authentication), rest.pop("client_id", "one"), secret, **rest))


def test_whatever_could_be_answered_differently_has_a_key_of_its_own() -> None:
    keys = [
        grant(),
        grant(url="https://other.example/token"),
        grant(client_id="two"),
        grant(secret=canary.secret(1)),
        grant(scope="a"),
        grant(audience="a"),
        grant(resource="urn:a"),
        grant(parameters={"scope2": "a"}),
        grant(BasicAuthentication()),
        grant(BasicAuthentication("raw")),
        grant(Own()),
        grant(Own("certificate one")),
        grant(Plain()),
    ]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 64 and set(key) <= set("0123456789abcdef") for key in keys)


def test_the_same_request_has_the_same_key_and_where_the_token_is_used_is_not_in_it() -> None:
    assert grant() == grant()
    assert grant(api_base="https://api.example") == grant()
    assert key_of(mangopay.sandbox("a", canary.secret())) != key_of(mangopay.production("a", canary.secret()))
