"""What can go wrong, as a tree.

EvalkitError
├── InputError            the user's input is wrong; nothing was spent (exit code 2)
│   ├── ConfigError       a YAML file: names file, line and key
│   ├── UnknownNameError  a name that does not exist; offers the nearest ones
│   ├── MissingKeyError   an environment variable with a provider's key is not set
│   ├── UnreachableError  a server does not answer
│   ├── DataError         a data set is missing, gated, or not what its checksum says
│   ├── UnsupportedError  this model cannot be asked this task
│   └── SandboxError      no sandbox can be had on this machine, so untrusted code is not run
├── StoppedError          a run stopped midway; what is journaled is safe (exit code 3)
└── ModelError            one attempt at a model failed; the engine decides what follows
    ├── TransientError    worth asking again (429, 5xx, dropped connection, malformed body, timeout)
    ├── RequestError      this request can never succeed (400, context overflow); others can
    ├── LeftOutError      a call of several did not ask this one; it is asked again
    └── AccessError       no request to this model can succeed (401, 403, 404 model)

A failed sample is not an exception: it is a `Response` with the status `error`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EvalkitError(Exception):
    """The root of all errors that evalkit raises on purpose."""


class InputError(EvalkitError):
    """The user's input is wrong, and nothing was spent."""


class ConfigError(InputError):
    """A definition file is wrong: says where and what would be right."""

    def __init__(self, message: str, *, path: str = "", line: int = 0) -> None:
        self.path, self.line = path, line
        place = f"{path}:{line}: " if path and line else f"{path}: " if path else ""
        super().__init__(f"{place}{message}")


class UnknownNameError(InputError):
    """A name that is not known; the nearest known names are offered."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.kind, self.name = kind, name
        near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
        offer = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
        super().__init__(f"Unknown {kind} {name!r}.{offer}{' ' + hint if hint else ''}")


class MissingKeyError(InputError):
    """A provider's key is not in the environment."""


class UnreachableError(InputError):
    """A server does not answer."""


class DataError(InputError):
    """A data set is missing, gated or altered."""


class UnsupportedError(InputError):
    """This model cannot be asked this task."""


class SandboxError(InputError):
    """No sandbox is available, so untrusted code is not run."""


class StoppedError(EvalkitError):
    """A run stopped midway; what is journaled is safe and the run can go on."""


class ModelError(EvalkitError):
    """One attempt to ask a model failed."""

    def __init__(self, message: str, *, status_code: int | None = None) -> None:
        self.status_code = status_code
        super().__init__(message)


class TransientError(ModelError):
    """An attempt that is worth repeating.

    Args:
        message: What happened.
        status_code: The HTTP status, if there was one.
        retry_after_s: Seconds that the server asked to wait.
        rate_limited: Whether this was a refusal for asking too fast (429, 529).
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        retry_after_s: float | None = None,
        rate_limited: bool = False,
    ) -> None:
        super().__init__(message, status_code=status_code)
        self.retry_after_s, self.rate_limited = retry_after_s, rate_limited


class RequestError(ModelError):
    """This request can never succeed; others to the same model can."""


class LeftOutError(ModelError):
    """The call asked others, and not this one: it is asked again, and no attempt has failed."""


class AccessError(ModelError):
    """No request to this model can succeed: wrong key, no such model, no credit."""
