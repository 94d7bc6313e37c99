"""The same questions for every harness: one JSON Lines file, an lm-eval task and an Inspect task.

The local server repeats the end of each question (`--answer echo:N`), which names a code. Three
targets in four are that code, so a run that is right has a known score (`accuracy`): another
score, or another number of samples, means that something else was measured.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

#: The name of the task, for lm-eval and for evalkit.
TASK = "bench_chat"
#: What the server has to be told, so that it answers with the code.
ANSWER = "echo:20"

_FILLER = (
    "A warehouse keeps a list of parcels. Each parcel has a weight in kilograms, a destination, "
    "and a code that starts with the letter K. The clerk reads the list from top to bottom and "
    "writes down only what is asked for. Answer with one short sentence."
)

_LM_EVAL = """\
task: {task}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {rows}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{target}}}}"
generation_kwargs:
  until: ["\\n\\n"]
  max_gen_toks: 32
  do_sample: false
  temperature: 0.0
filter_list:
  - name: code
    filter:
      - function: regex
        regex_pattern: "(K\\\\d+)"
      - function: take_first
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""

_INSPECT = '''\
"""The questions of rows.jsonl, answered once and matched with a pattern."""

from inspect_ai import Task, task
from inspect_ai.dataset import FieldSpec, json_dataset
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import pattern
from inspect_ai.solver import generate


@task
def bench_chat() -> Task:
    """One question, one answer."""
    return Task(
        dataset=json_dataset({rows!r}, FieldSpec(input="question", target="target")),
        solver=generate(),
        scorer=pattern(r"(K\\d+)"),
        config=GenerateConfig(max_tokens=32, temperature=0.0, stop_seqs=["\\n\\n"]),
    )
'''


@dataclass(frozen=True)
class Chat:
    """Where the files of one chat workload are.

    Args:
        folder: Holds them all; lm-eval and evalkit take it as their include path.
        samples: How many questions there are.
        limit: Ask only so many; 0 asks all.
    """

    folder: Path
    samples: int
    limit: int = 0

    @property
    def asked(self) -> int:
        """How many questions a run asks."""
        return self.limit or self.samples

    @property
    def rows(self) -> Path:
        """The questions and targets, one JSON object a line."""
        return self.folder / "rows.jsonl"

    @property
    def inspect_task(self) -> Path:
        """The file that `inspect eval` takes."""
        return self.folder / "inspect_task.py"


def write_chat(folder: Path, samples: int, *, padding: int = 0) -> Chat:
    """Write the files of `samples` chat questions into `folder`.

    Args:
        folder: Made if it is not there.
        samples: How many.
        padding: Characters that each question is longer, for measurements of memory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chat = Chat(folder.resolve(), samples)
    with chat.rows.open("w", encoding="utf-8") as file:
        for number in range(samples):
            file.write(json.dumps(_row(number, padding)) + "\n")
    definition = _LM_EVAL.format(task=TASK, rows=json.dumps(str(chat.rows)))
    (chat.folder / f"{TASK}.yaml").write_text(definition, encoding="utf-8")
    chat.inspect_task.write_text(_INSPECT.format(rows=str(chat.rows)), encoding="utf-8")
    return chat


def question(number: int) -> str:
    """Question `number`; it ends with its code."""
    weight, code = number % 37 + 1, code_of(number)
    return f"{_FILLER}\n\nParcel {number} weighs {weight} kg. The code is {code}."


def code_of(number: int) -> str:
    """The code that the server's answer to question `number` names."""
    return f"K{number:07d}"


def _row(number: int, padding: int) -> dict[str, str]:
    before = ("A word. " * (padding // 8 + 1))[:padding]
    target = code_of(number) if _is_right(number) else "K-"
    return {"question": before + question(number), "target": target}


def _is_right(number: int) -> bool:
    return number % 4 != 3


def accuracy(samples: int) -> float:
    """The score of a correct run over `samples` questions."""
    return sum(map(_is_right, range(samples))) / samples
