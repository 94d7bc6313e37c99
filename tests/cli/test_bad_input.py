"""Bad input: one clear sentence, exit code 2, and nothing sent."""

import json

import pytest
from command import evalkit, sums

from benchmarks.local_server import LocalServer

#: What opening a server asks it: whether, and how, it gives log-probabilities.
PROBES = 5


@pytest.fixture(scope="module")
def server():
    with LocalServer() as running:
        yield running


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return sums(tmp_path_factory.mktemp("tasks"), 20)


def refused(ended, *words):
    """The sentence that a command ended with, which must be one line that holds `words`."""
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    sentence = ended.stderr.strip()
    assert len(sentence.splitlines()) == 1, sentence
    for word in words:
        assert word in sentence, sentence
    return sentence


def run(server, tasks, *args, samples=0, **env):
    model = f"server/auto?base_url={server.base_url}"
    before = server.stats.received
    ended = evalkit("run", "-m", model, "-t", "sums", "--include-path", tasks, *args, **env)
    assert server.stats.received - before <= PROBES + samples, "more than the probes was sent"
    return ended


def test_an_unknown_task_offers_the_nearest(server, tasks):
    refused(run(server, tasks, "-t", "arc_eazy"), "'arc_eazy'", "arc_easy")


def test_an_unknown_suite_offers_the_nearest(server, tasks):
    refused(run(server, tasks, "-s", "quik"), "'quik'", "'quick'")


def test_an_unknown_provider_offers_the_nearest(server, tasks):
    refused(run(server, tasks, "-m", "opnai/gpt-4o"), "'opnai'", "'openai'")


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_missing_key_is_named(server, tasks, provider):
    refused(run(server, tasks, "-m", f"{provider}/some"), f"{provider.upper()}_API_KEY")


def test_an_unreachable_server_is_named(server, tasks):
    url = "http://127.0.0.1:9/v1"
    refused(run(server, tasks, "-m", f"server/some?base_url={url}"), url)


def test_a_model_that_the_server_lacks_is_named_with_those_it_has(server, tasks):
    refused(run(server, tasks, "-m", f"server/some?base_url={server.base_url}"), "local-model")


def test_a_data_set_that_is_missing_offline_is_named_with_what_gets_it(server, tasks, tmp_path):
    ended = run(server, tasks, "-t", "hellaswag", "--offline", HF_HOME=str(tmp_path))
    refused(ended, "Rowan/hellaswag", "evalkit data pull")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models: [scripted/echo]\ntasks: [sums]\nlimmit: 3\n", ["run.yaml:3", "limmit", "limit"]),
        ("models: [scripted/echo]\ntasks: {\n", ["run.yaml:", "YAML"]),
        ("models: [scripted/echo]\ntasks: [sums]\nseed: soon\n", ["run.yaml:3", "seed"]),
        ("models:\n  - modle: scripted/echo\n", ["run.yaml:2", "modle", "model"]),
        ("seed: 1\nseed: 2\n", ["run.yaml:2", "seed"]),
    ],
)
def test_a_malformed_config_is_refused_by_file_line_and_key(tmp_path, text, words):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    refused(evalkit("run", path), *words)


def test_a_config_that_is_not_there_is_named(tmp_path):
    refused(evalkit("run", tmp_path / "none.yaml"), "none.yaml")


@pytest.mark.parametrize("limit", ["0", "-1", "2.5", "many", "nan"])
def test_a_senseless_limit_is_refused(server, tasks, limit):
    refused(run(server, tasks, "--limit", limit), "limit", limit)


def test_the_folder_of_another_run_is_refused(server, tasks, tmp_path):
    assert run(server, tasks, "--limit", "1", "--output", tmp_path / "o", samples=1).returncode == 0
    refused(run(server, tasks, "--limit", "2", "--output", tmp_path / "o"), "limit is 1 there")


def test_a_folder_with_other_things_is_refused(server, tasks, tmp_path):
    (tmp_path / "thesis.tex").write_text("all of it")
    refused(run(server, tasks, "--output", tmp_path), str(tmp_path))


def test_an_estimate_above_the_cost_limit_is_refused(server, tasks, tmp_path):
    model = f"server/auto?base_url={server.base_url}"
    config = tmp_path / "dear.yaml"
    config.write_text(
        f"models:\n  - {{model: '{model}', input_price: 1000, output_price: 1000}}\n"
        f"tasks: [sums]\ninclude_path: [{tasks}]\nmax_cost: 0.01\n"
    )
    before = server.stats.received
    refused(evalkit("run", config, "--output", tmp_path / "o"), "--max-cost 0.01", "$")
    assert server.stats.received - before <= PROBES
    assert not (tmp_path / "o").exists()


def test_an_unknown_flag_is_refused():
    assert evalkit("run", "--bogus").returncode == 2


def test_a_program_gets_the_sentence_as_json():
    ended = evalkit("run", "-m", "opnai/gpt-4o", "-t", "sums", "--json")
    told = json.loads(ended.stdout)
    assert ended.returncode == 2
    assert told["error"] == "UnknownNameError"
