"""What ``evertoken demo`` and ``evertoken emulate`` do. Needs ``evertoken[cli]``.

story     the weather as data: a script for the emulator, a policy to match, and what both allow
rigs      the auth objects of the callers: the honest one, and three sabotaged ones
callers   threads that make API calls and number them
stage     puts emulator, rigs and callers together, and tells a watcher what it sees
evidence  the emulator's log, read for the verdict
verdict   the promises, judged by that log alone
watchers  plain lines, or nothing at all
panel     one live panel, drawn with rich
play      ``evertoken demo``
emulate   ``evertoken emulate``
"""

from __future__ import annotations
