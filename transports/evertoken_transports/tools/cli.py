"""The ``evertoken`` command. ``evertoken[cli]`` brings all that it needs.

``token``, ``header``, ``status`` and ``unblock`` are for shells and cron jobs, ``doctor`` for whoever sets them up,
``demo``, ``emulate`` and ``simulate`` for people. Here is what all of them have in common; each is imported when it is
called, because some run each minute.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ("main",)

_BROKEN, _INTERRUPTED = 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with ``arguments`` (default: those of the process) and return its exit status.

    0: it went well, and every promise or law was put to the test and kept. 1: not so, or the port is taken, or the disk
    is full. 2: wrong usage, a file that cannot be written, or a library is missing. 130: interrupted. The commands for
    shells have some more, which their help lists.
    """
    try:
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # It was closed by who started the command, as by ``>&-``.
                setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 (for good; pathlib costs time)
        from evertoken_transports.tools._commands import run  # noqa: PLC0415 (an interrupt may come while it is imported)

        return run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        return _complain("interrupted", _INTERRUPTED)
    except BrokenPipeError:
        # Whoever read the output has gone. Python would complain about it once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN
    except OSError as error:
        return _complain(str(error), _BROKEN)


def _complain(text: str, status: int) -> int:
    print(f"evertoken: {text}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
