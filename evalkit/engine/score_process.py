"""A scoring process as its parent sees it: started when needed, killed when it does not answer."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from evalkit.engine.jobs import Recipe
from evalkit.engine.score_worker import Reply, read_message, write_message
from evalkit.errors import EvalkitError

#: Tasks that a process keeps loaded.
MOST_LOADED = 8
#: Seconds to load a task: rows may have to be processed.
LOADING_S = 900.0

_BOOT = (
    "import json, sys; parent, sys.path[:] = json.loads(sys.argv.pop()); "
    "from evalkit.engine.score_worker import main; main(parent)"
)
_SECRET = re.compile(r"KEY|TOKEN(?!IZERS)|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)


class LostError(EvalkitError):
    """The process ended, or was ended, before it answered; `slow` where its time was over."""

    def __init__(self, message: str, *, slow: bool) -> None:
        super().__init__(message)
        self.slow = slow


class LoadError(EvalkitError):
    """A task cannot be loaded in a process of its own, or is another task there."""


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without what looks like a secret: scoring needs none."""
    return {name: value for name, value in environ.items() if not _SECRET.search(name)}


class ScoreProcess:
    """One process; used by one thread at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, json.dumps([os.getpid(), sys.path])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=clean_environment(os.environ),
            # Ctrl-C is the parent's alone; and what the scoring code starts can be ended with it
            start_new_session=True,
        )
        self._decoder = msgspec.msgpack.Decoder(Reply)
        self._loaded: OrderedDict[bytes, int] = OrderedDict()
        self._numbers = 0

    def score(
        self,
        recipe: Recipe,
        fingerprint: str,
        answered: Any,
        *,
        together: bool = False,
        limit_s: float,
    ) -> Reply:
        """The scores of `answered`.

        Args:
            recipe: Loads the task; done once a process.
            fingerprint: The task's in this process: the other one must have the same.
            answered: Pairs of a sample and its responses.
            together: Whether they are scored as a whole.
            limit_s: Seconds that they may take, once the task is loaded.

        Raises:
            LoadError: The process has no such task.
            LostError: The process is no more.
        """
        number = self._number_of(recipe, fingerprint)
        return self._call("score", limit_s, number, answered, together)

    def knows(self, recipe: Recipe) -> bool:
        """Whether it has the task of `recipe`."""
        return pickle.dumps(recipe) in self._loaded

    def _number_of(self, recipe: Recipe, fingerprint: str) -> int:
        pickled = pickle.dumps(recipe)
        if pickled in self._loaded:
            self._loaded.move_to_end(pickled)
            return self._loaded[pickled]
        full = len(self._loaded) >= MOST_LOADED
        forget = self._loaded.popitem(last=False)[1] if full else None
        self._numbers += 1
        reply = self._call("load", LOADING_S, self._numbers, pickled, forget)
        if reply.failure:
            raise LoadError(reply.failure)
        if reply.fingerprint != fingerprint:
            raise LoadError("it is not the same task there")
        self._loaded[pickled] = self._numbers
        return self._numbers

    def _call(self, name: str, limit_s: float, *arguments: Any) -> Reply:
        assert self._process.stdin is not None and self._process.stdout is not None
        started = time.monotonic()
        with suppress(BrokenPipeError):  # it is no more, which reading tells
            write_message(self._process.stdin, pickle.dumps((name, limit_s, arguments)))
        message = read_message(self._process.stdout)
        if message is None:
            raise self._lost(time.monotonic() - started, limit_s)
        return self._decoder.decode(message)

    def _lost(self, seconds: float, limit_s: float) -> LostError:
        self.kill()
        code = self._process.wait()
        if seconds >= limit_s:
            return LostError(f"scoring took longer than {limit_s:g} s", slow=True)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return LostError(f"the scoring process ended ({how})", slow=False)

    def kill(self) -> None:
        """End it with all that it started."""
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()

    def close(self) -> None:
        """End it and wait for its end."""
        self.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
