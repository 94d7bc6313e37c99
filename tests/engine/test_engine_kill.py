"""A run that is killed at random moments asks nothing twice that it had kept."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.local_server import LocalServer, Settings
from evalkit.engine.journal import BATCH, JournalReader
from evalkit.errors import InputError

HERE = Path(__file__).parent
NUMBER, CONCURRENCY = 600, 16

RUN = """
import asyncio, sys
import test_engine_faults
from engine_world import Collected
from evalkit.config.model_spec import parse_model_spec
from evalkit.engine.jobs import Job
from evalkit.engine.journal import Journal
from evalkit.models.registry import create_model

path, url, number, concurrency = sys.argv[1:]

async def main():
    spec = f"vllm/local-model?base_url={url}&concurrency={concurrency}&loglikelihood=off"
    model = create_model(parse_model_spec(spec))
    await model.open()
    task = test_engine_faults.ChatTask(int(number))
    with Journal(path) as journal:
        outcome = await Collected().run(journal, Job(model=model, load=lambda: task, name="t"))
    await model.close()
    print(outcome.jobs[0].statuses)

asyncio.run(main())
"""


def start(path: Path, url: str) -> subprocess.Popen:
    command = [sys.executable, "-c", RUN, str(path), url, str(NUMBER), str(CONCURRENCY)]
    environment = {"PYTHONPATH": f"{HERE}:{HERE.parents[1]}"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def kept(path: Path) -> int:
    try:
        with JournalReader(path) as reader:
            return reader.counts().responses
    except InputError:
        return 0  # killed before there was a journal


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_what_was_kept_is_not_asked_again(tmp_path, seed):
    draw, path = random.Random(seed), tmp_path / "j"
    with LocalServer(Settings(latency_s=0.005, jitter_s=0.005)) as server:
        asked_before = 0
        for _ in range(3):
            kept_before = kept(path)
            until = asked_before + draw.randrange(1, 150)
            run = start(path, server.base_url)
            while server.stats.received < until and run.poll() is None:
                time.sleep(0.001)
            run.kill()
            run.communicate()
            asked = server.stats.received - asked_before
            asked_before = server.stats.received
            lost = asked - (kept(path) - kept_before)
            assert 0 <= lost <= CONCURRENCY + BATCH
        missing = NUMBER - kept(path)
        said, _ = start(path, server.base_url).communicate(timeout=60)
        assert said == f"{{'ok': {NUMBER}}}\n"
        assert server.stats.received - asked_before == missing
        assert len(server.stats.bodies) == NUMBER
