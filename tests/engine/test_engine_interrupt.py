import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evalkit.engine.journal import JournalReader

HERE = Path(__file__).parent

# A run in a process of its own; its model answers 10 questions and then takes its time.
RUN = """
import asyncio, json, sys
from engine_world import Collected, SmallModel, SmallTask, upper
from evalkit.engine.jobs import Job
from evalkit.engine.journal import Journal
from evalkit.engine.progress import SilentProgress
from evalkit.engine.settings import EngineSettings

path, slow_s, grace_s = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
answered = 0

async def pause():
    global answered
    answered += 1
    if answered == 11:
        print("slow now", flush=True)
    if answered > 10:
        await asyncio.sleep(slow_s)

class Notes(SilentProgress):
    def note(self, text):
        print("note", text, flush=True)

async def main():
    with Journal(path) as journal:
        jobs = [Job(model=SmallModel(pause=pause, concurrency=2), load=lambda: SmallTask(500),
                    name="t")]
        settings = EngineSettings(grace_s=grace_s)
        outcome = await Collected().run(journal, *jobs, settings=settings, observer=Notes())
    print(json.dumps([outcome.interrupted, outcome.stopped, outcome.jobs[0].complete]))

asyncio.run(main())
"""


class Running:
    def __init__(self, path: Path, slow_s: float, grace_s: float) -> None:
        command = [sys.executable, "-c", RUN, str(path), str(slow_s), str(grace_s)]
        paths = f"{HERE}:{HERE.parents[1]}"
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": paths}
        )
        assert self.process.stdout.readline() == "slow now\n"
        self.began = time.monotonic()

    def interrupt(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[list, float]:
        said, _ = self.process.communicate(timeout=30)
        return json.loads(said.splitlines()[-1]), time.monotonic() - self.began


def kept(path: Path) -> int:
    with JournalReader(path) as reader:
        return reader.counts().responses


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_what_is_in_flight_finish(tmp_path, number):
    running = Running(tmp_path / "j", 0.3, 10)
    running.interrupt(number)
    outcome, _ = running.end()
    assert outcome == [True, "interrupted", False]
    assert kept(tmp_path / "j") in (11, 12)  # the slow ones of two calls in flight


def test_what_takes_longer_than_the_grace_is_given_up(tmp_path):
    running = Running(tmp_path / "j", 60, 0.2)
    running.interrupt()
    outcome, seconds = running.end()
    assert outcome[0]
    assert seconds < 10
    assert kept(tmp_path / "j") == 10


def test_the_second_signal_ends_it_at_once_and_keeps_what_was_answered(tmp_path):
    running = Running(tmp_path / "j", 60, 60)
    running.interrupt()
    assert "Ctrl-C again" in running.process.stdout.readline()
    running.interrupt()
    outcome, seconds = running.end()
    assert outcome[0]
    assert seconds < 10
    assert kept(tmp_path / "j") == 10
