"""The state diagram of the README, drawn from the core's own tables, so that the picture cannot say anything else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TypeVar

from evertoken._states import Freshness, RequestState
from evertoken.testing.laws._tables import FRESHNESS_TABLE, REQUEST_TABLE, Event

__all__ = ("state_diagram",)

_State = TypeVar("_State", bound=Enum)


def state_diagram() -> str:
    """The two small machines side by side, as a Mermaid diagram: each arrow carries the events that cause it."""
    return "\n".join(
        (
            "stateDiagram-v2",
            '    state "The token in hand" as token {',
            *_machine(FRESHNESS_TABLE, Freshness.NONE),
            "    }",
            '    state "The request for the next one" as request {',
            *_machine(REQUEST_TABLE, RequestState.IDLE),
            "    }",
        )
    )


def _machine(table: Mapping[Event, Mapping[_State, _State]], first: _State) -> Iterator[str]:
    yield f"        [*] --> {first.name}"
    labels: dict[tuple[str, str], list[str]] = {}
    for event, row in table.items():
        for source, target in row.items():
            if source is not target:
                labels.setdefault((source.name, target.name), []).append(event.value)
    for (start, end), events in labels.items():
        yield f"        {start} --> {end}: {', '.join(events)}"
