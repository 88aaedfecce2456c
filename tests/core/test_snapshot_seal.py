"""Whom a snapshot is believed: who knows the client's secret; and nobody else, about anything but the budget."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from evertoken import (
    AuthenticationParts,
    ClientCredentials,
    Policy,
    ProblemKind,
    Snapshot,
    TokenEndpoint,
    TokenMachine,
)
from evertoken._snapshot import DOUBTED
from evertoken._states import NEVER, Budget, State, first_state
from tests.kits import canary
from tests.kits.driving import LOCKED, REFUSED, attempt, machine, sealed, seasoned, serve

GRANT = canary.grant()
URL = "https://api.example/token"


@functools.cache
def honest() -> str:
    """A snapshot of a machine that has seen all."""
    m = seasoned()
    return m.snapshot(m.state_value.now, secrets=True).to_json()


def restored(text: str, grant: ClientCredentials = GRANT, elapsed: float = 0.0) -> TokenMachine:
    return TokenMachine.restore(grant, Snapshot.from_json(text), 100.0, elapsed, draw=lambda: 0.0)


def doubted(state: State) -> bool:
    """Whether nothing is left in ``state`` but a budget and the word that more was not believed."""
    return state == first_state(Policy())._replace(now=100.0, budget=state.budget, problem=DOUBTED)


def forged(change: Callable[[Any], object]) -> str:
    """The same after ``change`` by somebody who does not know the secret."""
    content = json.loads(honest())
    change(content)
    return json.dumps(content)


@pytest.mark.no_cover
def test_whatever_byte_is_changed_the_snapshot_is_refused_or_not_believed() -> None:
    text, refused = honest(), 0
    assert text.isascii()
    assert restored(text).token(100.0) is not None
    for place, char in enumerate(text):
        try:
            m = restored(text[:place] + chr(ord(char) ^ 1) + text[place + 1 :])
        except ValueError:
            refused += 1
        else:
            assert doubted(m.state_value), place
    assert len(text) // 4 < refused < len(text)


FORGERIES: dict[str, Callable[[Any], object]] = {
    "a token": lambda content: content["token"].update(value="attacker"),
    "a token's life": lambda content: content["token"].update(expires_at=9e4),
    "no token": lambda content: content.update(token=None),
    "an opened block": lambda content: content.update(blocks=[]),
    "a longer block": lambda content: content["blocks"][0].update(until=9e9),
    "no back-off": lambda content: content["backoff"].update(failures=0, retry_at=None),
    "no doublings": lambda content: content["blocks"][0].update(times=0),
    "no rejections": lambda content: content["rejections"].update(believed=0, dropped=[]),
    "other credentials": lambda content: content["credentials"].update(generation=7),
    "no request in flight": lambda content: content.update(attempt=None),
    "what people are told": lambda content: content.update(problem=None),
    "a seal": lambda content: content.update(seal="0" * 64),
}


@pytest.mark.parametrize("change", FORGERIES.values(), ids=FORGERIES)
def test_of_what_was_forged_nothing_is_believed(change: Callable[[Any], object]) -> None:
    m = restored(forged(change))
    assert doubted(m.state_value)
    assert m.authorization(100.0) is None
    canary.assert_clean(m.explain(100.0))


def test_a_snapshot_of_another_client_is_not_made_ours_by_its_name() -> None:
    other = TokenMachine(canary.grant(client_id="other"), draw=lambda: 0.0)
    serve(other, 0)
    content = json.loads(other.snapshot(0, secrets=True).to_json())
    content["client"] = json.loads(honest())["client"]
    assert doubted(restored(json.dumps(content)).state_value)


@pytest.mark.parametrize(
    "other",
    [
        canary.grant(client_id="other"),
        canary.grant(base_url="https://api.example"),
        ClientCredentials(GRANT.endpoint, GRANT.client_id, GRANT.client_secret, scope="x"),
        ClientCredentials(GRANT.endpoint, GRANT.client_id, GRANT.client_secret, audience="x"),
        ClientCredentials(GRANT.endpoint, GRANT.client_id, GRANT.client_secret, resource="https://x.example"),
    ],
    ids=["client id", "endpoint", "scope", "audience", "resource"],
)
def test_a_snapshot_of_another_client_is_refused(other: ClientCredentials) -> None:
    with pytest.raises(ValueError, match="taken of another client, endpoint, scope, audience or resource"):
        restored(honest(), other)


# The budget
# ----------


@pytest.mark.parametrize(
    ("budget", "left"),
    [
        ({"level": 10**6, "refill_at": None, "interval": 0.0}, Budget(10, NEVER, 60.0)),
        ({"level": 10**6, "refill_at": -1e6, "interval": 2.0}, Budget(10, NEVER, 60.0)),
        ({"level": 0, "refill_at": 2.0**40, "interval": 1e9}, Budget(0, 160.0, 60.0)),
        ({"level": 3, "refill_at": 1.0, "interval": 2.0}, Budget(3, 101.0, 60.0)),
        ({"level": 3, "refill_at": 1.0, "interval": 0.0}, Budget(3, 101.0, 60.0)),
    ],
)
def test_a_forged_budget_is_no_richer_than_a_new_machines_nor_poorer_than_an_interval_mends(
    budget: dict[str, object], left: Budget
) -> None:
    assert restored(forged(lambda content: content["budget"].update(budget))).state_value.budget == left


def test_a_rotation_refunds_nothing_of_the_budget() -> None:
    m = machine(credentials=GRANT)
    serve(m, 0, expires_in=10)
    assert m.state_value.budget.interval == 5
    kept, changed = m.snapshot(0), GRANT.with_secret(canary.secret(1))
    for elapsed, refill_at in ((0.0, 105.0), (4.0, 101.0)):
        twin = restored(kept.to_json(), changed, elapsed)
        assert twin.state_value.budget == Budget(9, refill_at, 60.0)
        assert twin.explain(refill_at).budget_left == 10


# Other credentials
# -----------------


def test_under_another_secret_neither_token_nor_block_is_there_and_explain_says_why() -> None:
    for answer in (LOCKED, REFUSED):
        m = machine(credentials=GRANT)
        serve(m, 0)
        attempt(m, 290, answer)
        kept = m.snapshot(290, secrets=True).to_json()
        assert restored(kept).explain(100.0).blocks
        twin = restored(kept, GRANT.with_secret(canary.secret(1)))
        assert doubted(twin.state_value)
        told = twin.problem(100.0)
        assert told is not None
        assert told.kind is ProblemKind.SNAPSHOT
        assert str(told) in str(twin.explain(100.0))
        serve(twin, 100.0)
        assert twin.problem(100.0) is None


def test_a_machine_whose_secret_was_replaced_goes_on_under_the_new_one_alone() -> None:
    m, changed = seasoned(), GRANT.with_secret(canary.secret(1))
    m.replace_credentials(m.state_value.now, changed)
    now = m.state_value.now
    kept = m.snapshot(now, secrets=True)
    twin = TokenMachine.restore(changed, kept, now, draw=lambda: 0.0)
    assert twin.state_value == m.state_value
    assert twin.state_value.credentials.generation == 1
    assert doubted(restored(kept.to_json(), GRANT).state_value)


def with_pin(pin: str, secret: str = canary.secret()) -> ClientCredentials:
    return ClientCredentials(TokenEndpoint(URL), "client", secret, parameters={"pin": pin})


def test_what_stands_in_parameters_is_told_by_nothing_but_the_seal() -> None:
    texts = [TokenMachine(with_pin(pin), draw=lambda: 0.0).snapshot(0).to_json() for pin in ("1234", "1235")]
    one, other = map(json.loads, texts)
    assert one.pop("seal") != other.pop("seal")
    assert one == other
    assert doubted(restored(texts[0], with_pin("1235")).state_value)
    assert not doubted(restored(texts[0], with_pin("1234")).state_value)


# Without a secret
# ----------------


@dataclass(frozen=True)
class Assertion:
    """A way of authentication that keeps its key to itself."""

    def authenticate(self, grant: ClientCredentials) -> AuthenticationParts:
        return AuthenticationParts(form=(("client_assertion", f"{canary.secret()}{grant.client_id}"),))


def test_without_a_client_secret_blocks_are_kept_and_no_token_is_written_or_read() -> None:
    grant = ClientCredentials(TokenEndpoint(URL, Assertion()), "client")
    m = machine(credentials=grant)
    serve(m, 0)
    attempt(m, 290, LOCKED)
    kept = m.snapshot(290, secrets=True)
    assert not kept.has_secrets
    canary.assert_clean(kept.to_json())
    twin = TokenMachine.restore(grant, kept, 290, draw=lambda: 0.0)
    assert twin.state_value == m.state_value._replace(token=None)
    token = json.loads(honest())["token"]
    planted = restored(sealed(grant, json.loads(kept.to_json()) | {"token": token}), grant)
    assert planted.token(100.0) is None
    assert planted.explain(100.0).blocks
    damaged = json.loads(kept.to_json()) | {"blocks": []}
    assert doubted(restored(json.dumps(damaged), grant).state_value)


def test_a_secret_that_is_never_sent_seals_the_snapshots_of_who_needs_none() -> None:
    grant = ClientCredentials(TokenEndpoint(URL, Assertion()), "client", canary.secret())
    m = machine(credentials=grant)
    serve(m, 0)
    assert canary.secret().encode() not in m.grant.message().body.replace(f"{canary.secret()}client".encode(), b"")
    assert TokenMachine.restore(grant, m.snapshot(0, secrets=True), 0, draw=lambda: 0.0).token(0) == m.token(0)
