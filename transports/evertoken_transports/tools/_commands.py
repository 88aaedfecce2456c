"""The commands: what each is called with, what it needs, and where it is done.

A command whose libraries are not all there says what to install, and exits 2. What the commands do stands in
``_shell``, ``_doctor``, ``_demo`` and ``_simulate``, which are imported once these libraries are known to be there.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence

_BROKEN, _USAGE = 1, 2

_STATUSES = """\
exit status: 0 if every promise was put to the test and kept, 1 if not (or if the port is taken), 2 for wrong usage or
a missing library, 130 if interrupted"""

_SIMULATED = """\
exit status: 0 if every law held (and, with --seeds, enough came about to put them to the test), 1 if not, 2 for wrong
usage or a missing library, 130 if interrupted: what was run so far is in --out, and the same command goes on from it"""


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` say, and return the exit status."""
    options = _options(arguments)
    missing = [name for name in _NEEDED[options.command] if importlib.util.find_spec(name) is None]
    if missing:
        hint = f"pip install {' '.join(missing)} (or, in a checkout of evertoken, pip install '.[cli]')"
        return _complain(f"{options.command}: not installed: {', '.join(missing)}. To install: {hint}", _USAGE)
    return _COMMANDS[options.command](options)


def _demo(options: argparse.Namespace) -> int:
    from evertoken_transports.tools._demo.play import play  # noqa: PLC0415 (an extra: see the module's docstring)
    from evertoken_transports.tools._demo.rigs import Sabotage  # noqa: PLC0415
    from evertoken_transports.tools._demo.story import StoryError, chapters, tell  # noqa: PLC0415

    try:
        story = tell(options.seconds, options.threads, chapters(options.chapters))
        sabotage = None if options.sabotage is None else Sabotage.named(options.sabotage)
    except StoryError as error:
        return _complain(f"demo: {error}", _USAGE)
    is_kept = play(story, plain=options.plain, as_json=options.json, sabotage=sabotage)
    return 0 if is_kept else _BROKEN


def _emulate(options: argparse.Namespace) -> int:
    from evertoken.testing import ScriptError  # noqa: PLC0415 (not needed for a demo)
    from evertoken_transports.tools._demo.emulate import EXAMPLE, Options, emulate, read_script  # noqa: PLC0415

    if options.print_script:
        print(EXAMPLE.to_json())
        return 0
    try:
        script = read_script(options.script, options.lifetime)
    except ScriptError as error:
        return _complain(f"emulate: {error}", _USAGE)
    except (OSError, UnicodeDecodeError) as error:
        return _complain(f"emulate: --script cannot be read: {error}", _USAGE)
    try:
        emulate(Options(script, options.port, options.client_id, options.api_key), _say)
    except ValueError as error:
        return _complain(f"emulate: {error}", _USAGE)
    return 0


def _simulate(options: argparse.Namespace) -> int:
    from evertoken_transports.tools._simulate.campaign import WorkerLost  # noqa: PLC0415 (needs rich)
    from evertoken_transports.tools._simulate.choices import ChoiceError  # noqa: PLC0415
    from evertoken_transports.tools._simulate.play import play  # noqa: PLC0415

    try:
        is_kept = play(options)
    except ChoiceError as error:
        return _complain(f"simulate: {error}", _USAGE)
    except WorkerLost as error:
        return _complain(f"simulate: {error}", _BROKEN)
    return 0 if is_kept else _BROKEN


def _shell(options: argparse.Namespace) -> int:
    from evertoken_transports.tools._shell import COMMANDS, UsageError  # noqa: PLC0415 (not needed for a demo)

    try:
        return COMMANDS[options.command](options)
    except UsageError as error:
        return _complain(f"{options.command}: {error}", _USAGE)


def _doctor(options: argparse.Namespace) -> int:
    from evertoken_transports.tools._doctor.examination import examine  # noqa: PLC0415 (needs h11)
    from evertoken_transports.tools._shell import UsageError  # noqa: PLC0415

    try:
        return examine(options, _say)
    except UsageError as error:
        return _complain(f"doctor: {error}", _USAGE)


_FOR_SHELLS = {
    "token": "print a valid token, and nothing else",
    "header": "the same as the value of an Authorization header: Bearer …",
    "status": "show what the store holds: when the token expires, what is blocked; no token",
    "unblock": "lift a block for all processes that share by the store, after mending its cause",
}
_COMMANDS = {
    **dict.fromkeys(_FOR_SHELLS, _shell),
    "doctor": _doctor,
    "demo": _demo,
    "emulate": _emulate,
    "simulate": _simulate,
}
_NEEDED = {
    "token": ("h11",),
    "header": ("h11",),
    "status": (),
    "unblock": (),
    "doctor": ("h11",),
    "demo": ("h11", "httpx", "rich"),
    "emulate": ("h11",),
    "simulate": ("rich",),
}


class _Version(argparse.Action):
    """Prints the version, which is looked up only then: that takes as long as everything else that a run does."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"evertoken {_version()}")
        parser.exit()


def _version() -> str:
    from importlib import metadata  # noqa: PLC0415

    try:
        return metadata.version("evertoken")
    except metadata.PackageNotFoundError:  # The packages are on the path without being installed.
        return "of a source tree that is not installed"


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    called = arguments[0] if arguments else ""
    if called in _ARGUMENTS:  # Then no parser is made for the other commands, since some commands run each minute.
        parser = argparse.ArgumentParser(prog=f"evertoken {called}")
        _, add = _ARGUMENTS[called]
        add(parser)
        return parser.parse_args(arguments[1:], argparse.Namespace(command=called))
    parser = argparse.ArgumentParser(
        prog="evertoken",
        description="A token for shells and cron jobs; evertoken at work; and a server to try a client on.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="say which, and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (help_, _) in _ARGUMENTS.items():
        commands.add_parser(name, help=help_)
    parser.parse_args(arguments)
    raise SystemExit(_complain("the command comes first", _USAGE))


def _add_shell(parser: argparse.ArgumentParser) -> None:
    from evertoken_transports.tools._shell import add_arguments  # noqa: PLC0415

    add_arguments(parser)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    _add_shell(parser)
    parser.add_argument(
        "--other-environment",
        metavar="URL",
        nargs="?",
        const="",
        help="if the credentials are refused, spend one more token request to ask the other environment whether they "
        "are its own: that of the profile, or the one at URL",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")


def _add_demo(parser: argparse.ArgumentParser) -> None:
    add, parser.epilog = parser.add_argument, _STATUSES
    add("--seconds", type=float, default=20.0, help="how long it takes (default: 20)")
    add("--threads", type=int, default=8, help="how many threads make API calls (default: 8)")
    add("--chapters", metavar="NAMES", help="some of outage,rate-limit,revoked,lock (default: all of them)")
    add("--plain", action="store_true", help="plain lines, as when the output is not a terminal")
    add("--json", action="store_true", help="nothing but the verdict, as JSON")
    # Tests break a promise by it, and see whether the verdict finds out. The help does not show it.
    add("--sabotage", metavar="NAME", help=argparse.SUPPRESS)


def _add_emulate(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--port", type=_port, default=8201, help="on 127.0.0.1; 0 for any that is free (default: 8201)")
    add("--lifetime", type=int, help="seconds that a token lives (default: the script's, or 1200)")
    add("--script", metavar="FILE", help="a JSON file that says what goes wrong when")
    add("--print-script", action="store_true", help="print an example of such a file, and exit")
    add("--client-id", default="demo", help="whose account it is (default: demo)")
    add("--api-key", help="its API key (default: a made-up one, which is shown)")


def _add_simulate(parser: argparse.ArgumentParser) -> None:
    add, parser.epilog = parser.add_argument, _SIMULATED
    which, time = parser.add_mutually_exclusive_group(), parser.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, help="what everything follows from (default: 1)")
    which.add_argument("--seeds", metavar="LIST", help="many of them, like 0-999: on all cores, without a picture")
    time.add_argument("--days", type=float, default=1.0, help="simulated days with faults (default: 1)")
    time.add_argument("--years", type=float, help="the same in years of 365 days")
    add("--clients", type=int, help="how many there are (default: as the seed has it)")
    add("--faults", default="swarm", help="swarm: what the seed draws (the default); none; all; or a list of names")
    add("--double-check", action="store_true", help="run each seed twice, and compare")
    add("--quiet", action="store_true", help="no progress, only the summary")
    one = parser.add_argument_group("with --seed").add_argument
    one("--svg", metavar="FILE", help="draw it as an SVG picture")
    one("--html", metavar="FILE", help="draw it as a page to zoom into")
    many = parser.add_argument_group("with --seeds").add_argument
    many("--jobs", type=int, help="how many processes (default: one for each core)")
    many("--commit", metavar="SHA", help="the commit that is tried: noted, and one more seed is made of it")
    many("--out", metavar="FILE", help="write down what was run, as JSON; a file that is there is continued")


def _port(text: str) -> int:
    if not (text.isdecimal() and text.isascii() and int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 65535, not {text!r}")
    return int(text)


_ARGUMENTS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    **{name: (help_, _add_shell) for name, help_ in _FOR_SHELLS.items()},
    "doctor": ("find what stands between this machine and a token, with at most one token request", _add_doctor),
    "demo": ("keep a token alive through foul weather, and judge it", _add_demo),
    "emulate": ("a Mangopay-like server on this machine, faults included", _add_emulate),
    "simulate": ("hostile days in virtual time, every law checked at every step", _add_simulate),
}


def _say(line: str) -> None:
    print(line, flush=True)


def _complain(text: str, status: int) -> int:
    print(f"evertoken: {text}", file=sys.stderr)
    return status
