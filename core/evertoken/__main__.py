"""``python -m evertoken``: the command of ``evertoken_transports``. No other module of core knows of that package."""

from __future__ import annotations

import sys


def _run() -> int | str:
    try:
        from evertoken_transports.tools.cli import main  # noqa: PLC0415 (core can be there alone)
    except ModuleNotFoundError:
        return (
            "evertoken: the command is a part of evertoken_transports, which is not there: pip install . in a checkout"
        )
    return main()


if __name__ == "__main__":  # Not in the processes that `simulate --seeds` starts, which import it by another name.
    sys.exit(_run())
