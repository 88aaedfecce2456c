"""One token for many processes: a shared store is a small cache in front of the token endpoint, with a lease.

**Whatever is shared is one record, one opaque value for each key.** It holds the token that was granted last, a block
that is known, the lease of whoever is asking, and the account of the whole fleet: failures, back-off, budget. A store
(:class:`Store`) compares and swaps that value, and tells the time. All rules are here, and pure.

An exchange with a store does this for each request. It looks at the record: a token that is fresh and newer than the
one in hand is the answer; a block that stands is the answer; else it takes the lease, asks the inner exchange, and
keeps what came of it, which gives the lease back. Whoever finds the lease taken waits until it is given back.

The parts, for whoever writes a driver: :class:`Sharing` is made once, and :meth:`Sharing.ask` gives an :class:`Ask` for
each request, which says what to do (:class:`Load`, :class:`Acquire`, :class:`Send` …) and is told what came of it.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from evertoken._late import late_names

if TYPE_CHECKING:
    from evertoken.sharing._public import *  # noqa: F403
    from evertoken.sharing._public import __all__ as __all__
else:

    def _public() -> ModuleType:
        import evertoken.sharing._public as public  # noqa: PLC0415 (when one of its names is asked for)

        return public

    __getattr__, __dir__ = late_names(__name__, _public)
