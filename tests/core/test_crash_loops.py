"""Programs that die and are started again: saved at the right moments, they ask no more often than one that lives."""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evertoken import (
    BlockKind,
    ClientCredentials,
    HttpResponse,
    Policy,
    RequestState,
    SendRequest,
    Snapshot,
    TokenMachine,
)
from tests.kits import canary
from tests.kits.driving import FAILED, LIMITED, LOCKED, MALFORMED, bearer, granted, machine
from tests.kits.pages import blocks

pytestmark = pytest.mark.no_cover

GRANT = canary.grant()
HASTY = Policy(retry_base=1, retry_cap=1, malformed_cap=1, request_timeout=2)
"""Back-offs so short that nothing but the budget holds a machine back."""
HOUR = 3_600


def allowed(seconds: int, interval: float = HASTY.budget_interval) -> float:
    """How many exchanges the budget allows in this time."""
    return HASTY.budget_burst + seconds // interval


class Supervised:
    """A program that lives for seconds at a time, on a clock that begins anew each time, and keeps its snapshot."""

    def __init__(
        self, policy: Policy, answer: HttpResponse | None, *, secrets: bool, saves_before_sending: bool
    ) -> None:
        self.policy = policy
        self.answer = answer
        self.secrets = secrets
        self.saves_before_sending = saves_before_sending
        self.saved = machine(policy, credentials=GRANT).snapshot(0).to_json()
        self.saved_at = 0.0
        self.sent: list[float] = []

    def live(self, start: float, end: float) -> None:
        """One life, in which somebody asks each half of a second; it ends with a request under way if it can."""
        snapshot, origin = Snapshot.from_json(self.saved), 7.0
        elapsed = start - self.saved_at
        m = TokenMachine.restore(GRANT, snapshot, origin, elapsed, policy=self.policy, draw=lambda: 0.0)
        now = start
        while now < end:
            clock = origin + now - start
            if isinstance(m.poll(clock), SendRequest):
                request = m.start_request(clock)
                if self.saves_before_sending:
                    self.save(m, now, clock)
                self.sent.append(now)
                if self.answer is None:
                    return
                m.receive_response(clock, request, self.answer)
                self.save(m, now, clock)
            now += 0.5

    def save(self, m: TokenMachine, now: float, clock: float) -> None:
        self.saved, self.saved_at = m.snapshot(clock, self.secrets).to_json(), now


def lives_of(program: Supervised, life: float, seconds: int = HOUR) -> int:
    for n in range(math.ceil(seconds / life)):
        program.live(n * life, min((n + 1) * life, seconds))
    return len(program.sent)


@pytest.mark.parametrize("secrets", [False, True])
@pytest.mark.parametrize(("life", "seconds"), [(1, 300), (3, 450), (10.5, HOUR // 2)])
@pytest.mark.parametrize("answer", [FAILED, MALFORMED, granted(0, 1), None])
def test_a_crash_loop_stays_within_the_budget(
    answer: HttpResponse | None, life: float, seconds: int, secrets: bool
) -> None:
    program = Supervised(HASTY, answer, secrets=secrets, saves_before_sending=True)
    asked = lives_of(program, life, seconds)
    short_lived = answer is not None and answer.status == 200 and answer is not MALFORMED
    most = allowed(seconds, HASTY.budget_interval_floor) if short_lived else allowed(seconds)
    assert allowed(seconds) - 2 <= asked <= most


@pytest.mark.parametrize("answer", [LOCKED, LIMITED])
def test_a_crash_loop_asks_nothing_while_a_block_stands(answer: HttpResponse) -> None:
    program = Supervised(replace(HASTY, rate_limited_wait=900), answer, secrets=False, saves_before_sending=True)
    lives_of(program, 3)
    assert all(later - earlier >= 900 for earlier, later in zip(program.sent, program.sent[1:], strict=False))


def test_saved_after_outcomes_only_a_crash_loop_asks_at_each_start() -> None:
    program = Supervised(HASTY, None, secrets=True, saves_before_sending=False)
    assert lives_of(program, 1) == HOUR


# The documentation's way to keep one
# -----------------------------------

(EXAMPLE,) = [source for _, source in blocks("embedding") if "def resume(" in source]


class Clock:
    """Both clocks of a host: the one on the wall can be set, the other begins anew with each start of the host."""

    def __init__(self) -> None:
        self.wall = 1_800_000_000.0
        self.since_start = 50.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.since_start


class Example:
    """The functions of the example, in a folder of their own and with a clock of ours."""

    def __init__(self, clock: Clock) -> None:
        names: dict[str, Any] = {}
        exec(compile(EXAMPLE, "docs/embedding.md", "exec"), names)
        names["time"] = clock
        self.save: Callable[[TokenMachine], None] = names["save"]
        self.resume: Callable[[ClientCredentials], TokenMachine] = names["resume"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def example(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Example:
    monkeypatch.chdir(tmp_path)
    return Example(clock)


def test_the_program_of_the_documentation_goes_on_from_what_it_saved(example: Example, clock: Clock) -> None:
    m = example.resume(GRANT)
    request = m.start_request(50)
    example.save(m)
    m.receive_response(51, request, granted())
    clock.since_start = 51
    example.save(m)
    clock.wall += 40
    clock.since_start = 3
    again = example.resume(GRANT)
    assert again.authorization(3) == bearer()
    assert again.explain(3).budget_left == 9
    token = again.token(3)
    assert token is not None
    assert token.expires_at == 3 - 40 - 1 + 300


def test_the_program_of_the_documentation_bears_a_wall_clock_that_is_set_back(example: Example, clock: Clock) -> None:
    m = example.resume(GRANT)
    m.endpoint_blocked(50, BlockKind.LOCKED)
    example.save(m)
    clock.wall -= 86_400
    assert getattr(example.resume(GRANT).poll(50), "until", None) == 950


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '"', "{}", '{"at": 0}', '{"at": "now", "snapshot": ""}', "cut", "older", "other"]
)
def test_the_program_of_the_documentation_begins_anew_where_its_file_is_of_no_use(
    example: Example, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    m = example.resume(GRANT)
    assert not caplog.records
    m.endpoint_blocked(50, BlockKind.LOCKED)
    example.save(m)
    kept = tmp_path / "token-machine.json"
    text = kept.read_text()
    made = {"cut": text[:-40], "older": re.sub(r"(version[^0-9]+)\d+", r"\g<1>0", text), "other": text}.get(
        damage, damage
    )
    kept.write_text(made)
    again = example.resume(canary.grant(client_id="another") if damage == "other" else GRANT)
    assert again.request_state(50) is RequestState.IDLE
    assert "is of no use" in caplog.text
    example.save(again)
    assert example.resume(again.grant).request_state(50) is RequestState.IDLE
    assert len(caplog.records) == 1


def test_the_program_of_the_documentation_keeps_its_file_whole_and_to_itself(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    m = example.resume(GRANT)
    m.start_request(50)
    example.save(m)
    (kept,) = tmp_path.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    before = kept.read_text()
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="dies here"):
        example.save(m)
    assert list(tmp_path.iterdir()) == [kept]
    assert kept.read_text() == before


def test_the_program_of_the_documentation_writes_through_no_link_that_somebody_put_there(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("another's")
    (tmp_path / "token-machine.json").symlink_to(elsewhere)
    (tmp_path / "tmpguessed").symlink_to(elsewhere)
    monkeypatch.setattr(tempfile, "_get_candidate_names", lambda: iter(["guessed", "free"]))
    m = TokenMachine(GRANT, draw=lambda: 0.5)
    example.save(m)
    assert elsewhere.read_text() == "another's"
    kept = tmp_path / "token-machine.json"
    assert not kept.is_symlink()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert example.resume(GRANT).request_state(50) is m.request_state(50)


def refuse(*_: object) -> None:
    raise OSError("dies here")
