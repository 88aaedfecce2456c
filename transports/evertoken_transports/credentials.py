"""Credentials from where they live: what may be given as a client's secret in place of a text.

    grant = mangopay.production(client_id="...", api_key=secret_file("/run/secrets/mangopay"))

Any function that gives the text will do: it is asked before each token request, in a thread of its own, and once a
minute while the endpoint refuses what it gave. What it raises is a failed attempt, whose text nobody is shown.
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
    path are equal, and so are grants with them. A relative path counts from where the program is now.

    What cannot be read, is empty or is no text is told with the path and never with the content
    (:class:`SecretUnavailable`). A byte order mark at its beginning, which some editors write, is no part of it.
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
        """What is in the file, and why that is no secret, if it is none."""
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
