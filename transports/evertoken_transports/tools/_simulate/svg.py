"""A scene as SVG: one picture for a README, for print, and inside the page that can be zoomed.

Everything over time stands in an ``<svg class="time">`` of its own. Marks are strokes that do not scale, so that a page
zooms by setting one viewBox. A stretch in which several things took turns too quickly is drawn as a stack of their
shares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from evertoken.testing.world._bands import Span
from evertoken_transports.tools._simulate.looks import STYLE
from evertoken_transports.tools._simulate.scene import PLOT, MarkStyle, PlacedBand, PlacedMark, Row, Scene

_WIDTH, _LEFT = 1_200.0, 158.0
_HEAD, _AXIS, _FOOT = 48.0, 22.0, 30.0
_NOTE_LINE, _LEGEND_LINE = 14.0, 17.0
_WIDTHS = {**dict.fromkeys("ijl,.'", 2.9), **dict.fromkeys("frt ", 3.9), **dict.fromkeys("mwMW", 10.0)}
"""About how wide letters are, where they are not of the usual width."""
_SAMPLES = {"tick": "M6 -7v6", "small": "M6 -6v3", "wall": "M6 -10v12", "square": "M6 -6.3v4.6"}

_STEPS = (1, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 10_800, 21_600, 43_200)
_DAY_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000)
_MOST_TICKS = 11


def svg_of(scene: Scene, title: str, notes: Iterable[str], *, digits: int = 1, style: bool = True) -> str:
    """The picture.

    Args:
        scene: what is in it.
        title: what it shows.
        notes: lines below the title; one that begins with ``!`` is bad news.
        digits: decimals of a pixel. More is for those who zoom in.
        style: whether it carries its style sheet. A page that it is part of has its own.
    """
    head = [_note(line, 44.0 + _NOTE_LINE * number) for number, line in enumerate(notes)]
    bottom = _HEAD + _NOTE_LINE * len(head)
    for line in _legend(scene):
        head.append(_moved(16.0, bottom, line))
        bottom += _LEGEND_LINE
    foot = bottom + scene.height
    height = foot + _AXIS + _FOOT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:.0f} {height:.0f}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>" if style else "",
        '<rect class="page" width="100%" height="100%"/>',
        f'<text class="text title" x="16" y="26">{escape(title)}</text>',
        *head,
        _moved(0.0, bottom, _heads(scene)),
        _plot(scene, bottom, digits),
        f'<g class="axis" transform="translate({_LEFT:.0f} {foot:.0f})">{"".join(_axis(scene))}</g>',
        _note(_merged(scene), height - 10.0),
        "</svg>\n",
    ]
    return "\n".join(part for part in parts if part)


def _plot(scene: Scene, top: float, digits: int) -> str:
    size = f'width="{PLOT:.0f}" height="{scene.height:.0f}"'
    box = f'viewBox="0 0 {PLOT:.0f} {scene.height:.0f}" preserveAspectRatio="none"'
    parts = [
        f'<svg class="time" x="{_LEFT:.0f}" y="{top:.0f}" {size} {box}>',
        _calm(scene),
        f'<g class="gridlines">{"".join(_gridlines(scene))}</g>',
        *(_row(scene, row, digits) for row in scene.rows),
        _break(scene),
        "</svg>",
    ]
    return "\n".join(part for part in parts if part)


def _moved(x: float, y: float, inner: str) -> str:
    return f'<g transform="translate({x:.0f} {y:.0f})">{inner}</g>'


def _note(line: str, y: float) -> str:
    kind = "bad" if line.startswith("!") else "soft"
    return f'<text class="{kind}" x="16" y="{y:.0f}">{escape(line.removeprefix("!"))}</text>'


def _merged(scene: Scene) -> str:
    merged = scene.timeline.merged
    if not merged:
        return "Nothing is merged: every stretch has a place of its own."
    narrow = duration(scene.until // scene.timeline.columns)
    return f"Stretches under {narrow} are drawn together, as a stack of their shares: {merged:,} of them."


# Rows
# ----


def _heads(scene: Scene) -> str:
    return "".join(_row_head(row, is_odd=bool(index % 2)) for index, row in enumerate(scene.rows))


def _row_head(row: Row, *, is_odd: bool) -> str:
    stripe = (
        f'<rect class="stripe" y="{row.top:.0f}" width="{_WIDTH:.0f}" height="{row.height:.0f}"/>' if is_odd else ""
    )
    middle = row.top + (15.0 if row.details else row.height / 2 + 4.0)
    details = "".join(
        f'<text class="soft small" x="16" y="{middle + 12.0 * number:.0f}">{escape(text)}</text>'
        for number, text in enumerate(row.details, 1)
    )
    return f'{stripe}<text class="text name" x="16" y="{middle:.0f}">{escape(row.title)}</text>{details}'


def _row(scene: Scene, row: Row, digits: int) -> str:
    bands = "".join(_band(scene, band, digits) for band in row.bands)
    marks = "".join(_marks(scene, row, placed, digits) for placed in row.marks)
    return f"<g>{bands}{marks}</g>"


def _calm(scene: Scene) -> str:
    start = scene.x(scene.timeline.faults_end)
    return f'<rect class="calm" x="{start:.1f}" width="{max(0.0, PLOT - start):.1f}" height="{scene.height:.0f}"/>'


def _break(scene: Scene) -> str:
    broken = scene.timeline.broken
    if broken is None:
        return ""
    x = min(PLOT - 1.0, scene.x(round(broken.now * 1e9)))
    return f'<path class="mark bad-line" stroke-width="2" d="M{x:.1f} 0v{scene.height:.0f}"/>'


# Bands
# -----


def _band(scene: Scene, band: PlacedBand, digits: int) -> str:
    paths: dict[str, list[str]] = {}
    open_boxes: dict[str, tuple[int, int, float, float]] = {}
    for span in band.spans:
        boxes = {css: (top, height) for css, top, height in _stack(band, span)}
        for css in [css for css in open_boxes if open_boxes[css][2:] != boxes.get(css)]:
            _draw(scene, paths, css, open_boxes.pop(css), digits)
        for css, (top, height) in boxes.items():
            start = open_boxes[css][0] if css in open_boxes else span.start
            open_boxes[css] = (start, span.end, top, height)
    for css, box in open_boxes.items():
        _draw(scene, paths, css, box, digits)
    return "".join(f'<path class="{css}" d="{"".join(pieces)}"/>' for css, pieces in paths.items())


def _stack(band: PlacedBand, span: Span) -> Iterator[tuple[str, float, float]]:
    """The shares of a span from the bottom up, in whole pixels or halves: what looks alike is drawn as one."""
    bottom, length = band.top + band.height, span.end - span.start
    grain = 1.0 if band.height > 8.0 else 0.5
    classes = dict[str, float]()
    for key, (css, _) in band.style.keys.items():
        if key in span.shares:
            classes[css] = classes.get(css, 0.0) + span.shares[key] / length
    for css, share in classes.items():
        height = round(share * band.height / grain) * grain
        if height:
            bottom -= height
            yield css, bottom, height


def _draw(scene: Scene, paths: dict[str, list[str]], css: str, box: tuple[int, int, float, float], digits: int) -> None:
    start, end, top, height = box
    x, right = _number(scene.x(start), digits), _number(scene.x(end), digits)
    paths.setdefault(css, []).append(f"M{x} {_number(top, 1)}H{right}v{_number(height, 1)}H{x}")


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"


# Marks
# -----


def _marks(scene: Scene, row: Row, placed: PlacedMark, digits: int) -> str:
    style = placed.style
    points = [_number(scene.x((mark.start + mark.end) // 2), digits) for mark in placed.marks]
    if style.shape == "wall":
        return _strokes(style, [f"M{x} {row.top + 2.0:.0f}v27" for x in points])
    if style.shape in ("tick", "small"):
        long = 6 if style.shape == "tick" else 3
        return _strokes(style, [f"M{x} {placed.middle - 3.0:.0f}v{long}" for x in points])
    if style.shape == "square":  # A dot with square ends would not be seen on paper.
        return _strokes(style, [f"M{x} {placed.middle - 2.3:.1f}v4.6" for x in points])
    return _strokes(style, [f"M{x} {placed.middle:.0f}h0" for x in points])


def _strokes(style: MarkStyle, pieces: list[str]) -> str:
    d = "".join(pieces)
    shape = "small-mark" if style.shape == "small" else style.shape
    drawn = f'<path class="mark {shape} {style.css}" d="{d}"/>'
    return f'{drawn}<path class="mark hole" d="{d}"/>' if style.shape == "ring" else drawn


# Legend
# ------


def _legend(scene: Scene) -> Iterator[str]:
    line, x = "", 0.0
    for swatch, meaning in _swatches(scene):
        width = 34.0 + sum(_WIDTHS.get(letter, 6.3) for letter in meaning)
        if x + width > _WIDTH - 32.0:
            yield line
            line, x = "", 0.0
        line += _moved(x, 0.0, f'{swatch}<text class="soft" x="17">{escape(meaning)}</text>')
        x += width
    if line:
        yield line


def _swatches(scene: Scene) -> Iterator[tuple[str, str]]:
    for css, meaning in scene.shown_keys():
        faded = '<rect class="valid" y="-7" width="12" height="8"/><rect class="fade" y="-7" width="12" height="8"/>'
        bar = f'<rect class="{css}" y="-9" width="12" height="2"/>'
        yield f"{faded}{bar}" if css == "away" else f'<rect class="{css}" y="-9" width="12" height="10"/>', meaning
    for style in scene.shown_marks():
        yield _strokes(style, [_SAMPLES.get(style.shape, "M6 -4h0")]), style.meaning
    yield '<rect class="calm" y="-9" width="12" height="10"/>', "faults are over"


# Time
# ----


def _step(until: int) -> int:
    seconds = until / 1e9
    candidates = (*_STEPS, *(days * 86_400 for days in _DAY_STEPS))
    return next((step for step in candidates if seconds / step <= _MOST_TICKS), candidates[-1])


def _ticks(scene: Scene) -> range:
    step = _step(scene.until)
    return range(0, int(scene.until / 1e9) + 1, step)


def _gridlines(scene: Scene) -> Iterator[str]:
    for second in _ticks(scene):
        yield f'<path class="grid" d="M{scene.x(second * 10**9):.1f} 0v{scene.height:.0f}"/>'


def _axis(scene: Scene) -> Iterator[str]:
    yield f'<path class="frame" d="M0 0H{PLOT:.0f}"/>'
    for second in _ticks(scene):
        x = scene.x(second * 10**9)
        if x <= PLOT - 20.0 or not second:
            anchor = "start" if not second else "middle"
            label = moment(second, _step(scene.until))
            yield f'<text class="soft" x="{x:.1f}" y="15" text-anchor="{anchor}">{label}</text>'


def moment(second: float, step: float) -> str:
    """A moment on the axis."""
    day, rest = divmod(int(second), 86_400)
    if step >= 86_400:
        return f"day {day}"
    clock = f"{rest // 3_600:02}:{rest % 3_600 // 60:02}" + (f":{rest % 60:02}" if step < 60 else "")
    return clock if not day else f"day {day}, {clock}"


def duration(nanoseconds: int) -> str:
    """A duration in words."""
    seconds = nanoseconds / 1e9
    for size, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s" if seconds >= 2 else f"{seconds * 1e3:.0f} ms"
