"""``evertoken emulate`` in a thread of the test, and the programs that it prints."""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Generator
from contextlib import contextmanager

from evertoken.testing import Script
from evertoken_transports.tools._demo.emulate import Options, emulate

__all__ = ("LIMIT", "Lines", "emulating", "options")

LIMIT = 30.0
"""Real seconds after which a test fails that waits for something. No test comes near it unless something hangs."""


class Lines(list[str]):
    """Lines as they are written, and ways to wait for them."""

    def __init__(self) -> None:
        super().__init__()
        self._grown = threading.Condition()

    def write(self, line: str) -> None:
        with self._grown:
            self.append(line)
            self._grown.notify_all()

    def program(self, client: str) -> str:
        """The program that is printed under the heading that begins with ``client``."""
        self.wait_for("api.Users.getAll")
        return textwrap.dedent("\n".join(self).partition(f"\n{client}")[2].partition("\n")[2].partition("\n\n")[0])

    def wait_for(self, *words: str) -> str:
        def found() -> list[str]:
            return [line for line in self if all(word in line for word in words)]

        with self._grown:
            assert self._grown.wait_for(found, LIMIT), list(self)
            return found()[0]


@contextmanager
def emulating(options: Options) -> Generator[Lines]:
    """Run an emulator until the block ends; the lines that it writes."""
    lines, over = Lines(), threading.Event()
    thread = threading.Thread(target=emulate, args=(options, lines.write, over))
    thread.start()
    try:
        yield lines
    finally:
        over.set()
        thread.join(LIMIT)


def options(api_key: str | None = None, client_id: str = "demo", lifetime: int = 1_200) -> Options:
    """The options of an emulator without faults, on any port that is free."""
    return Options(Script(lifetime=lifetime), 0, client_id, api_key)
