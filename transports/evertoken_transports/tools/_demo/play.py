"""``evertoken demo``: tell the story, watch it in the way that fits the output, print the verdict."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from evertoken.testing import Arrival
from evertoken_transports.tools._demo.panel import LivePanel, verdict_table
from evertoken_transports.tools._demo.rigs import Sabotage
from evertoken_transports.tools._demo.stage import perform
from evertoken_transports.tools._demo.story import Story
from evertoken_transports.tools._demo.verdict import Verdict, judge
from evertoken_transports.tools._demo.watchers import PlainWatcher, Silence, intro, verdict_lines


def play(story: Story, *, plain: bool, as_json: bool, sabotage: Sabotage | None) -> bool:
    """Play ``story`` on standard output. Returns whether every promise was tested and kept."""
    # What the log would say is part of every view; without a handler, Python prints warnings on standard error.
    logging.getLogger("evertoken").addHandler(logging.NullHandler())
    console = Console(highlight=False)
    if as_json:
        verdict = judge(story, perform(story, Silence(), sabotage))
        _write(json.dumps(_as_data(story, verdict), indent=2))
    elif plain or not console.is_terminal or console.width < 80 or "utf" not in console.encoding.lower():
        verdict = _play_plainly(story, sabotage)
    else:
        verdict = _play_live(story, console, sabotage)
    return verdict.is_kept


def _play_plainly(story: Story, sabotage: Sabotage | None) -> Verdict:
    for line in intro(story):
        _write(line)
    verdict = judge(story, perform(story, PlainWatcher(_write), sabotage))
    _write("")
    for line in verdict_lines(verdict):
        _write(line)
    return verdict


def _play_live(story: Story, console: Console, sabotage: Sabotage | None) -> Verdict:
    for line in intro(story):
        console.print(Text(line))
    arrivals: Sequence[Arrival]
    with LivePanel(console, story) as panel:
        arrivals = perform(story, panel, sabotage)
    verdict = judge(story, arrivals)
    console.print(verdict_table(verdict))
    console.print(Text(str(verdict), "bold green" if verdict.is_kept else "bold red"))
    return verdict


def _as_data(story: Story, verdict: Verdict) -> dict[str, object]:
    findings = [{**finding._asdict(), "ruling": finding.ruling.value} for finding in verdict.findings]
    return {
        "kept": verdict.is_kept,
        "seconds": story.seconds,
        "threads": story.threads,
        "lifetime": story.lifetime,
        "chapters": [weather.value for weather in story.troubles],
        "findings": findings,
    }


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
