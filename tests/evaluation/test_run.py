"""What a run survives."""

import json

from command import evalkit, scores, sums

BROKEN = """
task: broken
dataset_path: json
dataset_kwargs: {data_files: {test: %s}}
test_split: test
output_type: generate_until
doc_to_text: "{{ question }}"
doc_to_target: "{{ answer }}"
metric_list:
  - metric: exact_match
    aggregation: !function broken.give_up
    higher_is_better: true
"""


def test_metrics_that_cannot_be_computed_take_no_other_result_away(tmp_path):
    folder = sums(tmp_path / "tasks", 3)
    rows = folder / "rows.jsonl"
    rows.write_text(json.dumps({"question": "2+2?", "answer": "4"}) + "\n")
    (folder / "broken.yaml").write_text(BROKEN % rows)
    (folder / "broken.py").write_text("def give_up(values):\n    raise ValueError('too hard')\n")
    ended = evalkit(
        *("run", "-m", "scripted/echo", "-t", "broken", "-t", "sums"),
        *("--include-path", folder, "--output", tmp_path / "out"),
    )
    assert ended.returncode == 1, ended.stderr
    assert "too hard" in ended.stdout
    assert [row["task"] for row in scores(tmp_path / "out")] == ["sums"]
    assert len(list((tmp_path / "out" / "samples" / "scripted__echo").iterdir())) == 2
