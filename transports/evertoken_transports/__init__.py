"""evertoken over threads, tasks and HTTP: everything that touches a socket, a clock, a thread or a log.

The coordinator, the events, the clocks and the types that sources and exchanges share are here. All else is imported
from its module, so that nothing is loaded unasked: sources from ``evertoken_transports.threads``, ``.asyncio`` and
``.trio``; what signs calls from ``.httpx``, ``.httpx2``, ``.requests``, ``.aiohttp`` and ``.adapters``; then
``.stores``, ``.credentials``, ``.jwt``, ``.otel``, ``.h11``, ``.emulator`` and ``.testing``.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from evertoken._late import late_names

if TYPE_CHECKING:
    from evertoken_transports._public import *  # noqa: F403
    from evertoken_transports._public import __all__ as __all__
else:

    def _public() -> ModuleType:
        import evertoken_transports._public as public  # noqa: PLC0415 (when one of its names is asked for)

        return public

    __getattr__, __dir__ = late_names(__name__, _public)
