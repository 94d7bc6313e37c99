"""Opening a journal's file: its schema, its version, and the lock of the one who writes."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

from evalkit.errors import InputError

SCHEMA_VERSION = 2

_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS responses (
    key TEXT NOT NULL, epoch INTEGER NOT NULL, model TEXT NOT NULL,
    payload TEXT NOT NULL, created REAL NOT NULL, PRIMARY KEY (key, epoch)
);
CREATE TABLE IF NOT EXISTS failures (
    key TEXT NOT NULL, model TEXT NOT NULL, attempt INTEGER NOT NULL, kind TEXT NOT NULL,
    status_code INTEGER, message TEXT NOT NULL, created REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS spent (
    model TEXT NOT NULL, epoch INTEGER NOT NULL, answers INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL,
    PRIMARY KEY (model, epoch)
);
INSERT OR IGNORE INTO meta VALUES ('schema', %d), ('epoch', 1);
COMMIT;
"""

#: What `spent` holds, found by reading every answer: for files of schema 1, which lack the table.
COUNT_SPENT = """
SELECT model, epoch, count(*),
    coalesce(sum(json_extract(payload, '$.usage.input_tokens')), 0),
    coalesce(sum(json_extract(payload, '$.usage.output_tokens')), 0),
    coalesce(sum(json_extract(payload, '$.usage.cached_tokens')), 0),
    coalesce(sum(json_extract(payload, '$.usage.cache_write_tokens')), 0),
    coalesce(sum(json_extract(payload, '$.usage.reasoning_tokens')), 0)
FROM responses GROUP BY model, epoch
"""


class WriterLock:
    """Held by the one process that writes a journal; the system frees it when that dies.

    The lock is a file of its own: closing another handle of the database itself would drop
    SQLite's locks.

    Raises:
        InputError: Another process holds it, or the folder cannot be written.
    """

    def __init__(self, journal: Path) -> None:
        self._path = Path(f"{journal}.lock")
        self._handle: int | None = None
        while self._handle is None:
            self._handle = self._try(journal)

    def _try(self, journal: Path) -> int | None:
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise InputError(f"The journal {journal} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise InputError(
                f"The journal {journal} is being written by another process: wait for that "
                "run to end, or choose another output folder"
            ) from None
        except OSError as error:
            os.close(handle)
            raise InputError(
                f"The journal {journal} cannot be locked ({error.strerror}): choose an output "
                "folder on a local disk"
            ) from None
        if self._is_current(handle):
            return handle
        os.close(handle)  # its last holder removed the file meanwhile: take the new one
        return None

    def _is_current(self, handle: int) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let another process write; safe to call twice."""
        if self._handle is None:
            return
        self._path.unlink(missing_ok=True)
        os.close(self._handle)
        self._handle = None


def connect(path: Path, *, readonly: bool) -> sqlite3.Connection:
    """A connection to the file at `path`.

    Raises:
        InputError: It cannot be opened.
    """
    if readonly and not path.is_file():
        raise InputError(f"There is no journal at {path}")
    uri = f"{path.resolve().as_uri()}?mode={'ro' if readonly else 'rwc'}"
    try:
        # one thread at a time uses it, but not always the one that opened it
        return sqlite3.connect(
            uri, uri=True, timeout=30, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise InputError(f"The journal {path} cannot be opened: {error}") from None


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables where there are none, and check them where there are.

    Raises:
        InputError: The file is something else, of a newer evalkit, or read-only.
    """
    try:
        if _has_tables(connection):
            read_epoch(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        # keys are hashes, so the index is written all over: gather more before each sync
        connection.execute("PRAGMA wal_autocheckpoint = 8000")
        connection.execute("PRAGMA cache_size = -32000")
        connection.executescript(_SCHEMA % SCHEMA_VERSION)
        _upgrade(connection)
    except sqlite3.OperationalError as error:
        raise InputError(f"The journal {path} cannot be written: {error}") from None
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path} is not a journal: {error}") from None


def _upgrade(connection: sqlite3.Connection) -> None:
    """Bring a file of schema 1 up to date, all at once or not at all."""
    (schema,) = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    if schema >= SCHEMA_VERSION:
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT OR REPLACE INTO spent " + COUNT_SPENT)
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (SCHEMA_VERSION,))


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None


def read_epoch(connection: sqlite3.Connection, path: Path) -> int:
    """The current epoch of the journal that `connection` has open.

    Raises:
        InputError: The file is no journal, or of a newer evalkit.
    """
    try:
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path} is not a journal: {error}") from None
    if not {"schema", "epoch"} <= set(meta):
        raise InputError(f"{path} is not a journal: it says neither schema nor epoch")
    if meta["schema"] > SCHEMA_VERSION:
        raise InputError(
            f"The journal {path} was written by a newer evalkit (schema {meta['schema']}; this "
            f"one reads up to {SCHEMA_VERSION}): update evalkit, or choose another folder"
        )
    return int(meta["epoch"])
