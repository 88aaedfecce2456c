"""The README's picture of the states is the one that the tables give."""

from __future__ import annotations

from pathlib import Path

from evertoken.testing._diagram import state_diagram
from evertoken.testing.laws._tables import FRESHNESS_TABLE, REQUEST_TABLE

README = Path(__file__).parents[2] / "README.md"


def test_the_diagram_shows_every_change_that_the_tables_know_and_no_other() -> None:
    changes = {
        (source.name, target.name, event.value)
        for table in (FRESHNESS_TABLE, REQUEST_TABLE)
        for event, row in table.items()
        for source, target in row.items()
        if source is not target
    }
    shown = set()
    for line in state_diagram().splitlines():
        arrow, colon, events = line.strip().partition(": ")
        if colon and "-->" in arrow:
            source, target = arrow.split(" --> ")
            shown |= {(source, target, event) for event in events.split(", ")}
    assert shown == changes


def test_the_readme_shows_the_diagram_of_the_tables() -> None:
    assert f"```mermaid\n{state_diagram()}\n```" in README.read_text(encoding="utf-8")
