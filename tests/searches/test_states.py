"""So many states, breadth first, that the whole grammar of inputs has come about in most orders."""

from __future__ import annotations

from evertoken.testing._explorer import explore


def test_fifty_thousand_states_keep_the_laws() -> None:
    found = explore(max_states=50_000)
    assert found.states >= 50_000
    assert not found.violations, str(found)
