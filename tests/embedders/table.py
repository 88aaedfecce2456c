"""The counts of all stories as a page."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

from tests.embedders.ours import OURS, PLAIN
from tests.embedders.stock import STOCK
from tests.embedders.stories import HERDS, STORIES, Embedder, Story, told

__all__ = ("HERDED", "UNSEEN", "page")

HERDED = "mangopay4-python-sdk"
"""Whose calls are made by threads as well."""

UNSEEN = {("confluent-kafka", "two revocations")}
"""A broker's refusal is shown to no callback."""

_INTRODUCTION = """# Token requests and lost calls, counted

Written by `make embedders`, by the token endpoint's own log. Each cell is *token requests / lost calls*, of an emulated
endpoint and API on this machine, in virtual time. *Without* is what the package itself keeps (mangopay4-python-sdk,
pyiceberg, and what anthropic, azure-core and google-auth do around a function that fetches a token), or a function that
fetches a token where the package keeps none (openai). *Plain* is a `TokenSource` beside Python's own HTTP client: no
adapter needs more. How each is used: [embedders.md](embedders.md).
"""

_NOTE = """
The outage and the lock strike while a token lives: the endpoint answers 503, or that the account is locked, whether or
not somebody knocks. confluent-kafka shows its callback no refusal of a broker, so that a revocation is nobody's news.
"""


def page() -> str:
    """The whole page."""
    head = ["package", "", *(story.title for story in STORIES)]
    rows = [["plain", "", *(str(told(story, PLAIN)) for story in STORIES)]]
    for name in OURS:
        for title, side in (("without", STOCK), ("with", OURS)):
            if name in side:
                cells = (_cell(name, story, side) for story in STORIES)
                rows.append([_with_version(name), title, *cells])
    herds = [[story.title, *(str(told(story, side[HERDED])) for side in (STOCK, OURS))] for story in HERDS]
    return "\n".join(
        [
            _INTRODUCTION,
            *_table(head, rows),
            _NOTE,
            "## Mangopay's SDK under 20 threads of its own calls",
            "",
            *_table(["", "the SDK alone", "with evertoken"], herds),
            "",
        ]
    )


def _cell(name: str, story: Story, side: Mapping[str, Embedder]) -> str:
    return "not shown" if (name, story.title) in UNSEEN else str(told(story, side[name]))


def _with_version(name: str) -> str:
    package, comma, kind = name.partition(",")
    return f"{package} {version(package)}{comma}{kind}"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
