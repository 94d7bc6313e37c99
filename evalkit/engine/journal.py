"""Every answer as it arrived, in one SQLite file: what lets a killed run go on.

Plain tables that need no evalkit to be read:

    meta(key, value)                          schema version, current epoch
    responses(key, epoch, model, payload, created)     payload is JSON
    failures(key, model, attempt, kind, status_code, message, created)
    spent(model, epoch, answers, input_tokens, …)      sums over responses, kept with them

An answer is found by the hash of the model's identity and the request, so that renamed
tasks, other suites and other orders find it too. Answers are committed in batches by one
thread. What a `kill -9` can lose is bounded: never more than `BATCH` rows wait.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from evalkit.engine.failures import MESSAGE_LIMIT, FailureKind
from evalkit.engine.journal_file import COUNT_SPENT, WriterLock, connect, prepare, read_epoch
from evalkit.errors import StoppedError
from evalkit.records import Record, Request, Response, Usage, content_hash

#: The most rows that wait for a commit, those being committed included.
BATCH = 256
#: Rows that are enough for a commit of their own: half, so that others arrive meanwhile.
COMMIT_AT = BATCH // 2
#: The longest that a row waits for company, in seconds.
LINGER_S = 0.05
#: What counts as an answer. An error is never one: it is asked again.
ANSWERED = frozenset({"ok", "truncated", "refused", "filtered"})

_INSERT_RESPONSE = "INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?, ?)"
_INSERT_FAILURE = "INSERT INTO failures VALUES (?, ?, ?, ?, ?, ?, ?)"
_ADD_SPENT = """
INSERT INTO spent VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (model, epoch) DO UPDATE SET
    answers = answers + excluded.answers,
    input_tokens = input_tokens + excluded.input_tokens,
    output_tokens = output_tokens + excluded.output_tokens,
    cached_tokens = cached_tokens + excluded.cached_tokens,
    cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,
    reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens
"""
_SELECT = "SELECT payload FROM responses WHERE key = ? AND epoch = ?"


_decode = msgspec.json.Decoder(Response).decode
_encode = msgspec.json.Encoder().encode


def response_key(identity: Mapping[str, str], request: Request) -> str:
    """The name of the answer of one model (its `identity`) to one request.

    Where the answer is determined by the prompt (greedy, log-likelihood), repeats share it.
    """
    if request.repeat and is_deterministic(request):
        request = msgspec.structs.replace(request, repeat=0)
    return content_hash(identity, request)


def is_deterministic(request: Request) -> bool:
    """Whether asking twice is asking the same: no temperature, or nothing is drawn at all."""
    return request.kind != "generate" or request.sampling.temperature == 0


class JournalCounts(Record, frozen=True, kw_only=True):
    """How many answers stand in the current epoch, and how many attempts have failed."""

    epoch: int
    responses: int
    failures: int


class JournalReader:
    """A journal to look answers up in, also while a run writes it.

    Args:
        path: The journal's file.

    Raises:
        InputError: There is no journal there, or not one that this version can read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._reading = connect(self.path, readonly=True)
        try:
            self.epoch = read_epoch(self._reading, self.path)
        except BaseException:
            self._reading.close()
            raise

    def get(self, key: str) -> Response | None:
        """The answer named `key` in the current epoch."""
        row = self._reading.execute(_SELECT, (key, self.epoch)).fetchone()
        return None if row is None else _decode(row[0])

    def holds(self, keys: Iterable[str]) -> int:
        """How many of `keys` are answered."""
        return sum(self.get(key) is not None for key in keys)

    def counts(self) -> JournalCounts:
        """What the file holds."""
        one = self._reading.execute
        responses = one("SELECT count(*) FROM responses WHERE epoch = ?", (self.epoch,)).fetchone()
        failures = one("SELECT count(*) FROM failures").fetchone()
        return JournalCounts(epoch=self.epoch, responses=responses[0], failures=failures[0])

    def usage(self) -> dict[str, Usage]:
        """The tokens that the answers of the current epoch took, by model."""
        return {
            model: Usage(**dict(zip(Usage.__struct_fields__, tokens, strict=True)))
            for model, epoch, _, *tokens in self._reading.execute(self._spent())
            if epoch == self.epoch
        }

    def _spent(self) -> str:
        found = self._reading.execute("SELECT 1 FROM sqlite_master WHERE name = 'spent'").fetchone()
        return "SELECT * FROM spent" if found else COUNT_SPENT

    def failure_counts(self) -> dict[str, dict[str, int]]:
        """Failed attempts by model and kind, over every process that wrote here."""
        found: dict[str, dict[str, int]] = {}
        rows = self._reading.execute("SELECT model, kind, count(*) FROM failures GROUP BY 1, 2")
        for model, kind, number in rows:
            found.setdefault(model, {})[kind] = number
        return found

    def close(self) -> None:
        """Close the file."""
        self._reading.close()

    def __enter__(self) -> JournalReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Row(msgspec.Struct, frozen=True):
    """One line for the file: an answer, or a failed attempt."""

    key: str
    response: Response | None
    values: tuple[Any, ...]


class Journal(JournalReader):
    """The journal of a run: one process writes it, others may read it meanwhile.

    Call it from one thread; a thread of its own commits.

    Args:
        path: The file; made if there is none.
        clock: Seconds since 1970, for the `created` columns.

    Raises:
        InputError: The file is no journal, is of a newer evalkit, cannot be written, or is
            being written by another process.
    """

    def __init__(self, path: Path | str, *, clock: Callable[[], float] = time.time) -> None:
        self.path = Path(path)
        self._clock = clock
        with ExitStack() as undo:
            self._lock = WriterLock(self.path)
            undo.callback(self._lock.release)
            self._writing = connect(self.path, readonly=False)
            undo.callback(self._writing.close)
            prepare(self._writing, self.path)
            super().__init__(path)
            undo.pop_all()
        self._start_thread()

    def _start_thread(self) -> None:
        self._changed = threading.Condition()
        self._queue: list[_Row] = []
        self._in_commit = 0
        self._unsaved: dict[str, Response] = {}
        self._failure = ""
        self._hurry = self._closing = self._closed = False
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    def get(self, key: str) -> Response | None:
        """The answer named `key` in the current epoch, committed or not."""
        return self._unsaved.get(key) or super().get(key)

    def put(self, key: str, response: Response, *, model: str = "") -> None:
        """Keep an answer. Waits only when the disk is slower than the answers.

        Raises:
            ValueError: The response is an error, which is never kept.
            StoppedError: The file cannot be written any more.
        """
        if response.status not in ANSWERED:
            raise ValueError(f"a response with status {response.status!r} is not an answer")
        payload = _encode(response).decode()
        values = (key, self.epoch, model, payload, self._clock())
        self._enqueue(_Row(key, response, values))

    def put_failure(
        self,
        key: str,
        *,
        model: str,
        attempt: int,
        kind: FailureKind,
        message: str,
        status_code: int | None = None,
    ) -> None:
        """Keep that an attempt failed.

        Raises:
            StoppedError: The file cannot be written any more.
        """
        text = message[:MESSAGE_LIMIT]
        values = (key, model, attempt, kind, status_code, text, self._clock())
        self._enqueue(_Row(key, None, values))

    def flush(self) -> None:
        """Return when everything put so far is committed.

        Raises:
            StoppedError: It could not be.
        """
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            while (self._queue or self._in_commit) and not self._failure:
                self._changed.wait()
            self._hurry = False
            self._check()

    def new_epoch(self) -> int:
        """Start afresh: answers so far are kept in the file, but not read any more."""
        self.flush()
        with self._changed, self._writing:
            self._writing.execute("UPDATE meta SET value = value + 1 WHERE key = 'epoch'")
        self.epoch = read_epoch(self._reading, self.path)
        return self.epoch

    def close(self) -> None:
        """Commit what waits and give the file back; safe to call twice.

        Raises:
            StoppedError: Something could not be committed.
        """
        if self._closed:
            return
        self._closed = True
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        super().close()
        self._writing.close()
        self._lock.release()
        self._check()

    def _check(self) -> None:
        if self._failure:
            raise StoppedError(self._failure)

    def _enqueue(self, row: _Row) -> None:
        with self._changed:
            while len(self._queue) + self._in_commit >= BATCH and not self._failure:
                self._changed.wait()
            self._check()
            self._queue.append(row)
            if row.response is not None:
                self._unsaved[row.key] = row.response
            if len(self._queue) in (1, COMMIT_AT):
                self._changed.notify_all()

    def _write(self) -> None:
        while rows := self._next_rows():
            try:
                self._commit(rows)
            except sqlite3.Error as error:
                self._give_up(error)
                return
            self._committed(rows)

    def _next_rows(self) -> list[_Row]:
        """Rows for one commit; none when the journal closes."""
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait()
            until = time.monotonic() + LINGER_S
            while len(self._queue) < COMMIT_AT and not (self._hurry or self._closing):
                left = until - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            rows, self._queue = self._queue, []
            self._in_commit = len(rows)
            return rows

    def _commit(self, rows: list[_Row]) -> None:
        answers = [row.values for row in rows if row.response is not None]
        failures = [row.values for row in rows if row.response is None]
        with self._writing:
            self._writing.execute("BEGIN IMMEDIATE")
            self._writing.executemany(_INSERT_RESPONSE, answers)
            self._writing.executemany(_INSERT_FAILURE, failures)
            self._writing.executemany(_ADD_SPENT, _spent(rows))

    def _committed(self, rows: list[_Row]) -> None:
        with self._changed:
            for row in rows:
                if row.response is not None and self._unsaved.get(row.key) is row.response:
                    del self._unsaved[row.key]
            self._in_commit = 0
            self._changed.notify_all()

    def _give_up(self, error: sqlite3.Error) -> None:
        with self._changed:
            self._failure = (
                f"The journal {self.path} cannot be written any more ({error}); answers "
                f"committed before are safe. Make room and run again to go on."
            )
            self._changed.notify_all()


def _spent(rows: Iterable[_Row]) -> list[tuple[Any, ...]]:
    """What the answers among `rows` add to the sums."""
    answers: dict[tuple[str, int], list[Usage]] = {}
    for row in rows:
        if row.response is not None:
            _, epoch, model, *_ = row.values
            answers.setdefault((model, epoch), []).append(row.response.usage)
    return [
        (*place, len(usages), *msgspec.structs.astuple(sum(usages, Usage())))
        for place, usages in answers.items()
    ]
