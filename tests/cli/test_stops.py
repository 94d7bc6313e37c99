"""A run that stops midway says why, and goes on later."""

import json
import signal
import threading

from command import evalkit, scores, start, sums

from benchmarks.answers import Answer
from benchmarks.local_server import LocalServer
from benchmarks.server_settings import Settings


class Turnstile:
    """Answers that end, in 401s or in silence, after so many."""

    def __init__(self, open_for):
        self.open_for, self.asked = open_for, 0
        self.reached = threading.Event()

    def __call__(self, ask):
        self.asked += 1
        if self.asked >= self.open_for:
            self.reached.set()
        return "5" if self.asked <= self.open_for else Answer(status=401)


def run_command(server, tmp_path):
    model = f"server/auto?base_url={server.base_url}&api=chat"
    command = ["run", "-m", model, "-t", "sums", "--include-path", tmp_path / "tasks"]
    return [*command, "--concurrency", "4", "--output", tmp_path / "out"]


def test_a_key_that_is_taken_away_stops_the_run_which_goes_on_later(tmp_path):
    sums(tmp_path / "tasks", 60)
    gate = Turnstile(30)
    with LocalServer(Settings(answer=gate)) as server:
        command = run_command(server, tmp_path)
        stopped = evalkit(*command)
        gate.open_for, before = 10_000, gate.asked
        again = evalkit("resume", tmp_path / "out")
    assert stopped.returncode == 3
    assert "401" in stopped.stdout
    assert "evalkit resume" in stopped.stdout
    assert again.returncode == 0, again.stderr
    assert gate.asked - before == 30
    assert scores(tmp_path / "out")[0]["n"] == 60
    sessions = json.loads((tmp_path / "out" / "manifest.json").read_text())["sessions"]
    assert [session["state"] for session in sessions] == ["stopped", "done"]


def test_an_interrupted_run_ends_with_130_and_goes_on_later(tmp_path):
    sums(tmp_path / "tasks", 200)
    gate = Turnstile(20)
    gate_settings = Settings(answer=lambda ask: gate(ask) and "5", latency_s=0.05)
    with LocalServer(gate_settings) as server:
        process = start(*run_command(server, tmp_path))
        assert gate.reached.wait(60)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        again = evalkit("resume", tmp_path / "out")
    assert again.returncode == 0, again.stderr
    assert gate.asked == 200, "an answer was asked for twice"
    assert scores(tmp_path / "out")[0]["n"] == 200
