"""Draw what 50 processes ask of the token endpoint in an hour, with a store and without.

    python -m benchmarks.fleet_picture FILE.svg

A real run, of real processes, in which a minute takes a second: tokens live 20 s for 20 minutes, and the margins of the
policy are shrunken alike. All processes are started at once, each makes calls all the time, and at half an hour a
deploy restarts one after the other. Each mark is a token request that has reached the endpoint.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.fleet import CLIENT, KEY, PATIENCE, Forked, free_port, grant_at
from evertoken import ClientCredentials, Policy
from evertoken.sharing import Store
from evertoken.testing import Route, Script, TokenBehaviour
from evertoken_transports.emulator import Emulator
from evertoken_transports.h11 import H11Exchange
from evertoken_transports.stores import FileStore
from evertoken_transports.threads import TokenSource

PROCESSES, MINUTES, LIFE = 50, 60, 20
POLICY = Policy(refresh_before=0.5, leeway=0.1)
"""The default ``refresh_before`` of 30 s, and nearly the default ``leeway`` of 5 s, where a second is a minute."""

WIDTH, LEFT, RIGHT, ROW, TOP = 920, 40, 20, 150, 60
STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1f2328; }
.small { font-size: 12px; fill: #59636e; }
.axis { stroke: #9aa4ae; stroke-width: 1; }
.deploy { stroke: #9aa4ae; stroke-width: 1; stroke-dasharray: 3 4; }
.without { fill: #c0362c; }
.with { fill: #1a7f37; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .small { fill: #9198a1; }
  .without { fill: #ff7b72; }
  .with { fill: #3fb950; }
}
"""


def live(grant: ClientCredentials, store: Store | None, until: float) -> None:
    """Live as one process, which makes calls until its end, a moment of ``time.monotonic()``."""
    source = TokenSource(grant, exchange=H11Exchange(), policy=POLICY, store=store)
    while time.monotonic() < until:
        source.authorization(PATIENCE)
        time.sleep(random.uniform(0.05, 0.15))


def lived_twice(grant: ClientCredentials, store: Store | None, began: float, number: int) -> None:
    """Run one process after another: the second takes the place of the first when the deploy comes to it."""
    deploy = began + MINUTES / 2 + number * 5 / PROCESSES
    for until in (deploy, began + MINUTES):
        Forked(partial(live, grant, store, until)).said()


def an_hour(store: Store | None) -> list[float]:
    """The minutes at which the endpoint was asked."""
    port = free_port()
    grant = grant_at(port)
    grant.seal("", "")
    began = time.monotonic() + 2.0
    places = [Forked(partial(_later, grant, store, began, number)) for number in range(PROCESSES)]
    script = Script(lifetime=LIFE, token=TokenBehaviour(latency_before=0.01))
    with Emulator(script, client_id=CLIENT, api_key=KEY, port=port) as emulator:
        listening = time.monotonic()
        for place in places:
            place.said()
        asked = [arrival.now for arrival in emulator.arrivals if arrival.route is Route.TOKEN]
    return [now - (began - listening) for now in asked]


def _later(grant: ClientCredentials, store: Store | None, began: float, number: int) -> None:
    time.sleep(max(0.0, began - time.monotonic()))
    lived_twice(grant, store, began, number)


def drawn(rows: list[tuple[str, str, list[float]]]) -> str:
    """The picture."""
    height = TOP + ROW * len(rows) + 30
    scale = (WIDTH - LEFT - RIGHT) / MINUTES
    counts = "; ".join(f"{name}: {len(asked)}" for name, _, asked in rows)
    title = f"Token requests of {PROCESSES} processes in an hour, with a deploy in the middle"
    frame = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
    parts = [
        f'<svg {frame} aria-label="{title}. {counts}.">',
        f"<style>{STYLE}</style>",
        f'<text x="{LEFT}" y="24">{title}</text>',
    ]
    for number, (name, kind, asked) in enumerate(rows):
        base = TOP + ROW * (number + 1) - 30
        parts.append(f'<text x="{LEFT}" y="{base - 100}" class="{kind}">{name}: {len(asked)}</text>')
        parts.append(f'<line x1="{LEFT}" y1="{base}" x2="{WIDTH - RIGHT}" y2="{base}" class="axis"/>')
        middle = LEFT + scale * MINUTES / 2
        parts.append(f'<line x1="{middle:.1f}" y1="{base - 92}" x2="{middle:.1f}" y2="{base}" class="deploy"/>')
        parts += _stacked(asked, kind, base, scale)
        for minute in range(0, MINUTES + 1, 10):
            x = LEFT + scale * minute
            parts.append(f'<text x="{x:.1f}" y="{base + 18}" class="small" text-anchor="middle">{minute}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{height - 8}" class="small" text-anchor="end">minutes</text>')
    return "\n".join([*parts, "</svg>", ""])


def _stacked(asked: list[float], kind: str, base: float, scale: float) -> list[str]:
    """A mark for each request; those of the same quarter of a minute stand on each other."""
    heights: dict[int, int] = {}
    marks = list[str]()
    for minute in sorted(asked):
        column = int(minute * 4)
        height = heights[column] = heights.get(column, 0) + 1
        x, y = LEFT + scale * column / 4, base - 1.8 * height
        marks.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="3" height="1.4" class="{kind}"/>')
    return marks


def main(path: str) -> None:
    """Run two such hours, one without a store and one with it, and draw them."""
    with tempfile.TemporaryDirectory() as folder:
        alone, shared = an_hour(None), an_hour(FileStore(Path(folder) / "store"))
    rows = [("without a store", "without", alone), ("with a store", "with", shared)]
    Path(path).write_text(drawn(rows), encoding="utf-8")
    print(*(f"{title}: {len(asked)} token requests" for title, _, asked in rows), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1])
