"""What ``evertoken demo`` and ``evertoken emulate`` do. Needs ``evertoken[cli]``.

story     the weather as data: a script for the emulator, a policy to match, and what both allow
rigs      the auth objects of the callers: the honest one, and three sabotaged ones
callers   threads that make API calls and number them
stage     puts emulator, rigs and callers together, and tells a watcher what it sees
verdict   the promises, judged by the emulator's arrival log alone
watchers  plain lines, nothing at all, or (panel) one live panel with rich
emulate   the emulator for other people's clients
"""

from __future__ import annotations

__all__ = ()
