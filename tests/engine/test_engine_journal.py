import contextlib
import json
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.engine.journal import BATCH, Journal, JournalReader, response_key
from evalkit.errors import InputError, StoppedError
from evalkit.records import Message, Request, Response, Sampling, ToolCall, Usage

ROOT = Path(__file__).parents[2]


def key_of(number: int) -> str:
    return response_key({"name": "m"}, Request(kind="generate", prompt=str(number)))


def rows_of(path: Path, query: str) -> list:
    """What any SQLite client reads."""
    with contextlib.closing(sqlite3.connect(path)) as raw:
        return raw.execute(query).fetchall()


def child(program: str, *arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


# --- keys


def greedy(prompt: str, repeat: int, **sampling: object) -> Request:
    return Request(kind="generate", prompt=prompt, repeat=repeat, sampling=Sampling(**sampling))


def test_greedy_repeats_share_a_key():
    assert response_key({}, greedy("p", 0)) == response_key({}, greedy("p", 3))


@pytest.mark.parametrize("temperature", [0.7, None])
def test_drawn_repeats_have_keys_of_their_own(temperature):
    first, second = (greedy("p", repeat, temperature=temperature) for repeat in (0, 1))
    assert response_key({}, first) != response_key({}, second)


def test_log_likelihoods_have_no_repeats():
    requests = [
        Request(
            kind="loglikelihood",
            prompt="p",
            continuation=" c",
            repeat=repeat,
            sampling=Sampling(temperature=1.0),
        )
        for repeat in (0, 1)
    ]
    assert response_key({}, requests[0]) == response_key({}, requests[1])


def test_another_model_is_another_key():
    request = Request(kind="generate", prompt="p")
    assert response_key({"name": "a"}, request) != response_key({"name": "b"}, request)


# --- keeping and finding


def test_an_answer_is_found_before_it_is_committed(journal):
    journal.put("k", Response(text="yes"))
    assert journal.get("k") == Response(text="yes")


def test_an_answer_is_found_after_reopening(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.put("k", Response(text="yes", usage=Usage(input_tokens=3)))
    with Journal(tmp_path / "j") as journal:
        assert journal.get("k") == Response(text="yes", usage=Usage(input_tokens=3))


def test_what_was_not_put_is_not_found(journal):
    assert journal.get("k") is None


@pytest.mark.parametrize("status", ["ok", "truncated", "refused", "filtered"])
def test_answers_of_a_model_are_kept(journal, status):
    journal.put("k", Response(status=status))
    journal.flush()
    assert journal.get("k").status == status


@pytest.mark.parametrize("status", ["error", "unparsed", "unscored"])
def test_errors_are_never_answers(journal, status):
    with pytest.raises(ValueError, match="not an answer"):
        journal.put("k", Response(status=status))


def test_it_counts_which_keys_are_answered(journal):
    for number in range(300):
        journal.put(key_of(number), Response())
    assert journal.holds(key_of(number) for number in range(200, 400)) == 100


def test_counts_tell_answers_and_failures(journal):
    journal.put("k", Response())
    journal.put_failure("k", model="m", attempt=1, kind="timeout", message="late")
    journal.flush()
    counts = journal.counts()
    assert (counts.responses, counts.failures) == (1, 1)


def test_tokens_are_added_up_by_model(journal):
    for number in range(3):
        journal.put(str(number), Response(usage=Usage(input_tokens=2)), model=f"m{number % 2}")
    journal.flush()
    assert journal.usage() == {"m0": Usage(input_tokens=4), "m1": Usage(input_tokens=2)}


def test_failures_are_counted_by_model_and_kind_after_a_restart(tmp_path):
    with Journal(tmp_path / "j") as journal:
        for attempt in (1, 2):
            journal.put_failure("k", model="m", attempt=attempt, kind="dropped", message="x")
    with Journal(tmp_path / "j") as journal:
        assert journal.failure_counts() == {"m": {"dropped": 2}}


def test_the_file_reads_without_evalkit(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.put("k", Response(text="héllo"), model="m")
    [(key, model, payload)] = rows_of(tmp_path / "j", "SELECT key, model, payload FROM responses")
    assert (key, model, json.loads(payload)["text"]) == ("k", "m", "héllo")


texts = st.text(max_size=40)
responses = st.builds(
    Response,
    status=st.sampled_from(["ok", "truncated", "refused", "filtered"]),
    text=texts,
    reasoning=texts,
    tool_calls=st.lists(st.builds(ToolCall, name=texts, arguments=texts), max_size=2).map(tuple),
    logprob=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    greedy=st.none() | st.booleans(),
    latency_s=st.floats(0, 1e6),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(responses, min_size=1, max_size=5))
def test_every_answer_comes_back_as_it_was(tmp_path_factory, answers):
    path = tmp_path_factory.mktemp("journal") / "j"
    with Journal(path) as journal:
        for number, answer in enumerate(answers):
            journal.put(str(number), answer)
    with JournalReader(path) as journal:
        assert [journal.get(str(number)) for number in range(len(answers))] == answers


def test_messages_and_raw_text_are_told_apart():
    chat = Request(kind="generate", prompt=(Message(role="user", content="p"),))
    assert response_key({}, chat) != response_key({}, Request(kind="generate", prompt="p"))


# --- epochs


def test_a_new_epoch_reads_no_earlier_answer(journal):
    journal.put("k", Response(text="old"))
    journal.new_epoch()
    assert journal.get("k") is None


def test_a_new_epoch_keeps_earlier_answers_in_the_file(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.put("k", Response(text="old"))
        journal.new_epoch()
        journal.put("k", Response(text="new"))
        assert journal.get("k").text == "new"
    epochs = rows_of(tmp_path / "j", "SELECT epoch FROM responses ORDER BY 1")
    assert epochs == [(1,), (2,)]


def test_an_epoch_outlives_the_process(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.new_epoch()
        journal.put("k", Response(text="new"))
    with Journal(tmp_path / "j") as journal:
        assert (journal.epoch, journal.get("k").text) == (2, "new")


# --- files that are something else


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "j").write_text("not a database, but long enough to look like something\n" * 40)
    with pytest.raises(InputError, match="is not a journal"):
        Journal(tmp_path / "j")


def test_another_database_is_no_journal(tmp_path):
    with sqlite3.connect(tmp_path / "j") as other:
        other.execute("CREATE TABLE songs (title TEXT)")
    other.close()
    with pytest.raises(InputError, match="is not a journal"):
        Journal(tmp_path / "j")


def test_a_newer_journal_asks_for_a_newer_evalkit(tmp_path):
    Journal(tmp_path / "j").close()
    with sqlite3.connect(tmp_path / "j") as raw:
        raw.execute("UPDATE meta SET value = 99 WHERE key = 'schema'")
    raw.close()
    with pytest.raises(InputError, match="newer evalkit"):
        Journal(tmp_path / "j")


def test_a_refused_file_is_free_again(tmp_path):
    (tmp_path / "j").write_text("x" * 2000)
    with pytest.raises(InputError):
        Journal(tmp_path / "j")
    (tmp_path / "j").unlink()
    Journal(tmp_path / "j").close()


def test_a_folder_that_is_not_there_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        Journal(tmp_path / "nowhere" / "j")


def test_reading_a_journal_that_is_not_there_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no journal"):
        JournalReader(tmp_path / "j")


# --- several processes

HOLD = """
import sys
from evalkit.engine.journal import Journal
from evalkit.records import Response
journal = Journal(sys.argv[1])
journal.put("theirs", Response(text="yes"))
journal.flush()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "j")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout.readline() == "ready\n"
        yield tmp_path / "j", other
        if other.poll() is None:
            other.kill()


def test_a_second_writer_is_refused(held):
    path, _ = held
    with pytest.raises(InputError, match="another process"):
        Journal(path)


def test_a_reader_sees_what_a_running_process_committed(held):
    path, _ = held
    with JournalReader(path) as reader:
        assert reader.get("theirs").text == "yes"


def test_the_journal_of_a_killed_process_can_be_written(held):
    path, other = held
    other.kill()
    other.wait()
    with Journal(path) as journal:
        assert journal.get("theirs").text == "yes"


def test_a_second_writer_of_the_same_process_is_refused(journal):
    with pytest.raises(InputError, match="another process"):
        Journal(journal.path)


WRITE = """
import sys
from evalkit.engine.journal import Journal
from evalkit.records import Response
journal = Journal(sys.argv[1])
start = journal.counts().responses
number = start
while True:
    journal.put(str(number), Response(text="x" * 200, latency_s=float(number)))
    number += 1
    if number % 50 == 0:
        print(number, flush=True)
"""


@pytest.mark.parametrize("seed", range(5))
def test_a_kill_loses_at_most_one_batch_and_corrupts_nothing(tmp_path, seed):
    draw = random.Random(seed)
    writer = child(WRITE, tmp_path / "j")
    lines = draw.randrange(1, 120)
    put = 0
    for _ in range(lines):
        put = int(writer.stdout.readline())
    time.sleep(draw.uniform(0, 0.02))  # anywhere within a commit
    writer.kill()
    put = max([put, *map(int, writer.stdout.read().split("\n")[:-1])])
    writer.wait()
    writer.stdout.close()
    with Journal(tmp_path / "j") as journal:
        kept = journal.counts().responses
        assert put - kept <= BATCH
        assert all(journal.get(str(n)).latency_s == n for n in range(kept))
        assert journal._reading.execute("PRAGMA integrity_check").fetchone() == ("ok",)


FILL = """
import resource, sys
from evalkit.engine.journal import Journal
from evalkit.errors import StoppedError
from evalkit.records import Response
journal = Journal(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
kept = 0
try:
    for number in range(1_000_000):
        journal.put(str(number), Response(text="x" * 1000))
        kept = number
except StoppedError as error:
    print(kept, error)
"""


def test_a_full_disk_stops_the_run_promptly(tmp_path):
    with child(FILL, tmp_path / "j") as filler:
        said, _ = filler.communicate(timeout=60)
    put, _, message = said.partition(" ")
    assert "cannot be written any more" in message
    with JournalReader(tmp_path / "j") as journal:
        assert int(put) - journal.counts().responses <= 2 * BATCH


def test_a_stopped_journal_says_so_at_every_flush(tmp_path):
    journal = Journal(tmp_path / "j")
    journal._writing.execute("PRAGMA max_page_count = 1")
    journal.put("k", Response(text="x" * 100_000))
    with pytest.raises(StoppedError):
        journal.flush()
    with pytest.raises(StoppedError):
        journal.close()


def test_never_more_than_a_batch_waits(journal):
    worst = 0
    for number in range(5000):
        journal.put(str(number), Response())
        worst = max(worst, len(journal._unsaved))
    assert worst <= BATCH


def test_closing_twice_is_harmless(tmp_path):
    journal = Journal(tmp_path / "j")
    journal.close()
    journal.close()


def test_closing_leaves_one_file(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.put("k", Response())
    assert [path.name for path in tmp_path.iterdir()] == ["j"]


def test_payloads_are_small(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.put("k", Response())
    [(payload,)] = rows_of(tmp_path / "j", "SELECT payload FROM responses")
    assert msgspec.json.decode(payload) == {}


# --- what was spent


def spend(journal, number, model="m"):
    usage = Usage(input_tokens=10, output_tokens=number, reasoning_tokens=1)
    journal.put(f"{model}-{number}", Response(text="a", usage=usage), model=model)


def as_schema_1(path):
    """The file as evalkit wrote it before it kept sums."""
    with contextlib.closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("DROP TABLE spent")
        raw.execute("UPDATE meta SET value = 1 WHERE key = 'schema'")


def test_what_was_spent_is_known_without_reading_an_answer(tmp_path):
    with Journal(tmp_path / "j") as journal:
        for number in range(600):
            spend(journal, number, model="ab"[number % 2])
    with contextlib.closing(sqlite3.connect(tmp_path / "j")) as raw, raw:
        raw.execute("UPDATE responses SET payload = 'unreadable'")
    with JournalReader(tmp_path / "j") as journal:
        assert journal.usage() == {
            "a": Usage(input_tokens=3000, output_tokens=89_700, reasoning_tokens=300),
            "b": Usage(input_tokens=3000, output_tokens=90_000, reasoning_tokens=300),
        }


def test_a_file_without_sums_is_summed_up_once_it_is_written_again(tmp_path):
    with Journal(tmp_path / "j") as journal:
        spend(journal, 3)
    as_schema_1(tmp_path / "j")
    with Journal(tmp_path / "j") as journal:
        spend(journal, 4)
        journal.flush()
        assert journal.usage()["m"].output_tokens == 7


def test_a_file_without_sums_can_be_read(tmp_path):
    with Journal(tmp_path / "j") as journal:
        spend(journal, 3)
    as_schema_1(tmp_path / "j")
    with JournalReader(tmp_path / "j") as journal:
        assert journal.usage()["m"].output_tokens == 3


def test_a_new_epoch_has_spent_nothing(tmp_path):
    with Journal(tmp_path / "j") as journal:
        spend(journal, 3)
        journal.new_epoch()
        assert journal.usage() == {}
