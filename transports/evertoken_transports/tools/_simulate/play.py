"""``evertoken simulate``: one seed to look at, or many on all cores."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from evertoken.testing import Report
from evertoken_transports.tools._simulate.campaign import cores
from evertoken_transports.tools._simulate.choices import ChoiceError, Choices, check_seed, days_of
from evertoken_transports.tools._simulate.gallery import Gallery
from evertoken_transports.tools._simulate.many import Many, run_many
from evertoken_transports.tools._simulate.one import One, failure_lines, one_lines, run_one
from evertoken_transports.tools._simulate.summary import many_lines

_FIRST = 1
_ONLY_MANY = ("jobs", "commit", "out")
_ONLY_ONE = ("svg", "html")


def play(options: argparse.Namespace) -> bool:
    """Do what was asked for, and print what it came to. Returns whether all went well.

    Raises:
        ChoiceError: an option cannot be carried out.
        WorkerLost: a process that simulated has disappeared.
        OSError: a file cannot be read or written.
    """
    days = options.days if options.years is None else days_of(options.years)
    choices = Choices(days, options.clients, options.faults)
    useless, other = (_ONLY_MANY, "--seeds") if options.seeds is None else (_ONLY_ONE, "--seed")
    for name in useless:
        if getattr(options, name) is not None:
            raise ChoiceError(f"--{name} goes with {other}")
    return _one(choices, options) if options.seeds is None else _many(choices, options)


def _one(choices: Choices, options: argparse.Namespace) -> bool:
    seed = check_seed("--seed", _FIRST if options.seed is None else options.seed)
    one = One(choices, seed, double_check=options.double_check, quiet=options.quiet)
    gallery = Gallery(options.svg, options.html)
    ran = run_one(one, Console(highlight=False), gallery)
    lines = list(one_lines(ran))
    for line in (*lines, *gallery.hang(ran.report, choices.command(seed), lines)):
        _write(line)
    if ran.report.broken is not None:
        _explain(ran.report)
    return ran.ok


def _explain(report: Report) -> None:
    _write("shrinking       looking for the smallest scenario that breaks this law; Ctrl-C leaves it at this")
    try:
        for line in failure_lines(report):
            _write(line)
    except KeyboardInterrupt:
        _write("                not shrunk")


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
