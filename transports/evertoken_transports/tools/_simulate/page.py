"""A scene as one HTML page that needs nothing else: the picture, and what zooms into it and says what is where."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from importlib.resources import files

from evertoken_transports.tools._simulate.looks import STYLE
from evertoken_transports.tools._simulate.scene import PLOT, PlacedBand, PlacedMark, Row, Scene
from evertoken_transports.tools._simulate.svg import svg_of

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
{css}
{style}
</style>
<main>
<div class="bar" hidden>
<button type="button" data-act="in" aria-label="zoom in">+</button>
<button type="button" data-act="out" aria-label="zoom out">−</button>
<button type="button" data-act="left" aria-label="earlier">←</button>
<button type="button" data-act="right" aria-label="later">→</button>
<button type="button" data-act="all">whole</button>
<span class="soft">point to read; drag to move; double-click or Ctrl+wheel to zoom; with the picture in focus:
<kbd>← → ↑ ↓</kbd>, <kbd>+</kbd>, <kbd>−</kbd>, <kbd>0</kbd></span>
</div>
<div id="readout" role="status" aria-live="polite" hidden></div>
<div id="picture" tabindex="0" role="group" aria-label="timeline: the arrow keys move the cursor, plus and minus zoom">
{svg}
<div id="cursor" hidden></div>
</div>
<h2>What it came to</h2>
<pre>{summary}</pre>
</main>
<script type="application/json" id="data">{data}</script>
<script>
{script}
</script>
</html>
"""


def page_of(scene: Scene, title: str, notes: Iterable[str], summary: Iterable[str]) -> str:
    """The page. ``summary`` is shown below the picture, line by line."""
    here = files("evertoken_transports.tools._simulate")
    return _PAGE.format(
        title=escape(title),
        css=here.joinpath("page.css").read_text(encoding="utf-8").strip(),
        style=STYLE.strip(),
        svg=svg_of(scene, title, notes, digits=2, style=False),
        summary=escape("\n".join(summary)),
        # "<" is escaped, since a string that holds "</script>" would end the element.
        data=json.dumps(_data(scene), separators=(",", ":")).replace("<", "\\u003c"),
        script=here.joinpath("page.js").read_text(encoding="utf-8").strip(),
    )


def _data(scene: Scene) -> dict[str, object]:
    return {"until": scene.until / 1e9, "width": PLOT, "rows": [_row(row) for row in scene.rows]}


def _row(row: Row) -> dict[str, object]:
    return {
        "title": row.title,
        "top": row.top,
        "height": row.height,
        "bands": [_band(band) for band in row.bands if band.style.name],
        "marks": [_marks(placed) for placed in row.marks],
    }


def _band(band: PlacedBand) -> dict[str, object]:
    keys = list(dict.fromkeys(key for span in band.spans for key in span.shares))
    what: list[object] = []
    for span in band.spans:
        length = span.end - span.start
        if len(span.shares) == 1:
            what.append(keys.index(next(iter(span.shares))))
        else:
            what.append({keys.index(key): round(100 * share / length) for key, share in span.shares.items()})
    return {"name": band.style.name, "keys": keys, "ends": [_seconds(span.end) for span in band.spans], "what": what}


def _marks(placed: PlacedMark) -> dict[str, object]:
    every = [[_seconds(mark.start), _seconds(mark.end), mark.notes] for mark in placed.marks]
    return {"meaning": placed.style.meaning, "all": every}


def _seconds(nanoseconds: int) -> float:
    return round(nanoseconds / 1e9, 3)
