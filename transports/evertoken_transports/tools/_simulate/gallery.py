"""The pictures that were asked for: what has to be watched for them, and the files that they become."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from evertoken.testing import Report, Scenario
from evertoken.testing.world._checks import GAVE_UP
from evertoken.testing.world._timeline import Timeline
from evertoken_transports.tools._simulate.choices import ChoiceError
from evertoken_transports.tools._simulate.files import check_writable, write_whole
from evertoken_transports.tools._simulate.page import page_of
from evertoken_transports.tools._simulate.scene import scene_of
from evertoken_transports.tools._simulate.svg import svg_of

_WIDEST = 190
"""How many characters stand on one line below the title."""


class Gallery:
    """Makes an SVG, or a page, or both, or nothing.

    Args:
        svg: the file for the picture, if there is to be one.
        html: the file for the page, likewise.

    Raises:
        ChoiceError: both are to be one file, or one cannot be written.
    """

    def __init__(self, svg: str | None, html: str | None) -> None:
        self._svg = None if svg is None else Path(svg)
        self._html = None if html is None else Path(html)
        self._timeline: Timeline | None = None
        if self._svg and self._html and self._svg.resolve() == self._html.resolve():
            raise ChoiceError(f"--svg and --html must be two files, not both {svg}")
        for option, path in (("--svg", self._svg), ("--html", self._html)):
            if path is not None:
                check_writable(option, path)

    def watch(self, scenario: Scenario) -> Timeline | None:
        """What has to watch ``scenario`` while it runs; None if there is nothing to draw."""
        if self._svg is None and self._html is None:
            return None
        # A page has more columns, since it is zoomed into. With many clients each has fewer, or the files would become
        # megabytes.
        least, most, shared = (300, 1_000, 10_000) if self._html is None else (500, 4_000, 20_000)
        self._timeline = Timeline(max(least, min(most, shared // len(scenario.clients))))
        return self._timeline

    def hang(self, report: Report, command: str, summary: Sequence[str]) -> Iterator[str]:
        """Write the files, and say so in lines."""
        if self._timeline is None:
            return
        clients, days = len(report.scenario.clients), report.scenario.seconds / 86_400
        title = f"Seed {report.scenario.seed}: {days:g} day{'s'[days == 1 :]}, {clients} client{'s'[clients == 1 :]}"
        scene, notes = scene_of(self._timeline), list(_notes(report, command))
        if self._svg is not None:
            write_whole(self._svg, svg_of(scene, title, notes))
            yield f"picture         {self._svg}"
        if self._html is not None:
            write_whole(self._html, page_of(scene, title, notes, summary))
            yield f"page            {self._html}"


def _notes(report: Report, command: str) -> Iterator[str]:
    """What stands below the title."""
    scenario, seen = report.scenario, report.seen
    yield command if len(command) <= _WIDEST else f"{command[:_WIDEST]}…"
    granted, gave_up = seen.get("outcome: Granted", 0), seen.get(GAVE_UP, 0)
    allowed = ", none of them while one could be had" if report.ok else ""
    yield (
        f"Tokens live {scenario.lifetime:,} s. {report.token_requests:,} token requests arrived, {granted:,} granted."
        f" {report.api_calls:,} API calls arrived; {gave_up:,} went without a token{allowed}."
    )
    if report.broken is None:
        yield f"Every law held, at each of {report.steps:,} steps."
    else:
        yield f"!Broken: {report.broken.law} (client {report.broken.client}, at {report.broken.now:.3f} s)."
