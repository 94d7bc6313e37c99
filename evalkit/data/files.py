"""Files that appear whole or not at all: hashes, locks between processes, atomic placing."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evalkit.errors import DataError

_BLOCK = 1 << 20


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def checked_sha256(text: str) -> str:
    """`text` as a SHA-256 in lower case.

    Raises:
        DataError: It is not 64 hexadecimal digits.
    """
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise DataError(f"{text!r} is not a SHA-256: write its 64 hexadecimal digits")
    return text.lower()


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Holds the lock of `target` against other processes and threads; makes its folder.

    The lock file stays behind: deleting it would let two processes lock two different files.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def placed(target: Path) -> Iterator[Path]:
    """Gives a path to write to; it becomes `target` when the block ends well, else is removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:80]}.")
    os.close(number)
    draft = Path(name)
    try:
        yield draft
        draft.chmod(0o644)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
