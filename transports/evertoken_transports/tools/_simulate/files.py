"""Files that are written whole or not at all. What goes wrong is said of the path that was given."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from evertoken_transports.tools._simulate.choices import ChoiceError


def check_writable(option: str, path: Path) -> None:
    """Check that :func:`write_whole` can write ``path``, without leaving a trace: it is called before a simulation.

    Raises:
        ChoiceError: it cannot; the text names the ``option``, the path and the reason.
    """
    try:
        if path.exists():
            path.open("ab").close()
        if not _is_device(path):
            with _beside(path) as beside:
                beside.touch()
    except OSError as error:
        raise ChoiceError(f"{option}: {path} cannot be written: {error.strerror}") from None


def write_whole(path: Path, text: str) -> None:
    """Put ``text`` in the place of what the file held.

    Raises:
        OSError: it cannot be written.
    """
    with _about(path):
        if _is_device(path):
            path.write_text(text, encoding="utf-8")
            return
        with _beside(path) as beside:
            beside.write_text(text, encoding="utf-8")
            beside.replace(path.resolve())


def _is_device(path: Path) -> bool:
    """Whether ``path`` is a terminal, a pipe or the like, which must be written to and not replaced."""
    return path.exists() and not path.is_file()


@contextmanager
def _beside(path: Path) -> Generator[Path]:
    real = path.resolve()
    beside = real.with_name(f".{real.name}.{os.getpid()}")
    try:
        yield beside
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def _about(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
