"""What runs first inside the sandbox: gives up rights, sets limits, runs the program.

Its source is handed to the sandbox's Python as text, so it imports the standard library alone.
The job comes as JSON on standard input. On the pipe `report` it writes `started`, and after the
program's last statement the job's secret word: only then did the program run to its end.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import types
from typing import Any


def main() -> None:
    """Run the job that stands on standard input."""
    job = json.loads(sys.stdin.buffer.read())
    empty_stdin()
    become(job["uid"])
    limit(job["limits"])
    secret, report = job.pop("secret").encode(), job.pop("report")
    os.write(report, b"started ")
    run(job.pop("program"))
    flush()
    os.write(report, secret)
    os._exit(0)  # not the end of the interpreter: threads of the program would hold it up


def empty_stdin() -> None:
    """Take the job's text out of reach: what reads standard input finds nothing."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 it lives as long as the process


def become(uid: int | None) -> None:
    """Become the user `uid` for good; None where the sandbox has a user namespace of its own."""
    if uid is None:
        return
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def limit(limits: dict[str, int]) -> None:
    """Set the limits, named as in `resource`, so that they cannot be raised again."""
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value))


def run(program: str) -> None:
    """Run the program as a module that is not `__main__`, as the field's test programs expect."""
    sys.argv, sys.path = ["answer"], [place for place in sys.path if place]
    module: Any = types.ModuleType("answer")
    sys.modules["answer"] = module
    exec(compile(program, "<answer>", "exec"), module.__dict__)  # noqa: S102 that is its purpose


def flush() -> None:
    """Write out what was printed; a program may have closed or replaced the streams."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception as error:
            os.write(2, f"a stream could not be flushed: {error!r}\n".encode())


if __name__ == "__main__":
    main()
