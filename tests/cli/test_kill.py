"""A run that is killed again and again loses nothing that was journaled."""

import contextlib
import random
import sqlite3
import threading
import time

import msgspec
import pytest
from command import evalkit, scores, start, sums

from benchmarks.answers import text_hash
from benchmarks.local_server import LocalServer
from benchmarks.server_settings import Settings
from evalkit.engine.journal import BATCH

SAMPLES, KILLS, CONCURRENCY = 2000, 20, 32


class Served:
    """Answers that only the prompt decides, noted in the order they were asked for."""

    def __init__(self):
        self.asked = []
        self.reached = threading.Condition()

    def __call__(self, ask):
        answer = text_hash(ask)
        # half of the answers are numbers, so that scores are not all alike
        text = f"{answer} so {int(answer, 16) % 30000}"
        with self.reached:
            self.asked.append(text)
            self.reached.notify_all()
        return text

    def wait_for(self, count):
        with self.reached:
            assert self.reached.wait_for(lambda: len(self.asked) >= count, timeout=60)


def journaled(folder):
    path = folder / "journal.sqlite"
    if not path.exists():
        return set()
    with contextlib.closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT payload FROM responses").fetchall()
    return {msgspec.json.decode(payload)["text"] for (payload,) in rows}


@pytest.mark.slow
def test_twenty_kills_lose_nothing_journaled_and_change_no_score(tmp_path):
    tasks = sums(tmp_path / "tasks", SAMPLES)
    served = Served()
    draw = random.Random(20)
    moments = sorted(draw.sample(range(20, SAMPLES - 100), KILLS))
    with LocalServer(Settings(answer=served, latency_s=0.02, jitter_s=0.02)) as server:
        model = f"server/auto?base_url={server.base_url}&api=chat"
        command = ["run", "-m", model, "-t", "sums", "--include-path", tasks]
        command += ["--concurrency", CONCURRENCY, "--output"]
        held = set()
        for moment in moments:
            process = start(*command, tmp_path / "killed")
            missing = max(0, moment - len(held))
            before = len(served.asked)
            served.wait_for(before + max(1, missing))
            process.kill()
            process.wait()
            settle(server)
            sent = served.asked[before:]
            assert not held & set(sent), "a journaled request was sent again"
            now = journaled(tmp_path / "killed")
            assert held <= now, "a journaled answer is gone"
            lost = set(sent) - now
            assert len(lost) <= CONCURRENCY + BATCH
            held = now
        before = len(served.asked)
        last = evalkit("resume", tmp_path / "killed", "--concurrency", CONCURRENCY)
        assert last.returncode == 0, last.stderr
        assert not held & set(served.asked[before:])
        undisturbed = evalkit(*command, tmp_path / "calm")
        assert undisturbed.returncode == 0, undisturbed.stderr
    assert scores(tmp_path / "killed") == scores(tmp_path / "calm")
    assert scores(tmp_path / "calm")[0]["n"] == SAMPLES


def settle(server):
    """Wait until the server has noticed that its client is gone."""
    deadline = time.monotonic() + 10
    while server.stats.in_flight and time.monotonic() < deadline:
        time.sleep(0.005)
