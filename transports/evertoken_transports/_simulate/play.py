"""``evertoken simulate``: one seed to look at, or many on all cores."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from evertoken_transports._simulate.campaign import cores
from evertoken_transports._simulate.choices import ChoiceError, Choices
from evertoken_transports._simulate.many import Many, run_many
from evertoken_transports._simulate.summary import many_lines

__all__ = ("play",)

_FOR_MANY = ("jobs", "commit", "out")


def play(options: argparse.Namespace) -> bool:
    """Do what was asked for, and say what it came to; whether all went well.

    Raises:
        ChoiceError: an option cannot be carried out.
        WorkerLost: a process that simulated has disappeared.
        OSError: a file cannot be read or written.
    """
    days = options.days if options.years is None else options.years * 365.0
    choices = Choices(days, options.clients, options.faults)
    return _many(choices, options)


def _many(choices: Choices, options: argparse.Namespace) -> bool:
    if options.jobs is not None and options.jobs < 1:
        raise ChoiceError(f"--jobs must be at least 1, not {options.jobs}")
    many = Many(
        choices,
        options.seeds,
        jobs=options.jobs or cores(),
        commit=options.commit,
        out=None if options.out is None else Path(options.out),
        double_check=options.double_check,
        quiet=options.quiet,
    )
    record = run_many(many, Console(highlight=False))
    for line in many_lines(record, many.out):
        _write(line)
    return record.ok


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
