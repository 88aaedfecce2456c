"""Packages whose names are imported when one of them is asked for (PEP 562).

A program that needs a part of a package, such as a command that runs each minute, does not pay for all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType


def late_names(
    package: str, public: Callable[[], ModuleType]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of ``package``, whose names stand in the module that ``public`` imports."""

    def find(name: str) -> object:
        # What begins with an underscore is a module of the package, which the import system asks for first.
        if name == "__all__" or not name.startswith("_"):
            names = vars(public())  # While that is being imported, what it does not have yet is looked for as a module.
            if name in names:
                return names[name]
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        return sorted(vars(public())["__all__"])

    return find, names
