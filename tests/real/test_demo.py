"""The demo over real HTTP, chapter by chapter, as it is and with each sabotage; and what is to be seen meanwhile."""

from __future__ import annotations

import io
import json
import signal
import subprocess
from typing import Any

import pytest
from rich.console import Console

from evertoken import BlockKind, HttpResponse, Problem, ProblemKind, Rejection, SendReason, TokenMachine
from evertoken_transports import (
    EndpointBlocked,
    EndpointUnblocked,
    Event,
    RequestFailed,
    RequestStarted,
    TokenDropped,
    TokenGranted,
    TokenKept,
)
from evertoken_transports.tools import cli
from evertoken_transports.tools._demo.callers import Tally
from evertoken_transports.tools._demo.panel import LivePanel, verdict_table
from evertoken_transports.tools._demo.rigs import Sabotage
from evertoken_transports.tools._demo.stage import Note, Notes, Snapshot
from evertoken_transports.tools._demo.story import tell
from evertoken_transports.tools._demo.verdict import Finding, Ruling, Verdict, judge
from evertoken_transports.tools._demo.watchers import PlainWatcher, intro, verdict_lines
from tests.kits import canary
from tests.kits.demo_worlds import interruptible

LIMIT = 30.0
"""Real seconds after which a process that should have ended has not. No test comes near it unless something hangs."""

STORY = tell(20.0, 8)
SECONDS = {"outage": "5.5", "rate-limit": "5.5", "revoked": "3", "lock": "6"}

BROKEN_BY = {
    Sabotage.NO_SINGLE_FLIGHT: (
        "revoked",
        {"token requests in flight at once", "token requests in fair weather"},
    ),
    Sabotage.IGNORE_RETRY_AFTER: ("rate-limit", {"requests within Retry-After (1 s) of a 429"}),
    Sabotage.REPLAY_REJECTED_TOKEN: ("revoked", {"calls repeated with the rejected token"}),
}
"""The chapter in which it shows, and the promises."""


def played(capsys: pytest.CaptureFixture[str], chapter: str, *options: str) -> tuple[int, dict[str, Any]]:
    status = cli.main(["demo", "--json", "--seconds", SECONDS[chapter], "--chapters", chapter, *options])
    verdict: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, verdict


def rulings(verdict: dict[str, Any]) -> dict[str, str]:
    return {finding["promise"]: finding["ruling"] for finding in verdict["findings"]}


# Played
# ------


@pytest.mark.parametrize("chapter", SECONDS)
def test_every_promise_is_tested_and_kept(capsys: pytest.CaptureFixture[str], chapter: str) -> None:
    status, verdict = played(capsys, chapter)
    assert rulings(verdict) == dict.fromkeys(rulings(verdict), "kept")
    assert (status, verdict["kept"], verdict["chapters"]) == (0, True, [chapter])


@pytest.mark.parametrize("sabotage", Sabotage, ids=lambda sabotage: sabotage.value)
def test_a_sabotage_breaks_its_promises_and_the_status_says_so(
    capsys: pytest.CaptureFixture[str], sabotage: Sabotage
) -> None:
    chapter, promises = BROKEN_BY[sabotage]
    status, verdict = played(capsys, chapter, "--sabotage", sabotage.value)
    assert (status, verdict["kept"]) == (1, False)
    assert promises <= {promise for promise, ruling in rulings(verdict).items() if ruling == "broken"}


def test_an_interrupt_ends_the_demo_at_once_and_in_one_line() -> None:
    command = interruptible("demo", "--chapters", "outage")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        assert any("token granted" in line for line in demo.stdout)
        demo.send_signal(signal.SIGINT)
        _, complaint = demo.communicate(timeout=LIMIT)
    assert (demo.returncode, complaint) == (130, "evertoken: interrupted\n")


# Watched
# -------


def machine() -> TokenMachine:
    return TokenMachine(canary.grant(), policy=STORY.policy, draw=lambda: 0.5)


def granted(token: int = 0) -> TokenMachine:
    made = machine()
    body = json.dumps({"access_token": canary.token(token), "token_type": "Bearer", "expires_in": STORY.lifetime})
    made.receive_response(0.1, made.start_request(0.0), HttpResponse(200, [], body.encode()))
    return made


def locked() -> TokenMachine:
    made = granted()
    body = json.dumps({"error": "unauthorized_client"}).encode()
    made.receive_response(2.6, made.start_request(2.5), HttpResponse(400, [], body))
    return made


def snapshot(made: TokenMachine, elapsed: float, *notes: Note, failures: tuple[tuple[str, int], ...] = ()) -> Snapshot:
    tally = Tally(1_234, 8, failures)
    return Snapshot(elapsed, STORY.span_at(elapsed), made.explain(elapsed), tally, 3, 4, 5, notes)


SNAPSHOTS = (
    snapshot(machine(), 0.0),
    snapshot(granted(), 1.0, Note(0, 0.1, "token granted, next one due in 2.1 s", is_alarm=False)),
    snapshot(granted(), 2.5),
    snapshot(locked(), 2.7, *(Note(n, 2.0, f"note {n}", is_alarm=True) for n in range(9))),
    snapshot(locked(), 4.0, failures=(("EndpointLocked", 12), ("ReadTimeout", 1))),
    snapshot(granted(), 20.0),
)


def drawn(*snapshots: Snapshot, colour: bool = False) -> list[str]:
    """The frames of the panel, each as one text."""
    frames: list[str] = []
    for count in range(1, len(snapshots) + 1):
        console = Console(file=io.StringIO(), width=80, force_terminal=colour, color_system=None, legacy_windows=False)
        panel = LivePanel(console, STORY)
        for shown in snapshots[:count]:
            panel.show(shown)
        with console.capture() as capture:
            console.print(panel.picture)
        frames.append(capture.get())
    return frames


PROBLEM = Problem(ProblemKind.SERVER, "The token endpoint failed", status=500)
LOST = Problem(ProblemKind.TRANSPORT, "There was no answer")


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (EndpointBlocked("me", BlockKind.LOCKED, 2.75, PROBLEM), "blocked: locked, no token request for 2.8 s"),
        (EndpointUnblocked("me", BlockKind.RATE_LIMITED), "no longer blocked: rate limited"),
        (RequestFailed("me", 0.5, PROBLEM), "token request failed (500), next try in 0.5 s"),
        (RequestFailed("me", 0.5, LOST), "token request failed (no answer), next try in 0.5 s"),
        (TokenGranted("me", 2.1, 3.2), "token granted, next one due in 2.1 s"),
        (TokenDropped("me"), "the API rejected the token: dropped, another is asked for"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_an_event_is_noted_in_few_words_and_a_block_stands_out(event: Event, text: str) -> None:
    notes = Notes(lambda: 1.5)
    notes.take(event)
    assert notes.all == (Note(0, 1.5, text, is_alarm=isinstance(event, EndpointBlocked)),)


def test_events_of_everyday_life_are_not_noted() -> None:
    notes = Notes(lambda: 1.5)
    for event in (RequestStarted("me", 1, SendReason.NO_TOKEN), TokenKept("me", Rejection.SUPERSEDED)):
        notes.take(event)
    assert notes.all == ()


def test_the_panel_keeps_its_size_and_fits_into_80_columns() -> None:
    frames = [frame.splitlines() for frame in drawn(*SNAPSHOTS)]
    assert len({len(frame) for frame in frames}) == 1
    assert {len(line) for frame in frames for line in frame} == {78}
    assert not [line for frame in frames for line in frame if "…" in line]


def test_the_strip_keeps_the_worst_of_each_half_second() -> None:
    *_, last = drawn(*SNAPSHOTS)
    strip = next(line for line in last.splitlines() if line.startswith("│ token") and "·" in line)
    assert strip.removeprefix("│ token     ").startswith("▂·█··▄··▁·")


def test_the_panel_tells_the_state_the_calls_and_the_blocks() -> None:
    frame = drawn(SNAPSHOTS[3])[0]
    assert "BLOCKED, a token is handed out for 0.5 s" in frame
    assert "no token request for" in frame
    assert "1,234 served, 8 waiting, 0 failed" in frame
    assert "7 token requests: 3 granted (ideal: 5), 4 turned away" in frame
    assert [f"note {n}" in frame for n in range(9)] == [False] * 5 + [True] * 4


def test_the_live_view_writes_nothing_but_the_panel_and_leaves_it_there() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None, legacy_windows=False)
    with LivePanel(console, STORY) as panel:
        for shown in SNAPSHOTS:
            panel.show(shown)
    assert out.getvalue().count("╰") == len(SNAPSHOTS) + 1
    assert "20.0 / 20.0 s" in out.getvalue()


def test_plain_lines_tell_each_change_of_weather_each_note_and_each_second_once() -> None:
    lines: list[str] = []
    watcher = PlainWatcher(lines.append)
    for shown in [shown for shown in SNAPSHOTS for _ in range(3)]:
        watcher.show(shown)
    weathers = [line.partition(" -- ")[2] for line in lines if " -- " in line]
    assert weathers == ["fair weather --", "outage: the token endpoint answers 500 --", "fair weather again --"]
    assert len([line for line in lines if "served" in line]) == 5
    assert "  2.0 s  ! note 8" in lines
    assert len([line for line in lines if "note 8" in line]) == 1


def test_the_shrunken_policy_is_printed_and_nothing_else_of_it() -> None:
    text = "\n".join(intro(STORY))
    assert "refresh_before_share=0.45" in text
    assert "locked_wait=2.75" in text
    assert "max_body" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_both_forms_of_the_verdict_fit_into_80_columns_and_name_every_promise() -> None:
    findings = judge(STORY, []).findings
    marked = [finding._replace(ruling=ruling) for finding, ruling in zip(findings, [*Ruling] * 5, strict=False)]
    verdict = Verdict((*marked, Finding("Never late", "calls lost", "10 of 99999", "<= 100", Ruling.BROKEN)))
    console = Console(file=io.StringIO(), width=80, color_system=None)
    with console.capture() as capture:
        console.print(verdict_table(verdict))
    for text in ("\n".join(verdict_lines(verdict)), capture.get()):
        assert max(map(len, text.splitlines())) <= 80
        assert all(finding.promise in text for finding in verdict.findings)
        assert text.lower().count("broken") >= 5


def test_the_verdict_says_in_one_line_what_came_of_it() -> None:
    kept = Finding("Never late", "x", "0", "0", Ruling.KEPT)
    assert str(Verdict((kept, kept))) == "All 2 promises kept, by the emulator's own log."
    assert str(Verdict((kept, kept._replace(ruling=Ruling.BROKEN)))) == "1 kept, 1 broken"
