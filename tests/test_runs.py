import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import InputError, UnknownNameError
from evalkit.records import Request, Response, Sample, Score, Usage
from evalkit.runs import (
    SampleWriter,
    ScoreRow,
    Scores,
    folder_name,
    load_run,
    read_samples,
    read_scores_of,
    write_json,
)


def write(writer, index, status="ok"):
    sample = Sample(id=str(index), index=index, doc={}, target="t")
    request = Request(kind="generate", prompt=f"question {index}")
    response = Response(text="ä\u2028answer", usage=Usage(input_tokens=3, output_tokens=2))
    writer.write(sample, [request], [response], Score(status=status, values={"acc": index % 2}))


def test_samples_lie_in_the_tasks_order_whatever_order_they_finished_in(tmp_path):
    writer = SampleWriter(tmp_path / "t.jsonl")
    for index in (3, 0, 2, 1):
        write(writer, index)
    path = writer.finish()
    assert [line.index for line in read_samples(path)] == [0, 1, 2, 3]


def test_a_line_holds_what_was_sent_and_what_came_back(tmp_path):
    writer = SampleWriter(tmp_path / "t.jsonl")
    write(writer, 7)
    (line,) = read_samples(writer.finish())
    assert line.requests[0].prompt == "question 7"
    assert line.responses[0].text == "ä\u2028answer"
    assert line.usage == Usage(input_tokens=3, output_tokens=2)


def test_scores_are_read_without_prompts(tmp_path):
    writer = SampleWriter(tmp_path / "t.jsonl")
    write(writer, 1, status="unparsed")
    (score,) = read_scores_of(writer.finish())
    assert (score.status, score.values) == ("unparsed", {"acc": 1})


def test_abandoned_samples_leave_nothing(tmp_path):
    writer = SampleWriter(tmp_path / "t.jsonl")
    write(writer, 0)
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


@given(st.text(max_size=300))
def test_any_label_makes_a_safe_file_name(label):
    name = folder_name(label)
    assert 0 < len(name.encode()) < 255 * 4
    assert not set(name) & set('/\\:*?"<>|\0 ')
    assert name not in {".", ".."}


@given(st.text(max_size=40), st.text(max_size=40))
def test_different_labels_make_different_names(one, other):
    assert (folder_name(one) == folder_name(other)) == (one == other)


def run_folder(tmp_path):
    row = ScoreRow(
        model="m", task="t", metric="acc", value=0.5, mode="letter", style="chat", n=2, total=2
    )
    write_json(tmp_path / "scores.json", Scores(scores=(row,)))
    manifest = {"models": [{"label": "m"}], "tasks": {"t": {}}, "state": "done"}
    write_json(tmp_path / "manifest.json", manifest)
    writer = SampleWriter(tmp_path / "samples" / "m" / "t.jsonl")
    write(writer, 0)
    writer.finish()
    return load_run(tmp_path)


def test_a_run_gives_its_scores_as_a_table(tmp_path):
    frame = run_folder(tmp_path).scores
    assert frame.loc[0, ["model", "task", "value", "n"]].tolist() == ["m", "t", 0.5, 2]


def test_a_run_gives_its_samples_lazily(tmp_path):
    samples = run_folder(tmp_path).samples("t", "m")
    assert next(samples).id == "0"


def test_asking_for_samples_that_are_not_there_offers_names(tmp_path):
    run = run_folder(tmp_path)
    with pytest.raises(UnknownNameError, match="finished task"):
        run.samples("tt", "m")
    with pytest.raises(UnknownNameError, match="model in this run"):
        run.samples("t", "mm")


def test_a_folder_without_a_manifest_is_not_a_run(tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        load_run(tmp_path)


def test_a_broken_manifest_is_named(tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"manifest\.json cannot be read"):
        load_run(tmp_path)


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"b": 1})
    with pytest.raises(TypeError):
        write_json(path, {"b": object()})
    assert msgspec.json.decode(path.read_bytes()) == {"b": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
