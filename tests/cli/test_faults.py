"""A server that fails in every way it can: the run ends by itself, and scores as a calm one."""

import json

import pytest
from command import evalkit, scores, sums

from benchmarks.faults import Faults
from benchmarks.local_server import LocalServer
from benchmarks.server_settings import Settings

FAULTS = Faults(
    rate_limited=0.10, server_error=0.05, dropped=0.02, hanging=0.01, malformed=0.01, seed=5
)


def run(tmp_path, name, server, setting="deadline_s: 1.0"):
    model = f"server/auto?base_url={server.base_url}&api=chat"
    config = tmp_path / f"{name}.yaml"
    config.write_text(
        f"models: ['{model}']\ntasks: [sums]\ninclude_path: [{tmp_path / 'tasks'}]\n{setting}\n"
    )
    return evalkit("run", config, "--output", tmp_path / name)


@pytest.mark.slow
def test_faults_cost_no_sample_and_change_no_score(tmp_path):
    sums(tmp_path / "tasks", 1000)
    with LocalServer(Settings()) as calm:
        assert run(tmp_path, "calm", calm).returncode == 0
    with LocalServer(Settings(faults=FAULTS)) as wild:
        ended = run(tmp_path, "wild", wild)
    assert ended.returncode == 0, ended.stderr
    told = json.loads((tmp_path / "wild" / "manifest.json").read_text())["engine"]
    without_model = [{**row, "model": ""} for row in scores(tmp_path / "wild")]
    assert without_model == [{**row, "model": ""} for row in scores(tmp_path / "calm")]
    # a busy machine adds time-outs of its own; all else is the server's doing alone
    failed = told["failed_attempts"]
    assert failed.pop("timeout") >= wild.stats.faults.pop("hanging") > 0
    assert failed == wild.stats.faults
    assert sum(failed.values()) > 100
    assert "Failed attempts" in ended.stdout


def test_samples_that_stay_lost_are_named_and_make_the_result_invalid(tmp_path):
    sums(tmp_path / "tasks", 40)
    always = Faults(server_error=0.3, seed=1, max_per_body=1000)
    with LocalServer(Settings(faults=always)) as broken:
        ended = run(tmp_path, "out", broken, "max_attempts: 1")
    (row,) = scores(tmp_path / "out")
    assert ended.returncode == 1
    assert row["failed"] > 0
    assert row["n"] == row["total"] - row["failed"]
    assert row["valid"] is False
    assert "INVALID" in ended.stdout
    assert "500" in ended.stdout


def test_running_again_asks_only_for_what_was_lost(tmp_path):
    sums(tmp_path / "tasks", 40)
    broken = Faults(server_error=0.3, seed=1, max_per_body=1)
    with LocalServer(Settings(faults=broken)) as server:
        first = run(tmp_path, "out", server, "max_attempts: 1")
        (row,) = scores(tmp_path / "out")
        before = server.stats.received
        second = evalkit("resume", tmp_path / "out")
    (again,) = scores(tmp_path / "out")
    assert (first.returncode, second.returncode) == (1, 0)
    assert server.stats.received - before == row["failed"] > 0
    assert (again["n"], again["valid"]) == (40, True)
