"""Credentials from where they live: what may be given as a client's secret in place of a text.

    grant = mangopay.production(client_id="...", api_key=secret_file("/run/secrets/mangopay"))

Any function that returns the text will do. It is called before each token request, and once a minute while the endpoint
refuses what it gave: in a thread of its own, or awaited in the event loop if it is a coroutine function. If it raises,
that attempt has failed. Nobody is shown the text of what it raises, unless that is :class:`SecretUnavailable`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from evertoken import SecretSource
from evertoken._checks import fault_of_text
from evertoken_transports._asking import SecretUnavailable

__all__ = ("SecretUnavailable", "secret_file")

_MOST = 65_536
"""Bytes of a file that are read: a secret or an assertion is shorter."""


def secret_file(path: str | os.PathLike[str]) -> SecretSource:
    """The content of the file at ``path``, read again before each token request, without the newline at its end.

    For mounted secrets and projected service-account tokens, which are replaced while programs run. Two of the same
    path are equal, and so are grants with them. A relative path counts from the present working directory.

    If the file cannot be read, or holds nothing that can be a secret, the returned function raises
    :class:`SecretUnavailable`, which names the path and shows none of the content. A byte order mark at the beginning,
    which some editors write, is left out.

    Raises ValueError for an empty path, which is mostly a variable that is not set, and for one with a null character.
    """
    if not os.fspath(path):
        raise ValueError("path must not be empty")
    if "\0" in os.fsdecode(path):
        raise ValueError("path must not contain a null character")
    # Not resolved: what is mounted is replaced by pointing a link elsewhere.
    return _SecretFile(Path(path).absolute())


@dataclass(frozen=True, slots=True)
class _SecretFile:
    path: Path

    def __call__(self) -> str:
        """The text of the file."""
        text, why = self._read()
        if why is not None:
            del text
            raise SecretUnavailable(why)
        return text

    def _read(self) -> tuple[str, str | None]:
        """The text of the file, and None; or, if that is no secret, what there is of it, and why."""
        try:
            with self.path.open("rb") as file:
                content = file.read(_MOST + 1)
        except OSError as error:
            return "", f"{self.path} cannot be read: {error.strerror}"
        if len(content) > _MOST:
            return "", f"{self.path} is longer than {_MOST} bytes"
        try:
            text = content.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError:
            return "", f"{self.path} is no UTF-8 text"
        return text, fault_of_text(str(self.path), text)
