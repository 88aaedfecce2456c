"""The live view: one panel of fixed size, drawn with rich, and the verdict as a table."""

from __future__ import annotations

import enum
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from evertoken import Freshness
from evertoken_transports.tools._demo.stage import Snapshot
from evertoken_transports.tools._demo.story import Story, Weather
from evertoken_transports.tools._demo.verdict import Ruling, Verdict
from evertoken_transports.tools._demo.watchers import WEATHERS, calls_of, next_of, requests_of, token_of

_WIDTH = 78
"""Two columns less than a terminal has at least, so that the ^C of an interrupt does not break the last line."""

_CELLS = 60
_CELL_SECONDS = 0.5
_NOTES = 4


@enum.unique
class Cell(enum.Enum):
    """What one stretch of time was like, from good to bad: glyph, style, meaning."""

    FRESH = ("█", "green", "valid")
    DUE = ("▆", "yellow", "due, good")
    BLOCKED = ("▄", "magenta", "blocked, good")
    WAITING = ("▂", "bright_yellow", "none")
    OUT = ("▁", "red", "none, blocked")

    @property
    def text(self) -> Text:
        """The cell in colour."""
        return Text(self.value[0], self.value[1])


_GRAVITY = tuple(Cell)

_SKIES = {
    Weather.FAIR: ("", "dim"),
    Weather.RECOVERY: ("", "dim"),
    Weather.OUTAGE: ("500", "bold red"),
    Weather.RATE_LIMIT: ("429", "bold yellow"),
    Weather.REVOKED: ("", "bold cyan"),
    Weather.LOCK: ("lock", "bold magenta"),
}
"""What is written over a stretch of each weather, and how."""
_REVOCATION = "!"
_RULINGS = {Ruling.KEPT: "green", Ruling.BROKEN: "bold red", Ruling.UNTESTED: "yellow"}


class LivePanel:
    """A watcher for a terminal. The last picture stays when the ``with`` block ends."""

    def __init__(self, console: Console, story: Story) -> None:
        self._story = story
        self._cell_seconds = max(_CELL_SECONDS, story.seconds / _CELLS)
        self._cells: dict[int, Cell] = {}
        self.picture: RenderableType = ""
        self._live = Live(console=console, auto_refresh=False, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Draw the panel anew."""
        index = self._index(snapshot.elapsed)
        self._cells[index] = max(self._cells.get(index, Cell.FRESH), _cell(snapshot), key=_GRAVITY.index)
        self.picture = self._panel(snapshot)
        self._live.update(self.picture, refresh=True)

    def _index(self, elapsed: float) -> int:
        return min(int(elapsed / self._cell_seconds), self._count - 1)

    @property
    def _count(self) -> int:
        return max(1, round(self._story.seconds / self._cell_seconds))

    def _panel(self, snapshot: Snapshot) -> RenderableType:
        fields = Table.grid(padding=(0, 2))
        fields.add_column(style="dim", width=8)
        fields.add_column(width=_WIDTH - 14, no_wrap=True)
        fields.add_row("weather", Text(WEATHERS[snapshot.span.weather], _SKIES[snapshot.span.weather][1]))
        fields.add_row("token", Text(token_of(snapshot), _cell(snapshot).value[1]))
        fields.add_row("next", next_of(snapshot))
        fields.add_row("calls", calls_of(snapshot))
        fields.add_row("endpoint", requests_of(snapshot))
        fields.add_row("", "")
        fields.add_row("weather", self._sky())
        fields.add_row("token", self._strip())
        fields.add_row("", self._scale())
        fields.add_row("", _legend())
        title = f"evertoken demo, {self._story.threads} threads, tokens of {self._story.lifetime} s"
        clock = f"{snapshot.elapsed:4.1f} / {self._story.seconds:.1f} s"
        content = Group(fields, Text(""), *_notes(snapshot))
        return Panel(content, title=title, subtitle=clock, title_align="left", subtitle_align="right", width=_WIDTH)

    def _sky(self) -> Text:
        sky = Text()
        for span in self._story.spans:
            word, style = _SKIES[span.weather]
            width = self._edge(span.until) - self._edge(span.at)
            filler = "═" if word else "─"
            line = f"{_REVOCATION}{filler * width}" if span.weather is Weather.REVOKED else word.center(width, filler)
            sky.append(line[:width], style)
        return sky

    def _edge(self, moment: float) -> int:
        return round(moment / self._cell_seconds)

    def _strip(self) -> Text:
        strip = Text()
        for index in range(self._count):
            cell = self._cells.get(index)
            strip.append(Text("·", "dim") if cell is None else cell.text)
        return strip

    def _scale(self) -> Text:
        scale = [" "] * (self._count + 6)
        for second in range(0, int(self._story.seconds) + 1, 5):
            label = f"{second}s"
            at = self._edge(second)
            scale[at : at + len(label)] = label
        return Text("".join(scale).rstrip(), "dim")


def _cell(snapshot: Snapshot) -> Cell:
    if not snapshot.is_live:
        return Cell.OUT if snapshot.is_blocked else Cell.WAITING
    if snapshot.is_blocked:
        return Cell.BLOCKED
    return Cell.DUE if snapshot.explanation.freshness is Freshness.REFRESH_DUE else Cell.FRESH


def _legend() -> Text:
    legend = Text()
    for cell in Cell:
        legend.append(cell.text).append(f" {cell.value[2]}  ", "dim")
    return legend


def _notes(snapshot: Snapshot) -> list[Text]:
    shown = snapshot.notes[-_NOTES:]
    lines = [Text(f"{note.at:5.1f} s  {note.text}", "bold" if note.is_alarm else "dim") for note in shown]
    return [*lines, *[Text("")] * (_NOTES - len(lines))]


def verdict_table(verdict: Verdict) -> Table:
    """The verdict in colour."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, pad_edge=False)
    table.add_column("promise", no_wrap=True)
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("allowed", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    heading = None
    for finding in verdict.findings:
        if finding.heading != heading:
            heading = finding.heading
            table.add_row(Text(heading, "bold"))
        ruling = Text(finding.ruling.value, _RULINGS[finding.ruling])
        table.add_row(f" {finding.promise}", finding.measured, finding.allowed, ruling)
    return table
