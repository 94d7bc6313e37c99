"""One command, three providers, one run folder, one table."""

import json

import pytest
from command import evalkit, scores, sums

from benchmarks.local_server import LocalServer
from evalkit.errors import EvalkitError
from evalkit.models.embedded import embedded_model_path


@pytest.fixture(scope="module")
def embedded():
    pytest.importorskip("xllamacpp", reason="the embedded model needs evalkit[local]")
    try:
        return embedded_model_path()
    except EvalkitError as error:
        pytest.skip(f"the embedded model cannot be fetched: {error}")


@pytest.mark.model
@pytest.mark.slow
def test_embedded_server_and_anthropic_models_share_a_run_and_a_table(tmp_path, embedded):
    sums(tmp_path / "tasks", 3)
    with LocalServer() as server:
        ended = evalkit(
            *("run", "-m", "llamacpp/smollm2-135m-instruct?n_ctx=2048"),
            *("-m", f"server/auto?base_url={server.base_url}&api=chat"),
            *("-m", f"anthropic/claude-3-5-sonnet-latest?base_url={server.origin}"),
            *("-t", "sums", "--include-path", tmp_path / "tasks", "--output", tmp_path / "run"),
            ANTHROPIC_API_KEY="of no worth",
        )
    assert ended.returncode == 0, ended.stderr
    labels = ["anthropic/claude-3-5-sonnet-latest", "llamacpp/smollm2-135m-instruct", "server/auto"]
    assert [row["model"] for row in scores(tmp_path / "run")] == labels
    assert all(row["n"] == 3 for row in scores(tmp_path / "run"))
    assert all(label in ended.stdout for label in labels)
    assert len(list((tmp_path / "run" / "samples").iterdir())) == 3


def test_a_key_stands_in_no_file_of_the_run(tmp_path):
    sums(tmp_path / "tasks", 3)
    key = "sk-ant-a-secret-that-nobody-may-see"
    with LocalServer() as server:
        ended = evalkit(
            *("run", "-m", f"anthropic/claude-3-5-sonnet-latest?base_url={server.origin}"),
            *("-t", "sums", "--include-path", tmp_path / "tasks", "--output", tmp_path / "run"),
            *("--log-level", "debug"),
            ANTHROPIC_API_KEY=key,
        )
    assert ended.returncode == 0, ended.stderr
    assert key not in ended.stdout + ended.stderr
    for path in (tmp_path / "run").rglob("*"):
        assert path.is_dir() or key.encode() not in path.read_bytes(), path


def test_no_cache_asks_again_and_the_plan_counts_what_is_held(tmp_path):
    sums(tmp_path / "tasks", 6)
    with LocalServer() as server:
        command = ["run", "-m", f"server/auto?base_url={server.base_url}&api=chat", "-t", "sums"]
        command += ["--include-path", tmp_path / "tasks", "--output", tmp_path / "run"]
        assert evalkit(*command).returncode == 0
        first = server.stats.received
        (plan,) = json.loads(evalkit(*command, "--dry-run", "--json").stdout)["plan"]
        assert evalkit(*command).returncode == 0
        assert server.stats.received == first, "what is held was asked again"
        assert evalkit(*command, "--no-cache").returncode == 0
    assert (plan["requests"], plan["journaled"]) == (6, 6)
    assert server.stats.received == 2 * first
