"""``evertoken doctor``: what stands between this machine and a token, each thing with what to do about it.

- ``finding``: what one check found, and how all of it is shown;
- ``settings``, ``certificate``: what was given, looked at without asking anybody;
- ``network``: the way to the token endpoint, tried without the credentials;
- ``places``: the store;
- ``asking``: the one token request, through the store and the machine that all others go through;
- ``examination``: the order of all that.
"""

from __future__ import annotations

__all__: tuple[str, ...] = ()
