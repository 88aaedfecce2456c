"""The documentation's picture of the states is the one that the tables give."""

from __future__ import annotations

import re

from evertoken._states import Freshness, RequestState
from evertoken.testing.laws._tables import FRESHNESS_TABLE, REQUEST_TABLE
from tests.kits.diagram import PICTURE, arrows, state_diagram


def test_the_picture_shows_every_state_every_change_of_the_tables_and_what_causes_it() -> None:
    drawn = re.findall(r">([\w ]+)</text>", state_diagram())
    changes = {**arrows(FRESHNESS_TABLE), **arrows(REQUEST_TABLE)}
    titles = ["The token in hand", "The request for the next one"]
    events = [event for caused in changes.values() for event in caused]
    assert sorted(drawn) == sorted([*titles, *events, *(state.name for state in (*Freshness, *RequestState))])
    first_states = 2
    assert state_diagram().count('class="arrow"') == len(changes) + first_states


def test_the_picture_in_the_docs_is_the_one_of_the_tables() -> None:
    shown = PICTURE.read_text(encoding="utf-8")
    assert shown == state_diagram(), "draw it anew: python -m tests.kits.diagram"
