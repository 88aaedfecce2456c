"""What a snapshot's text may hold: all that a machine writes, nothing that it does not, and never a token unseen."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evertoken import Challenge, HttpResponse, LocalProtocolError, Policy, Snapshot, TokenMachine, mangopay
from evertoken._grammar import AnswerReceived, RequestClaimed
from evertoken._problems import Problem, ProblemKind
from evertoken._snapshot import take_snapshot
from evertoken._states import State, first_state
from evertoken._step import step
from evertoken.outcomes import Failed, Granted
from tests.kits import canary
from tests.kits.driving import attempt, machine, sealed, seasoned, serve

POLICY = Policy()
GRANT = canary.grant()


def read_again(snapshot: Snapshot) -> Snapshot:
    return Snapshot.from_json(snapshot.to_json())


@functools.cache
def sound() -> str:
    """A snapshot with something in every object."""
    m = seasoned()
    return m.snapshot(m.state_value.now, secrets=True).to_json()


def document() -> dict[str, object]:
    """The same, to be spoilt."""
    return cast("dict[str, object]", json.loads(sound()))


# What is written can be read
# ---------------------------

NASTY = (
    st.text(st.sampled_from('[]{}"\\,: \n\t\x00\x1b\x7f\u0085\u200b\u2028\ud83d\ude00\ud800é'), max_size=400)
    | st.text()
)


def talked_to(summary: str, detail: str | None, scope: str | None) -> State:
    """The state of a machine that was told all this, by a server, a transport or an embedder."""
    state, _ = step(POLICY, first_state(POLICY), RequestClaimed(0, 0.0))
    state, _ = step(POLICY, state, AnswerReceived(1, 1, Granted("token", 300, scope)))
    state, _ = step(POLICY, state, RequestClaimed(280, 0.0))
    told = Problem(ProblemKind.SERVER, summary, summary, 503, detail, detail)
    return step(POLICY, state, AnswerReceived(281, 2, Failed(told)))[0]


@pytest.mark.no_cover
@given(summary=NASTY, detail=st.none() | NASTY, scope=st.none() | NASTY, secrets=st.booleans())
def test_whatever_is_written_can_be_read(summary: str, detail: str | None, scope: str | None, secrets: bool) -> None:
    state = talked_to(summary, detail, scope)
    snapshot = take_snapshot(GRANT, POLICY, state, secrets=secrets)
    assert read_again(snapshot) == snapshot
    restored = TokenMachine.restore(GRANT, snapshot, 281, policy=POLICY, draw=lambda: 0.0)
    kept = state if secrets else state._replace(token=None)
    assert restored.snapshot(281, secrets) == take_snapshot(GRANT, POLICY, kept, secrets=secrets)


@given(said=NASTY)
def test_whatever_a_server_says_does_not_make_a_snapshot_unreadable(said: str) -> None:
    m = machine(credentials=GRANT)
    body = json.dumps({"error": "invalid_scope", "error_description": said}).encode()
    attempt(m, 0, HttpResponse(400, [], body))
    assert read_again(m.snapshot(0)) == m.snapshot(0)


def test_many_dropped_tokens_do_not_make_a_snapshot_unreadable() -> None:
    m = machine(rejection_interval=5, rejection_interval_cap=60, budget_interval=2)
    now = 0.0
    for n in range(300):
        serve(m, now, n, 86_400)
        now += 61
        m.token_rejected(now, f"Bearer {canary.token(n)}", Challenge.TOKEN)
    assert len(m.state_value.rejections.dropped) == 300
    assert read_again(m.snapshot(now)) == m.snapshot(now)


def test_a_text_is_kept_fit_to_be_shown() -> None:
    snapshot = take_snapshot(
        canary.grant(), POLICY, talked_to("two\nlines", "a\x1b[31m red\u202e one", None), secrets=False
    )
    (problem,) = [json.loads(snapshot.to_json())["problem"]]
    assert (problem["summary"], problem["detail"]) == ("two lines", "a[31m red one")
    problem["summary"] = "edited\r\n\x1b[2Jby hand"
    edited = json.loads(snapshot.to_json()) | {"problem": problem}
    m = TokenMachine.restore(canary.grant(), Snapshot.from_json(sealed(canary.grant(), edited)), 281, draw=lambda: 0.0)
    assert getattr(m.problem(281), "summary", None) == "edited [2Jby hand"


@pytest.mark.parametrize("number", [0, 0.0])
def test_equal_states_are_equal_snapshots_whatever_the_numbers_were_written_as(number: float) -> None:
    plain = machine()
    plain.start_request(0.0, 5.0)
    m = TokenMachine(canary.grant(), draw=lambda: number)
    m.start_request(0, 5)
    assert m.state_value == plain.state_value
    assert m.snapshot(0) == plain.snapshot(0.0)
    state, _ = step(POLICY, first_state(POLICY), RequestClaimed(0, number, 5))
    assert take_snapshot(m.grant, POLICY, state, secrets=False) == plain.snapshot(0.0)


@pytest.mark.parametrize("number", [Fraction(1, 2), "0.5", True, 1.0, -0.1, float("nan")])
def test_what_is_drawn_must_be_a_number_that_can_be_written(number: object) -> None:
    m = TokenMachine(canary.grant(), draw=lambda: cast("float", number))
    with pytest.raises(LocalProtocolError, match="draw\\(\\) must return"):
        m.start_request(0)
    assert m.state_value.attempt is None


# Nothing else is read
# --------------------


def objects(value: object) -> Iterator[dict[str, object]]:
    if isinstance(value, list):
        for item in cast("list[object]", value):
            yield from objects(item)
    elif isinstance(value, dict):
        inner = cast("dict[str, object]", value)
        yield inner
        for item in list(inner.values()):
            yield from objects(item)


def test_a_name_that_is_not_known_is_refused_at_every_level() -> None:
    count = len(list(objects(document())))
    assert count > 12
    for place in range(count):
        content = document()
        list(objects(content))[place]["x"] = canary.token()
        with pytest.raises(ValueError, match=r"which holds something unknown$") as caught:
            Snapshot.from_json(json.dumps(content))
        canary.assert_clean(caught.value)


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity", "9" * 641])
def test_a_number_that_no_float_holds_is_refused_and_nothing_shown(number: str) -> None:
    text = json.dumps(document())
    for spoilt in ('{"x":' + number + "," + text[1:], text.replace('"believed": 1', f'"believed": {number}')):
        with pytest.raises(ValueError, match="no snapshot that can be restored") as caught:
            Snapshot.from_json(spoilt)
        canary.assert_clean(caught.value)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"token":' * 100_000, '{"version": 1, "version": 1}', "\ufeff{}"])
def test_what_parsers_stumble_over_is_no_snapshot(text: str) -> None:
    with pytest.raises(ValueError, match=r"no snapshot that can be restored: it is (not JSON|JSON with the same name)"):
        Snapshot.from_json(text)


@pytest.mark.parametrize("kind", [str.encode, json.loads, type])
def test_a_snapshot_is_read_from_text_and_from_nothing_else(kind: Callable[[str], object]) -> None:
    thing = kind(sound())
    with pytest.raises(TypeError, match="a snapshot is read from a str, not from") as caught:
        Snapshot.from_json(cast("str", thing))
    canary.assert_clean(caught.value)


def test_nobody_makes_a_snapshot_by_hand() -> None:
    make = cast("Callable[..., Snapshot]", Snapshot)
    with pytest.raises(TypeError, match="a Snapshot is made by") as caught:
        make(json.dumps(document()), has_secrets=False)
    canary.assert_clean(caught.value)


@pytest.mark.parametrize("kind", [json.dumps, dict, type(None)])
def test_what_is_restored_by_mistake_is_not_shown(kind: Callable[..., object]) -> None:
    snapshot = kind(document()) if kind is not type(None) else None
    with pytest.raises(TypeError, match=r"snapshot must be a Snapshot, not .*: Snapshot.from_json reads one") as caught:
        TokenMachine.restore(canary.grant(), cast("Snapshot", snapshot), 0, draw=lambda: 0.0)
    canary.assert_clean(caught.value)


def test_another_clients_snapshot_is_refused_and_nothing_of_it_shown() -> None:
    m = seasoned()
    snapshot = m.snapshot(m.state_value.now, secrets=True)
    with pytest.raises(ValueError, match="taken of another client") as caught:
        TokenMachine.restore(mangopay.sandbox("another", "key"), snapshot, 0, draw=lambda: 0.0)
    canary.assert_clean(caught.value)
