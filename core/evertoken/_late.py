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
        # A name with an underscore is a module, for which the import system asks here before it imports it.
        if name == "__all__" or not name.startswith("_"):
            names = vars(public())  # It may lack names while it is being imported: those are modules of the package.
            if name in names:
                return names[name]
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        return sorted(vars(public())["__all__"])

    return find, names
