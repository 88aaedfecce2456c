"""Where everything stands in a picture: rows, bands and marks of a timeline, in pixels. ``svg`` draws them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from evertoken import Freshness, RequestState
from evertoken.testing import TokenTruth, WorldFault
from evertoken.testing.world._bands import Band, Mark, Marks, Span
from evertoken.testing.world._timeline import ClientLane, Happening, Timeline

PLOT = 1_020.0
"""How wide the plot is, in pixels."""

_GAP = 4.0


@dataclass(frozen=True, slots=True)
class BandStyle:
    """One kind of band: its name, and for each of its keys the CSS class and what it means. Others are left blank.

    A band without a name is there for the looks: it is not in the legend, and cannot be pointed at.
    """

    name: str
    keys: dict[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class MarkStyle:
    """One kind of mark: its CSS class, its shape, the line of the row that it is on, and what it means."""

    css: str
    shape: str
    line: int
    meaning: str


BANDS: dict[str, BandStyle] = {
    "freshness": BandStyle(
        "token",
        {
            Freshness.VALID.value: ("valid", "token valid"),
            Freshness.REFRESH_DUE.value: ("due", "refresh due"),
            Freshness.EXPIRED.value: ("expired", "token expired"),
        },
    ),
    "request": BandStyle(
        "request",
        {
            RequestState.IN_FLIGHT.value: ("flight", "request in flight"),
            RequestState.BACKING_OFF.value: ("backing", "backing off"),
            RequestState.BLOCKED.value: ("blocked", "blocked"),
        },
    ),
    "truth": BandStyle(
        "at the server",
        {
            TokenTruth.VALID.value: ("true", "good at the server"),
            TokenTruth.REVOKED.value: ("revoked", "revoked at the server"),
        },
    ),
    "away": BandStyle(
        "process",
        {
            WorldFault.SUSPEND.value: ("away", "process asleep or down"),
            WorldFault.CLOCK_STOPPED.value: ("away", "process asleep or down"),
            WorldFault.RESTART.value: ("away", "process asleep or down"),
        },
    ),
    "fade": BandStyle("", dict.fromkeys((fault.value for fault in WorldFault), ("fade", ""))),
    "network": BandStyle("network", {WorldFault.PARTITION.value: ("cut", "network cut")}),
    "endpoint": BandStyle("token endpoint", {WorldFault.OUTAGE.value: ("outage", "endpoint out of order")}),
}

MARKS: dict[Happening, MarkStyle] = {
    Happening.GRANTED: MarkStyle("granted", "tick", 0, "token granted"),
    Happening.FAILED: MarkStyle("failed", "dot", 1, "request failed"),
    Happening.BLOCKED: MarkStyle("shut", "square", 1, "blocked"),
    Happening.MENDED: MarkStyle("mended", "ring", 0, "operator stepped in"),
    Happening.DISTURBED: MarkStyle("disturbed", "small", 0, "request disturbed"),
    Happening.GAVE_UP: MarkStyle("gaveup", "tick", 2, "a caller gave up"),
    Happening.BAD_CALL: MarkStyle("badcall", "dot", 2, "call with a bad token"),
    Happening.DROPPED: MarkStyle("dropped", "square", 2, "token dropped"),
    Happening.KEPT: MarkStyle("kept", "ring", 2, "rejected, yet kept"),
    Happening.ANEW: MarkStyle("anew", "wall", 0, "process began anew"),
    Happening.FAULTY: MarkStyle("faulty", "tick", 0, "answer with a fault"),
    Happening.REVOKED: MarkStyle("allrevoked", "square", 0, "all tokens revoked"),
    Happening.ROTATED: MarkStyle("rotated", "ring", 0, "API key replaced"),
}


@dataclass(frozen=True, slots=True)
class PlacedBand:
    """A band at its place: ``top`` and ``height`` in pixels, spans in nanoseconds."""

    style: BandStyle
    top: float
    height: float
    spans: Sequence[Span]


@dataclass(frozen=True, slots=True)
class PlacedMark:
    """The marks of one kind at their height: ``middle`` in pixels, the marks in nanoseconds."""

    kind: Happening
    middle: float
    marks: Sequence[Mark]

    @property
    def style(self) -> MarkStyle:
        """How these marks look."""
        return MARKS[self.kind]


@dataclass(slots=True)
class Row:
    """One line of the picture: what stands before it, and what is in it. ``top`` and ``height`` in pixels."""

    title: str
    details: tuple[str, ...]
    top: float
    height: float
    bands: list[PlacedBand] = field(default_factory=list[PlacedBand])
    marks: list[PlacedMark] = field(default_factory=list[PlacedMark])


@dataclass(frozen=True, slots=True)
class Scene:
    """A whole picture. Times in nanoseconds, sizes in pixels; 0 is the top of the plot."""

    timeline: Timeline
    rows: list[Row]
    height: float

    @property
    def until(self) -> int:
        """The time at which the plot ends, in nanoseconds."""
        return max(1, self.timeline.shown_until)

    def x(self, time: int) -> float:
        """The pixels from the left end of the plot to ``time``, in nanoseconds."""
        return time * PLOT / self.until

    def shown_keys(self) -> Iterator[tuple[str, str]]:
        """The CSS class and the meaning of all that can be seen in bands, for a legend."""
        seen = {
            (id(band.style), key)
            for row in self.rows
            for band in row.bands
            for span in band.spans
            for key in span.shares
        }
        classes = dict[str, str]()
        for style in (style for style in BANDS.values() if style.name):
            classes.update(look for key, look in style.keys.items() if (id(style), key) in seen)
        yield from classes.items()

    def shown_marks(self) -> list[MarkStyle]:
        """The styles of all marks that there are, for a legend."""
        seen = {mark.kind for row in self.rows for mark in row.marks}
        return [style for kind, style in MARKS.items() if kind in seen]


def scene_of(timeline: Timeline) -> Scene:
    """Place everything that ``timeline`` holds."""
    rows, top = list[Row](), 0.0
    for row_at in (_network, _endpoint, _server):
        row = row_at(timeline, top)
        if row.bands or row.marks:
            rows.append(row)
            top += row.height
    for lane in timeline.clients:
        rows.append(_client(lane, top + _GAP))
        top += _GAP + rows[-1].height
    return Scene(timeline, rows, top)


def _placed(name: str, band: Band, top: float, height: float) -> list[PlacedBand]:
    spans = band.finish()
    style = BANDS[name]
    return [PlacedBand(style, top, height, spans)] if any(set(span.shares) & set(style.keys) for span in spans) else []


def _marked(marks: Marks, kinds: Iterable[Happening], lines: Sequence[float]) -> list[PlacedMark]:
    found = ((kind, marks.by_kind.get(kind.value)) for kind in kinds)
    return [PlacedMark(kind, lines[MARKS[kind].line], those) for kind, those in found if those]


def _network(timeline: Timeline, top: float) -> Row:
    return Row("network", (), top, 16.0, _placed("network", timeline.network, top + 3, 10.0))


def _endpoint(timeline: Timeline, top: float) -> Row:
    bands = _placed("endpoint", timeline.endpoint, top + 3, 10.0)
    return Row("token endpoint", (), top, 22.0, bands, _marked(timeline.marks, [Happening.FAULTY], [top + 17.0]))


def _server(timeline: Timeline, top: float) -> Row:
    kinds = (Happening.REVOKED, Happening.ROTATED)
    return Row("server", (), top, 16.0, [], _marked(timeline.marks, kinds, [top + 8.0]))


def _client(lane: ClientLane, top: float) -> Row:
    plan = lane.client.plan
    bands = [
        *_placed("freshness", lane.freshness, top + 4.0, 14.0),
        *_placed("request", lane.request, top + 19.0, 5.0),
        *_placed("truth", lane.truth, top + 25.0, 3.0),
        *_placed("fade", lane.away, top + 3.0, 26.0),
        *_placed("away", lane.away, top + 1.0, 2.0),
    ]
    details = [f"{plan.calls.value}, {plan.period:,.0f} s"]
    if plan.min_ttl:
        details.append(f"min_ttl {plan.min_ttl:g} s")
    elif plan.drift:
        details.append(f"clock {plan.drift * 100:+.2f} %")
    marks = _marked(lane.marks, Happening, [top + 33.0, top + 40.0, top + 47.0])
    return Row(f"client {lane.client.number}", tuple(details), top, 52.0, bands, marks)
