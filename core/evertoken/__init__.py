"""evertoken: one valid bearer token for as long as a program lives, and a token endpoint that is never overused.

This package is the pure core. It reads no clock, draws no randomness, and touches no socket, file, lock or log: time
and answers go in, requests and waits come out. ``evertoken_transports`` runs it over threads, tasks and HTTP.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from evertoken._late import late_names

if TYPE_CHECKING:
    from evertoken._public import *  # noqa: F403
    from evertoken._public import __all__ as __all__
else:

    def _public() -> ModuleType:
        import evertoken._public as public  # noqa: PLC0415 (when one of its names is asked for)

        return public

    __getattr__, __dir__ = late_names(__name__, _public)
