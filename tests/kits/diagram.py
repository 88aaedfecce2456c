"""docs/states.svg: the two small machines, drawn from the tables of the test kit, so that it says what those say.

`python -m tests.kits.diagram` draws it anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TypeVar

from evertoken._states import Freshness, RequestState
from evertoken.testing.laws._tables import FRESHNESS_TABLE, REQUEST_TABLE, Event
from tests.kits.source_tree import ROOT

__all__ = ("PICTURE", "arrows", "state_diagram")

PICTURE = ROOT / "docs" / "states.svg"

_State = TypeVar("_State", bound=Enum)
Arrow = tuple[str, str]

_ROW, _HALF_BOX, _HALF_HEIGHT, _LINE = 104.0, 62.0, 19.0, 14.0
_DEPTHS = {1: 60.0, 2: 122.0, 3: 190.0}
"""How far an arrow swings out, by the number of rows that it leads up or down."""

_STYLE = """
svg{font:12px system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif}
.page{fill:#fff}.box{fill:#e8f0f8;stroke:#0072b2}.arrow{fill:none;stroke:#5b6875;marker-end:url(#head)}.head{fill:#5b6875}
.name{font-weight:600;text-anchor:middle;fill:#1b2530}.title{font-size:15px}
.event{fill:#1b2530;stroke:#fff;stroke-width:4px;paint-order:stroke}
"""


def arrows(table: Mapping[Event, Mapping[_State, _State]]) -> dict[Arrow, list[str]]:
    """Every change of state that ``table`` knows, with the events that cause it."""
    found: dict[Arrow, list[str]] = {}
    for event, row in table.items():
        for source, target in row.items():
            if source is not target:
                found.setdefault((source.name, target.name), []).append(event.value)
    return found


def state_diagram() -> str:
    """The picture: a column of states for each machine. Steps down swing to the right, steps up to the left."""
    head = '<marker id="head" markerWidth="9" markerHeight="8" refX="9" refY="4" orient="auto">'
    return "\n".join(
        (
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1170 450" role="img">',
            "<title>The token in hand, and the request for the next one</title>",
            f"<style>{_STYLE}</style>",
            f'<defs>{head}<path class="head" d="M0 0L9 4L0 8z"/></marker></defs>',
            '<rect class="page" width="100%" height="100%"/>',
            *_column(210.0, "The token in hand", Freshness, arrows(FRESHNESS_TABLE)),
            *_column(790.0, "The request for the next one", RequestState, arrows(REQUEST_TABLE)),
            "</svg>\n",
        )
    )


def _column(x: float, title: str, states: type[Enum], changes: Mapping[Arrow, list[str]]) -> Iterator[str]:
    rows = {state.name: number for number, state in enumerate(states)}
    yield f'<g transform="translate({x:.0f} 96)">'
    yield f'<text class="name title" y="-66">{title}</text>'
    yield f'<circle class="head" cy="-42" r="4"/><path class="arrow" d="M0 -38V{-_HALF_HEIGHT:.0f}"/>'
    for (source, target), events in changes.items():
        yield from _arrow(rows[source], rows[target], events)
    for name, number in rows.items():
        top = number * _ROW - _HALF_HEIGHT
        yield f'<rect class="box" x="{-_HALF_BOX:.0f}" y="{top:.0f}" width="{2 * _HALF_BOX:.0f}" height="38" rx="8"/>'
        yield f'<text class="name" y="{number * _ROW + 4:.0f}">{name}</text>'
    yield "</g>"


def _arrow(source: int, target: int, events: list[str]) -> Iterator[str]:
    """One arrow, and its events at its middle: inside its bow, or outside of a wide one, which has others inside."""
    side, span, middle = (1 if target > source else -1), abs(target - source), (source + target) / 2 * _ROW
    start, end = source * _ROW + side * 6, target * _ROW - side * 6
    if side > 0 and span == 1:
        yield f'<path class="arrow" d="M0 {source * _ROW + _HALF_HEIGHT:.0f}V{target * _ROW - _HALF_HEIGHT:.0f}"/>'
        x, anchor = 8.0, "start"
    else:
        edge, reach = side * _HALF_BOX, side * (_HALF_BOX + _DEPTHS[span] * 4 / 3)
        bow = f"C{reach:.0f} {start:.0f} {reach:.0f} {end:.0f} {edge:.0f} {end:.0f}"
        yield f'<path class="arrow" d="M{edge:.0f} {start:.0f}{bow}"/>'
        beyond = side if span == 3 else -side
        x, anchor = side * (_HALF_BOX + _DEPTHS[span]) + beyond * 8, "start" if beyond > 0 else "end"
    for number, event in enumerate(events):
        y = middle + 4 + (number - (len(events) - 1) / 2) * _LINE
        yield f'<text class="event" x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{event}</text>'


if __name__ == "__main__":
    PICTURE.write_text(state_diagram(), encoding="utf-8")
