"""What a run sends, computes, writes and does, in numbers that no machine's mood can change.

These are the deterministic side of docs/performance.md: a change that makes the engine send,
compute or do more than it does today fails here, on any machine.
"""

import cProfile
import json
import pstats
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import evalkit
from benchmarks.local_server import LocalServer
from benchmarks.sums import write_sums

CHOICES = """
task: letters
dataset_path: json
dataset_kwargs: {{data_files: {{train: {folder}/train.jsonl, test: {folder}/test.jsonl}}}}
training_split: train
test_split: test
fewshot_config: {{sampler: first_n}}
num_fewshot: {shots}
output_type: multiple_choice
doc_to_text: "Which is {{{{word}}}}? Answer:"
doc_to_target: "{{{{label}}}}"
doc_to_choice: {choices}
metric_list: [{{metric: acc}}]
metadata: {{version: 1}}
"""


def write_choices(folder, documents, *, shots=4, choices=("A", "B", "C", "D")):
    """A multiple-choice task of lm-eval, its worked examples the same for every document."""
    for name, count in (("train", shots), ("test", documents)):
        rows = [{"word": f"{name} {i}", "label": i % len(choices)} for i in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = CHOICES.format(folder=folder, shots=shots, choices=json.dumps(choices))
    (folder / "letters.yaml").write_text(text)
    return folder


class Counted:
    """One run at a local server, and what it took."""

    def __init__(self, folder, task, params="", **settings):
        with LocalServer() as server:
            spec = f"server/auto?base_url={server.base_url}{params}"
            # a run of nothing new tells what opening alone sends
            self.run = evalkit.evaluate(
                [spec], [task], include_path=[str(folder)], output=str(folder / "run"), **settings
            )
            self.received, self.bytes_in = server.stats.received, server.stats.bytes_in
            self.connections = server.stats.connections
            again = evalkit.evaluate(
                [spec], [task], include_path=[str(folder)], output=str(folder / "run"), **settings
            )
            self.probes = server.stats.received - self.received
            self.probe_bytes = server.stats.bytes_in - self.bytes_in
        assert again.state == self.run.state == "done"
        self.sent = self.received - self.probes
        self.sent_bytes = self.bytes_in - self.probe_bytes

    @property
    def prompts(self):
        """The text of every request of the run."""
        [model] = [entry["label"] for entry in self.run.manifest["models"]]
        [task] = self.run.manifest["tasks"]
        for sample in self.run.samples(task, model):
            for request in sample.requests:
                prompt = request.prompt
                yield prompt if isinstance(prompt, str) else prompt[-1].content


# --- what is sent


def test_a_chat_sample_is_one_request(tmp_path):
    counted = Counted(write_sums(tmp_path, 300), "sums", "&api=chat")
    assert counted.sent == 300


def test_opening_a_chat_server_sends_it_no_prompt(tmp_path):
    assert Counted(write_sums(tmp_path, 3), "sums", "&api=chat").probes == 0


def test_a_request_is_its_prompt_and_little_more(tmp_path):
    counted = Counted(write_sums(tmp_path, 300), "sums", "&api=chat")
    prompts = sum(len(prompt) for prompt in counted.prompts)
    assert counted.sent_bytes <= prompts + 300 * 330


def test_connections_are_those_in_flight(tmp_path):
    counted = Counted(write_sums(tmp_path, 300), "sums", "&api=chat", concurrency=8)
    assert counted.connections <= 8


def test_choices_of_one_token_are_one_request_a_document(tmp_path):
    counted = Counted(write_choices(tmp_path, 100), "letters")
    assert counted.run.manifest["engine"]["requests_sent"] == 400
    assert counted.sent == 100


def test_choices_of_several_tokens_are_one_request_a_document(tmp_path):
    choices = ("a red horse", "the blue sea", "one green tree", "no such thing")
    counted = Counted(write_choices(tmp_path, 100, choices=choices), "letters")
    assert counted.sent == 100


def test_opening_a_server_asks_it_five_times_at_most(tmp_path):
    assert Counted(write_choices(tmp_path, 2), "letters").probes <= 5


def test_answers_drawn_from_one_prompt_are_one_request(tmp_path):
    counted = Counted(write_sums(tmp_path, 40), "sums", "&api=chat", temperature=0.8, repeats=8)
    assert counted.run.manifest["engine"]["requests_sent"] == 320
    assert counted.sent == 40


def test_greedy_repeats_are_one_request(tmp_path):
    counted = Counted(write_sums(tmp_path, 40), "sums", "&api=chat", repeats=8)
    assert counted.sent == 40


# --- what is written


def test_an_answer_is_one_row_of_the_journal(tmp_path):
    Counted(write_sums(tmp_path, 300), "sums", "&api=chat")
    with closing(sqlite3.connect(tmp_path / "run" / "journal.sqlite")) as journal:
        assert journal.execute("SELECT count(*) FROM responses").fetchone() == (300,)
        assert journal.execute("SELECT answers FROM spent").fetchall() == [(300,)]


def test_a_sample_is_one_line(tmp_path):
    counted = Counted(write_sums(tmp_path, 300), "sums", "&api=chat")
    [file] = Path(counted.run.path, "samples").rglob("*.jsonl")
    lines = file.read_bytes().splitlines()
    prompts = sum(len(prompt) for prompt in counted.prompts)
    assert len(lines) == 300
    assert sum(map(len, lines)) <= prompts + 300 * 700


# --- what is computed


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.models import tiny_model

    return tiny_model.build(tmp_path_factory.mktemp("tiny"))


def computed(model_folder, tmp_path, **task):
    """Tokens that a model was asked, computed, could not do without, and had in its longest row."""
    from evalkit.config.model_spec import parse_model_spec
    from evalkit.models.hf import create

    class Watched:
        counts: tuple[int, int] = (0, 0)

    model = create(parse_model_spec(f"hf/{model_folder}?dtype=float32&device=cpu"))
    close, seen, rows = model.close, Watched(), set()

    async def watched_close():
        if model.replicas and seen.counts == (0, 0):
            [replica] = model.replicas
            scorer = replica.scorer
            seen.counts = scorer.tokens_asked, scorer.reader.tokens_computed
            seen.pair = replica.tokens.pair
        await close()

    model.close = watched_close
    model.name = "tiny"
    write_choices(tmp_path, **task)
    run = evalkit.evaluate(
        [model], ["letters"], include_path=[str(tmp_path)], limit=None, output=str(tmp_path / "run")
    )
    assert run.state == "done"
    for sample in run.samples("letters", "tiny"):
        for request in sample.requests:
            context, continuation = seen.pair(request.prompt, request.continuation)
            rows.add(tuple([*context, *continuation[:-1]]))
    unique = len({row[: end + 1] for row in rows for end in range(len(row))})
    return (*seen.counts, unique, max(map(len, rows)))


@pytest.mark.parametrize("choices", [("A", "B", "C", "D"), ("the sea shore", "the river", "a dog")])
def test_a_token_that_prompts_share_is_computed_once(folder, tmp_path, choices):
    asked, done, unique, longest = computed(
        folder, tmp_path, documents=40, shots=3, choices=choices
    )
    # the very first sample leaves alone, before anything is known to be shared with it
    assert unique <= done <= unique + longest
    assert done < asked / 3


# --- what is done


def calls_for(samples, tmp_path):
    """Calls of Python functions in the event loop's thread for a run of so many samples.

    Built-in ones are left out: CPython reports some of them or not, as it has specialised the code.
    """
    folder = write_sums(tmp_path / str(samples), samples)
    profile = cProfile.Profile()
    with LocalServer() as server:
        spec = f"server/auto?base_url={server.base_url}&api=chat"
        profile.enable()
        evalkit.evaluate(
            [spec], ["sums"], include_path=[str(folder)], output=str(folder / "run"), concurrency=16
        )
        profile.disable()
    functions = pstats.Stats(profile).stats.items()
    return sum(calls for (file, _, _), (_, calls, *_) in functions if file != "~")


def test_a_sample_takes_a_bounded_number_of_function_calls(tmp_path):
    calls_for(10, tmp_path)  # what a first run imports and compiles is not a sample's
    few, many = (calls_for(number, tmp_path) for number in (200, 1200))
    assert (many - few) / 1000 <= MOST_CALLS


#: A fifth more than the 365 to 368 that were counted when this was written (Python 3.11).
MOST_CALLS = 440
