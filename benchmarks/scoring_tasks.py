"""Small definitions in the shape of well-known benchmarks, with rows and answers that are made.

What is scored is realistic: worked solutions with a number at the end, four choices, sentences.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from evalkit.data.options import DataOptions
from evalkit.records import Request, Response, Sample, Usage
from evalkit.tasks.catalogue import select
from evalkit.tasks.protocol import Prompting, Task
from evalkit.tasks.recipe import TaskRecipe

WORDS = ["river", "stone", "market", "bread", "window", "carry", "seven", "often", "light"]

LM_EVAL_SUMS = """
task: bench_sums
dataset_path: json
dataset_kwargs: {data_files: {test: ROWS}}
test_split: test
output_type: generate_until
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["Question:"], do_sample: false, temperature: 0.0}
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    ignore_case: true
    ignore_punctuation: false
    regexes_to_ignore: [",", "\\\\$", "(?s).*#### ", "\\\\.$"]
filter_list:
  - name: strict-match
    filter:
      - {function: regex, regex_pattern: "#### (\\\\-?[0-9\\\\.\\\\,]+)"}
      - {function: take_first}
  - name: flexible-extract
    filter:
      - {function: regex, group_select: -1, regex_pattern: "(-?[$0-9.,]{2,})|(-?[0-9]+)"}
      - {function: take_first}
"""
LM_EVAL_CHOICES = """
task: bench_choices
dataset_path: json
dataset_kwargs: {data_files: {test: ROWS}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: place
doc_to_choice: choices
metric_list:
  - {metric: acc}
  - {metric: acc_norm}
"""
LM_EVAL_WORDS = """
task: bench_words
dataset_path: json
dataset_kwargs: {data_files: {test: ROWS}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"]}
metric_list:
  - {metric: exact_match, ignore_case: true, ignore_punctuation: true}
"""
OWN = """
name: {name}
version: "1"
source: {{file: rows.jsonl}}
prompt: "Question: {{{{ question }}}}"
{rest}
"""
OWN_RESTS = {
    "own_number": "target: number\nscorer: {name: number}",
    "own_exact_match": "target: answer\nscorer: {name: exact_match, params: {last_line: true}}",
    "own_f1": "target: answer\nscorer: {name: f1}",
    "own_contains": "target: answer\nscorer: {name: contains}",
    "own_choices": "choices: choices\ntarget: place",
}
LM_EVAL = {
    "bench_sums": LM_EVAL_SUMS,
    "bench_choices": LM_EVAL_CHOICES,
    "bench_words": LM_EVAL_WORDS,
}
#: Task, and the mode in which it is asked.
PLAIN = [
    ("bench_sums", None),
    ("bench_choices", "loglikelihood"),
    ("bench_choices", "letter"),
    ("bench_words", None),
    ("own_number", None),
    ("own_exact_match", None),
    ("own_f1", None),
    ("own_contains", None),
    ("own_choices", "loglikelihood"),
    ("own_choices", "letter"),
]


def write_tasks(folder: Path, rows: int) -> None:
    """Write all definitions, and `rows` rows."""
    draw = random.Random(5)
    lines = [json.dumps(_row(draw)) + "\n" for _ in range(rows)]
    (folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
    for name, text in LM_EVAL.items():
        (folder / f"{name}.yaml").write_text(text.replace("ROWS", f"{folder}/rows.jsonl"))
    for name, rest in OWN_RESTS.items():
        (folder / f"{name}.yaml").write_text(OWN.format(name=name, rest=rest))


def _row(draw: random.Random) -> dict[str, Any]:
    number = draw.randrange(1000)
    steps = " ".join(draw.choices(WORDS, k=40))
    return {
        "question": " ".join(draw.choices(WORDS, k=45)) + "?",
        "answer": f"{steps} is <<3*4={number}>>.\n#### {number}",
        "number": str(number),
        "choices": [" ".join(draw.choices(WORDS, k=6)) for _ in range(4)],
        "place": draw.randrange(4),
    }


def recipe(folder: Path, name: str, mode: Any = None) -> TaskRecipe:
    """How the task `name` is loaded."""
    [ref] = select([name], [folder]).tasks
    data = DataOptions(offline=True, cache=str(folder / "cache"))
    return TaskRecipe(ref=ref, prompting=Prompting(mode=mode, num_fewshot=0), data=data)


def answered(task: Task) -> list[tuple[Sample, tuple[Request, ...], tuple[Response, ...]]]:
    """Every sample with its requests and answers, half of them right."""
    draw = random.Random(6)
    made = []
    for sample in task.samples(None):
        requests = tuple(task.requests(sample, ()))
        made.append((sample, requests, tuple(_answer(r, sample, draw) for r in requests)))
    return made


def _answer(request: Request, sample: Sample, draw: random.Random) -> Response:
    usage = Usage(input_tokens=90, output_tokens=60)
    if request.kind == "loglikelihood":
        return Response(logprob=-draw.random() * 40, greedy=False, usage=usage, latency_s=0.1)
    right = sample.target if draw.random() < 0.5 else "12"
    text = f"{' '.join(draw.choices(WORDS, k=60))}\nSo it is B. The answer is\n{right}"
    return Response(text=text, usage=usage, latency_s=0.1, finish_reason="stop")
