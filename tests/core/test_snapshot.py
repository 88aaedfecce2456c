"""Snapshots: a machine's state as JSON that any clock can go on from, and that gives nothing away."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import pickle
import re
from dataclasses import replace

import pytest

from evertoken import (
    HttpResponse,
    LocalProtocolError,
    Policy,
    Snapshot,
    TokenMachine,
    mangopay,
)
from evertoken import SendReason as Why
from evertoken._snapshot import read_snapshot
from evertoken._states import State
from evertoken.testing import draw_scenario, simulate
from evertoken.testing.world._clients import Client
from evertoken.testing.world._watched import WatchedMachine
from tests.kits import canary
from tests.kits.driving import (
    AGED,
    FAILED,
    LIMITED,
    LOCKED,
    MALFORMED,
    REFUSED,
    attempt,
    granted,
    machine,
    seasoned,
    serve,
    wait,
)


def again(
    m: TokenMachine, now: float, elapsed: float = 0.0, *, secrets: bool = True, at: float | None = None
) -> TokenMachine:
    """The machine after a snapshot at ``now``, written down, read, and restored at ``at``."""
    text = m.snapshot(now, secrets).to_json()
    moment = now + elapsed if at is None else at
    return TokenMachine.restore(m.grant, Snapshot.from_json(text), moment, elapsed, policy=m.policy, draw=lambda: 0.25)


# The same machine
# ----------------


def test_a_machine_restored_at_once_is_in_the_very_same_state() -> None:
    m = seasoned()
    state = m.state_value
    assert None not in (state.token, state.attempt, state.lost, state.problem)
    assert state.blocks
    assert state.rejections.dropped
    twin = again(m, state.now)
    assert twin.state_value == state
    assert twin.published == m.published
    assert twin.snapshot(state.now, secrets=True) == m.snapshot(state.now, secrets=True)


def test_a_new_machine_can_be_restored_too() -> None:
    m = machine()
    assert again(m, 0).state_value == m.state_value._replace(now=0)


@pytest.mark.parametrize("now", [0.1, 60.3, 1e9 + 0.123456789, -1e6 / 3, 2.0**40 - 700.3])
def test_no_moment_moves_however_the_clock_stands(now: float) -> None:
    m = machine(draw=1 / 3)
    serve(m, now)
    attempt(m, now + 290.123, FAILED)
    later = now + 600.7
    m.lift_block(later)
    assert again(m, later).state_value == m.state_value


class RestoredMachine(WatchedMachine):
    """A machine that is written down and read again after every step."""

    __slots__ = ()

    def _become(self, state: State) -> None:
        super()._become(state)
        if state.now > float("-inf"):
            snapshot = Snapshot.from_json(self.snapshot(state.now, secrets=True).to_json())
            super()._become(read_snapshot(self.grant, self.policy, snapshot, state.now, 0.0))


class RestoredClient(Client):
    """A client with such a machine."""

    machine_class = RestoredMachine


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(3))
def test_restored_at_every_step_of_a_run_the_trace_stays_the_same(seed: int) -> None:
    scenario = replace(draw_scenario(seed), seconds=20_000.0)
    assert simulate(scenario, client=RestoredClient).digest == simulate(scenario).digest


def test_the_clock_may_be_another_one_and_time_may_have_passed() -> None:
    m = seasoned()
    now = m.state_value.now
    shift, elapsed = 1_000_000.0, 64.0
    twin = again(m, now, elapsed, at=now + shift + elapsed)
    for ahead in (0.0, 5.0, 30.0, 500.0):
        assert twin.state(now + shift + elapsed + ahead) is m.state(now + elapsed + ahead)
        mine, others = m.poll(now + elapsed + ahead), twin.poll(now + shift + elapsed + ahead)
        assert getattr(others, "until", shift) - shift == getattr(mine, "until", 0.0)


def test_the_answer_to_a_request_from_before_a_restart_is_nobodys_and_the_request_can_only_be_lost() -> None:
    m = machine()
    request = m.start_request(0)
    twin = again(m, 1)
    with pytest.raises(LocalProtocolError, match="restored"):
        twin.receive_response(2, request, granted())
    assert getattr(twin.poll(2), "until", None) == 10
    assert twin.explain(10).failures == 1


def test_an_attempt_that_nobody_answers_is_lost_at_its_deadline() -> None:
    m = machine()
    m.start_request(0)
    twin = again(m, 1, elapsed=100)
    assert twin.state_value.lost is not None
    assert twin.explain(101).failures == 1


@pytest.mark.parametrize("answer", [LOCKED, REFUSED, LIMITED, FAILED, MALFORMED])
def test_a_block_stands_over_a_restart(answer: HttpResponse) -> None:
    m = machine()
    attempt(m, 0, answer)
    until = wait(m, 0.25)
    assert until is not None
    for secrets in (False, True):
        assert wait(again(m, 0.25, secrets=secrets), 0.25) == until


def test_the_budget_that_was_spent_stays_spent_over_a_restart() -> None:
    m = machine(budget_burst=1)
    serve(m, 0)
    assert again(m, 1).explain(1).budget_left == m.explain(1).budget_left == 0


def test_a_budget_fits_the_policy_that_it_is_restored_under() -> None:
    m = machine(budget_burst=10)
    serve(m, 0)
    snapshot = m.snapshot(0)
    tighter = TokenMachine.restore(m.grant, snapshot, 0, policy=Policy(budget_burst=2), draw=lambda: 0.0)
    assert (tighter.explain(0).budget_left, tighter.explain(0).budget_refill_at) == (2, None)
    full = machine(budget_burst=2).snapshot(0)
    wider = TokenMachine.restore(m.grant, full, 0, policy=Policy(budget_burst=5), draw=lambda: 0.0)
    assert (wider.explain(0).budget_left, wider.explain(0).budget_refill_at) == (2, 60.0)


# Without secrets
# ---------------


def test_without_secrets_all_is_there_but_the_token() -> None:
    m = seasoned()
    now = m.state_value.now
    text = m.snapshot(now).to_json()
    assert canary.TOKEN_MARK not in text
    assert canary.SECRET_MARK not in text
    twin = again(m, now, secrets=False)
    assert twin.state_value == m.state_value._replace(token=None)


def test_a_machine_restored_without_its_token_asks_for_one() -> None:
    m = machine()
    serve(m, 0)
    twin = again(m, 1, secrets=False)
    assert twin.authorization(1) is None
    assert getattr(twin.poll(1), "reason", None) is Why.REJECTED


def test_no_repr_and_no_pickle_shows_the_token() -> None:
    m = seasoned()
    with_secrets, without = m.snapshot(AGED + 1_070, secrets=True), m.snapshot(AGED + 1_070)
    canary.assert_clean(with_secrets)
    canary.assert_clean(without)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(with_secrets)
    assert copy.copy(with_secrets) is copy.deepcopy(with_secrets) is with_secrets


def test_secrets_are_said_to_be_there_only_if_they_are() -> None:
    assert not machine().snapshot(0, secrets=True).has_secrets
    m = seasoned()
    for secrets in (False, True):
        snapshot = m.snapshot(AGED + 1_070, secrets)
        assert snapshot.has_secrets is Snapshot.from_json(snapshot.to_json()).has_secrets is secrets


# Whose it is
# -----------


def test_snapshots_compare_and_hash_by_content() -> None:
    first, second = seasoned(), seasoned()
    mine, others = first.snapshot(AGED + 1_070), second.snapshot(AGED + 1_070)
    assert mine == others
    assert hash(mine) == hash(others)
    assert mine == Snapshot.from_json(json.dumps(json.loads(mine.to_json()), indent=2))
    assert mine != first.snapshot(AGED + 1_071)
    assert mine != first.snapshot(AGED + 1_070, secrets=True)


def test_another_clients_snapshot_is_refused() -> None:
    snapshot = seasoned().snapshot(AGED + 1_070)
    other = mangopay.sandbox("another", canary.secret())
    with pytest.raises(ValueError, match="taken of another client"):
        TokenMachine.restore(other, snapshot, 0, draw=lambda: 0.0)


def test_the_key_is_no_cheap_guess_and_is_worked_out_once_for_each_grant(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[int] = []

    def counted(name: str, password: bytes, salt: bytes, iterations: int, dklen: int) -> bytes:
        rounds.append(iterations)
        return derive(name, password, salt, iterations, dklen)

    derive = hashlib.pbkdf2_hmac
    monkeypatch.setattr(hashlib, "pbkdf2_hmac", counted)
    m = machine()
    m.snapshot(0)
    m.snapshot(1)
    TokenMachine.restore(m.grant, m.snapshot(1), 1, draw=lambda: 0.0)
    assert len(rounds) == 1
    assert rounds[0] >= 2**16
    others = (canary.grant(client_id="other"), canary.grant(base_url="https://api.example"))
    grants = (m.grant, m.grant.with_secret("x"), *others)
    seals = {grant.seal(purpose, "text") for grant in grants for purpose in ("snapshot", "store")}
    assert len(seals) == 8
    assert m.grant.seal("snapshot", "text") != m.grant.seal("snapshot", "txet")


# Forks
# -----


def test_a_fork_goes_its_own_way() -> None:
    m = machine()
    serve(m, 0)
    twin = m.fork()
    assert twin.state_value == m.state_value
    assert twin.published == m.published
    attempt(twin, 290, FAILED)
    assert m.problem(290) is None
    assert twin.problem(290) is not None


def test_a_fork_may_draw_for_itself() -> None:
    m = machine(draw=0.0)
    twin = m.fork(draw=lambda: 0.75)
    twin.start_request(0)
    m.start_request(0)
    assert twin.state_value.attempt is not None
    assert m.state_value.attempt is not None
    assert (twin.state_value.attempt.draw, m.state_value.attempt.draw) == (0.75, 0.0)


# What is no snapshot
# -------------------


@functools.cache
def sound() -> str:
    """A good snapshot."""
    return seasoned().snapshot(AGED + 1_070, secrets=True).to_json()


def damaged(*path: str | int, value: object = None, remove: bool = False) -> str:
    """The same with one thing in it changed."""
    document = json.loads(sound())
    place = document
    for name in path[:-1]:
        place = place[name]
    if remove:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(document)


FAULTS: dict[str, str] = {
    "": "empty",
    "[]": "it is JSON, but not an object",
    "{": "not JSON",
    '{"version": 1}': "another version than 6",
    '{"version": 5}': "another version than 6",
    damaged("version", remove=True): "another version than 6",
    damaged("version", value=True): "another version than 6",
    damaged("version", value=6.0): "another version than 6",
    damaged("client", value=1): "at client",
    damaged("client", value="0" * 31 + "G"): "at client",
    damaged("seal", value="0" * 63 + "G"): "at seal",
    damaged("seal", remove=True): "at seal",
    damaged("token", "expires_at", value=-9.0): "at token.expires_at",
    damaged("token", "value", value="two words"): "at token.value",
    damaged("token", "started"): "at token.started",
    damaged("token", "refresh_at", value=9e9): "at token.fresh_until",
    damaged("token", value=[]): "at token",
    damaged("attempt", "draw", value=1.0): "at attempt.draw",
    damaged("next_id", value=0): "at next_id",
    damaged("lost", "deadline", value=[1.0, 2.0]): "at lost.deadline",
    damaged("lost", "deadline", value=True): "at lost.deadline",
    damaged("lost", "started", value=1e3): "at lost.deadline",
    damaged("lost", "id", value=4): "at lost",
    damaged("attempt", "id", value=0): "at attempt.id",
    damaged("attempt", "generation", value=1): "at credentials",
    damaged("lost", "deadline", value=1e300): "at lost.deadline",
    damaged("lost", "deadline", value=True): "at lost.deadline",
    damaged("next_id", value=0): "at next_id",
    damaged("next_id", value=4): "at next_id",
    damaged("backoff", "failures", value=41): "at backoff.failures",
    damaged("backoff", "failures", value=1.5): "at backoff.failures",
    damaged("blocks"): "at blocks",
    damaged("blocks", value=[{}]): "at blocks.kind",
    damaged("blocks", value=json.loads(damaged("problem"))["blocks"] * 2): "at blocks",
    damaged("blocks", 0, "kind", value="bolted"): "at blocks.kind",
    damaged("blocks", 0, "problem", "status", value="400"): "at blocks.problem.status",
    damaged("budget", "level", value=-1): "at budget.level",
    damaged("rejections", "dropped", value=["x"]): "at rejections.dropped",
    damaged("credentials", remove=True): "at credentials",
    damaged("credentials", "proven", value=2): "at credentials.proven",
    damaged("granted_at", value="0"): "at granted_at",
    damaged("problem", "kind", value="bad luck"): "at problem.kind",
}


@pytest.mark.parametrize("text", FAULTS, ids=FAULTS.values())
def test_what_is_no_snapshot_is_refused_with_the_place(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape("this is no snapshot that can be restored")) as caught:
        Snapshot.from_json(text)
    assert str(caught.value).endswith(FAULTS[text])


def test_the_next_id_of_a_snapshot_is_one_that_could_be_given_out() -> None:
    document = json.loads(machine().snapshot(0).to_json())  # No attempt is in it whose id would show it.
    document["next_id"] = 0
    with pytest.raises(ValueError, match=r"at next_id$"):
        Snapshot.from_json(json.dumps(document))


@pytest.mark.parametrize("elapsed", [-1.0, float("nan"), float("inf")])
def test_time_that_cannot_have_passed_is_refused(elapsed: float) -> None:
    m = machine()
    with pytest.raises(ValueError, match="elapsed must be"):
        TokenMachine.restore(m.grant, m.snapshot(0), 0, elapsed, draw=lambda: 0.0)


def test_only_a_snapshot_is_restored() -> None:
    m = machine()
    with pytest.raises(TypeError, match="snapshot must be a Snapshot, not str"):
        TokenMachine.restore(m.grant, "{}", 0, draw=lambda: 0.0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
