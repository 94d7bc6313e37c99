"""A process that scores: loads tasks from their recipes and scores samples in its main thread.

Started by `evalkit.engine.score_process` as a fresh interpreter. It reads calls from its
standard input and answers on its standard output, which it first puts out of the reach of
whatever the scoring code prints. A call that takes too long ends the process from a thread of
the interpreter's own, which needs no lock that the scoring code could hold; and so does the
end of the process that started it.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from evalkit.engine.failures import describe
from evalkit.engine.jobs import score_sample, score_together
from evalkit.records import Response, Sample, Score
from evalkit.tasks.protocol import Task

Answered = Sequence[tuple[Sample, Sequence[Response]]]

#: The length of a message, before it.
HEADER = struct.Struct("<Q")
#: A worker yields to the process that asks and answers, and dies before it in want of memory.
_NICENESS, _OOM_SCORE = 5, "500"
_PR_SET_PDEATHSIG = 1


class Reply(msgspec.Struct):
    """What a call gave: scores, or the fingerprint of the task that was loaded, or a failure."""

    scores: list[Score] = []
    fingerprint: str = ""
    failure: str = ""


class Desk:
    """The tasks that this process has loaded, by the numbers its parent gives them."""

    def __init__(self) -> None:
        self._tasks: dict[int, Task] = {}

    def load(self, number: int, recipe: bytes, forget: int | None) -> Reply:
        """Load a task, and drop one that the parent wants no longer."""
        if forget is not None:
            self._tasks.pop(forget, None)
        try:
            task: Task = pickle.loads(recipe).load()  # noqa: S301 - written by our own parent
        except Exception as error:
            return Reply(failure=describe(error))
        self._tasks[number] = task
        return Reply(fingerprint=task.fingerprint)

    def score(self, number: int, answered: Answered, together: bool) -> Reply:
        """Score samples, each by itself or all together."""
        task = self._tasks[number]
        if together:
            return Reply(scores=score_together(task, answered))
        return Reply(scores=[score_sample(task, sample, answers) for sample, answers in answered])


def main(parent: int) -> None:
    """Serve until standard input ends.

    Args:
        parent: The process id of the one that asks.
    """
    _stay_behind(parent)
    calls, replies = _channel()
    desk = Desk()
    with Path(os.devnull).open("wb") as nowhere:
        while (message := read_message(calls)) is not None:
            name, limit_s, arguments = pickle.loads(message)  # noqa: S301 - from our own parent
            with _within(limit_s, nowhere):
                reply: Reply = getattr(desk, name)(*arguments)
            write_message(replies, _encode(reply))


def _encode(reply: Reply) -> bytes:
    try:
        return msgspec.msgpack.encode(reply)
    except TypeError as error:  # a score that no samples file could hold
        return msgspec.msgpack.encode(Reply(failure=describe(error)))


def read_message(stream: IO[bytes]) -> bytes | None:
    """The next message; None where the stream has ended, in the middle of one or before."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    (length,) = HEADER.unpack(header)
    message = stream.read(length)
    return message if len(message) == length else None


def write_message(stream: IO[bytes], message: bytes) -> None:
    """Send one message whole."""
    stream.write(HEADER.pack(len(message)) + message)
    stream.flush()


@contextmanager
def _within(limit_s: float, nowhere: Any) -> Iterator[None]:
    faulthandler.dump_traceback_later(limit_s, exit=True, file=nowhere)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _channel() -> tuple[IO[bytes], IO[bytes]]:
    """The two ends of the channel, moved away from where code reads and prints."""
    calls, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    silence = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(silence, descriptor)
    os.close(silence)
    return calls, replies


def _stay_behind(parent: int) -> None:
    """Leave Ctrl-C to the parent, end with it, and let it go first where there is too little."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not sys.platform.startswith("linux"):
        return
    os.nice(_NICENESS)
    with suppress(OSError):  # a container may forbid it
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
    import ctypes

    # a worker that never comes back from one call does not see its input end
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before
        raise SystemExit(0)
