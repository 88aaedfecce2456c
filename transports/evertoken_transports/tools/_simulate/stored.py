"""A record as a JSON file: people read the head, a campaign goes on from the rows, and both must agree.

Each seed has one row, of which the digest is the beginning of what ``evertoken simulate --seed`` prints for it.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
from collections.abc import Collection
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import Any, TypeVar, cast

from evertoken_transports.tools._simulate.choices import ChoiceError
from evertoken_transports.tools._simulate.files import write_whole
from evertoken_transports.tools._simulate.record import Campaign, Failure, Record, Row

_FORMAT = 2
_COLUMNS = tuple(field.name for field in fields(Row))
_T = TypeVar("_T", Row, Failure)
_KINDS: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float)}


class _Wrong(ValueError):
    """What is wrong with a file."""


# Writing
# -------


def write_record(path: Path, record: Record, *, whole: bool) -> None:
    """Write the file whole or not at all. ``whole`` says that no seed of the campaign is left.

    Raises:
        OSError: it cannot be written.
    """
    head = json.dumps(_head(record, whole=whole), indent=2)[: -len("\n}")]
    rows = ",\n".join(f'    "{seed}": {json.dumps(astuple(record.rows[seed]))}' for seed in sorted(record.rows))
    write_whole(path, f'{head},\n  "columns": {json.dumps(_COLUMNS)},\n  "seeds": {{\n{rows}\n  }}\n}}\n')


def _head(record: Record, *, whole: bool) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "evertoken": _version(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{platform.system()} {platform.machine()}",
        "campaign": asdict(record.campaign),
        "whole": whole,
        **record.sums(),
        "wall_seconds": round(record.wall_seconds, 1),
        "failures": [asdict(record.failures[seed]) for seed in sorted(record.failures)],
        "situations": dict(sorted(record.seen.items())),
    }


def _version() -> str:
    try:
        return importlib.metadata.version("evertoken")
    except importlib.metadata.PackageNotFoundError:
        return "from its sources"


# Reading
# -------


def read_record(path: Path, campaign: Campaign, seeds: Collection[int]) -> Record:
    """The record in the file, to go on with; an empty one if there is no file.

    Raises:
        ChoiceError: the file is none of ours, of another campaign, or does not add up.
        OSError: it cannot be read.
    """
    if not path.exists():
        return Record(campaign)
    try:
        return _record(json.loads(path.read_text(encoding="utf-8")), campaign, frozenset(seeds))
    except _Wrong as wrong:
        raise ChoiceError(f"--out: {path} {wrong}: give another file, or remove it") from None
    except (ValueError, RecursionError) as error:
        raise ChoiceError(f"--out: {path} is there, and is no record of simulate: {error!r}") from None


def _record(data: object, campaign: Campaign, seeds: frozenset[int]) -> Record:
    held = _mapping(data, "it")
    if held.get("format") != _FORMAT:
        raise _Wrong(f"is no record of simulate in format {_FORMAT}")
    _check_campaign(_mapping(held.get("campaign"), "campaign"), campaign)
    record = Record(campaign)
    if held.get("columns") != list(_COLUMNS):
        raise _Wrong(f"is damaged: its columns are not {', '.join(_COLUMNS)}")
    record.rows = {_seed(name, seeds): _row(name, row) for name, row in _mapping(held.get("seeds"), "seeds").items()}
    for failure in map(_failure, _list(held.get("failures"), "failures")):
        record.failures[failure.seed] = failure
    situations = _mapping(held.get("situations"), "situations")
    record.seen.update({name: _checked(count, "int", f"situation {name!r}") for name, count in situations.items()})
    record.wall_seconds = _checked(held.get("wall_seconds"), "float", "wall_seconds")
    _check_sums(held, record)
    return record


def _check_campaign(theirs: dict[str, Any], campaign: Campaign) -> None:
    ours = asdict(campaign)
    differing = [name for name in ours if theirs.get(name) != ours[name]]
    if differing:
        told = ", ".join(f"{name} was {theirs.get(name)!r} and is {ours[name]!r}" for name in differing)
        raise _Wrong(f"holds another campaign ({told})")


def _check_sums(held: dict[str, Any], record: Record) -> None:
    """Refuse a file whose sums are not those of its rows: a seed whose row was removed would be counted twice."""
    for name, sum_of_rows in record.sums().items():
        if held.get(name) != sum_of_rows:
            raise _Wrong(f"is damaged: {name} is {held.get(name)!r}, and {sum_of_rows!r} by its rows")
    strangers = record.failures.keys() - record.rows.keys()
    if strangers:
        raise _Wrong(f"is damaged: seed {min(strangers)} failed and has no row")


def _seed(name: str, seeds: frozenset[int]) -> int:
    if not re.fullmatch(r"0|[1-9][0-9]{0,19}", name) or int(name) not in seeds:
        raise _Wrong(f"is damaged: it has a row of seed {name[:40]!r}, which is none of the campaign's")
    return int(name)


def _row(name: str, data: object) -> Row:
    values = _list(data, f"the row of seed {name}")
    if len(values) != len(_COLUMNS):
        raise _Wrong(f"is damaged: the row of seed {name} has {len(values)} columns, not {len(_COLUMNS)}")
    row = _read(Row, dict(zip(_COLUMNS, values, strict=True)), f"seed {name}")
    if not re.fullmatch(r"([0-9a-f]{16})?", row.digest):
        raise _Wrong(f"is damaged: the digest of seed {name} is not 16 hexadecimal digits")
    return row


def _failure(data: object) -> Failure:
    failure = _mapping(data, "a failure")
    names = [field.name for field in fields(Failure)]
    if failure.keys() != set(names):
        raise _Wrong(f"is damaged: a failure has not just {', '.join(names)}")
    return _read(Failure, failure, "a failure")


def _read(made: type[_T], values: dict[str, Any], name: str) -> _T:
    kinds = {field.name: str(field.type) for field in fields(made)}
    return made(**{field: _checked(values[field], kind, f"{field} of {name}") for field, kind in kinds.items()})


def _mapping(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong(f"is no record of simulate: {name} is no JSON object")
    return cast("dict[str, Any]", value)


def _list(value: object, name: str) -> list[object]:
    if not isinstance(value, list):
        raise _Wrong(f"is damaged: {name} is no JSON array")
    return cast("list[object]", value)


def _checked(value: Any, kind: str, name: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    if not isinstance(value, _KINDS[kind]) or (kind != "str" and not _is_amount(value)):
        raise _Wrong(f"is damaged: {name} is {value!r}")
    return value


def _is_amount(value: Any) -> bool:  # noqa: ANN401 - whatever JSON holds
    return not isinstance(value, bool) and 0 <= value < 2.0**63
