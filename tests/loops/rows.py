"""The rows: every loop and interpreter that this Python has. Some begin with Python 3.12, and are not there before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal, NamedTuple

from tests.loops.columns import COLUMNS, FACES, Face
from tests.loops.endpoint import Place
from tests.loops.kits import AnyioKit, AsyncioKit, JobKit, Kit, MockClockKit, ThreadKit, TrioKit

__all__ = ("CELLS", "KITS", "WAYS", "Cell", "Way", "carry_out_elsewhere")

IS_3_12 = sys.version_info >= (3, 12)
ROOT = Path(__file__).parents[2]
LONGEST = 90.0
"""Real seconds for all cells of one process."""


def _on_uvloop(*, debug: bool) -> Kit:
    import uvloop

    return AsyncioKit(uvloop.new_event_loop, debug=debug)


KITS: dict[str, Callable[[], Kit]] = {
    "threads": ThreadKit,
    "asyncio": AsyncioKit,
    "asyncio in debug mode": lambda: AsyncioKit(debug=True),
    "uvloop": lambda: _on_uvloop(debug=False),
    "uvloop in debug mode": lambda: _on_uvloop(debug=True),
    "asyncio.run for each job": JobKit,
    "trio": TrioKit,
    "trio with MockClock": MockClockKit,
    "anyio over asyncio": lambda: AnyioKit(AsyncioKit()),
    "anyio over uvloop": lambda: AnyioKit(AsyncioKit(), use_uvloop=True),
    "anyio over trio": lambda: AnyioKit(TrioKit()),
    **({"asyncio with eager tasks": lambda: AsyncioKit(is_eager=True)} if IS_3_12 else {}),
}
"""The rows that run here."""

Way = Literal["gevent patched first", "gevent patched late", "python -O", "a forked child", "a subinterpreter"]
WAYS: dict[Way, tuple[str, ...]] = {
    "gevent patched first": ("threads",),
    "gevent patched late": ("threads",),
    "python -O": ("threads", "asyncio", "trio"),
    "a forked child": ("threads", "asyncio", "trio"),
    **({"a subinterpreter": ("threads", "asyncio")} if IS_3_12 else {}),
}
"""The rows that need a process of their own, and what runs there."""


COLD: set[tuple[Way | None, str]] = {("a subinterpreter", "threads"), (None, "asyncio.run for each job")}
"""Rows in which nothing can keep a token warm: no thread that would let its interpreter end, no loop between two jobs.

Nor does a ``BearerAuth`` anywhere: it renews when calls are made.
"""


class Cell(NamedTuple):
    """One cell of the table."""

    way: Way | None
    kit: str
    face: Face
    column: str

    def __str__(self) -> str:
        row = self.kit if self.way is None else f"{self.kit} in {self.way}"
        return f"{row}-{self.face}-{self.column}"


def _cells(way: Way | None, kit: str) -> list[Cell]:
    # What debug mode makes of httpx takes long, and is httpx's own.
    faces: list[Face] = [face for face in FACES if face == "source" or not kit.endswith("debug mode")]
    return [
        Cell(way, kit, face, column)
        for face in faces
        for column in COLUMNS
        if column != "warm" or (face == "source" and (way, kit) not in COLD)
    ]


CELLS = [
    *(cell for kit in KITS for cell in _cells(None, kit)),
    *(cell for way, kits in WAYS.items() for kit in kits for cell in _cells(way, kit)),
]


def carry_out_elsewhere(way: Way, cells: Sequence[tuple[Cell, Place]]) -> list[str]:
    """What came of each of ``cells`` in a process of that way: nothing if it holds, else why not."""
    command = [sys.executable, *(["-O"] if way == "python -O" else []), "-m", "tests.loops.child", way]
    given = [(cell.kit, cell.face, cell.column, asdict(place)) for cell, place in cells]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        told, complaints = process.communicate(json.dumps(given), timeout=LONGEST)
    except subprocess.TimeoutExpired:
        process.kill()
        told, complaints = process.communicate()
    results: list[str] = [json.loads(line) for line in told.splitlines()]
    missing = f"not carried out: the process ended with {process.returncode}\n{complaints}"
    return results + [missing] * (len(cells) - len(results))
