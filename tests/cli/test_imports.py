"""What a command imports is what a user waits for."""

import subprocess
import sys

import pytest

HEAVY = ["torch", "transformers", "datasets", "lm_eval", "pandas", "scipy", "openai", "anthropic"]

PROBE = """
import sys
from evalkit.cli.main import main
try:
    main({args!r})
except SystemExit:
    pass
print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""


def imported(args, heavy=HEAVY):
    code = PROBE.format(args=args, heavy=heavy)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "args", [["--help"], ["tasks", "list", "--json"], ["suites", "list"], ["run", "--help"]]
)
def test_looking_around_imports_no_heavy_library(args):
    assert imported(args) == "[]"


#: What lm-eval and its tasks import at once, and no run needs before it scores (if ever).
LATE = ["chardet", "evaluate.config", "nltk", "sacrebleu.metrics", "sklearn", "torch"]


def test_a_run_of_a_task_of_lm_eval_loads_only_what_it_uses(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"question": "2+2?", "answer": "4"}\n')
    (tmp_path / "scores.py").write_text(SCORES)
    (tmp_path / "plain.yaml").write_text(PLAIN.format(rows=tmp_path / "rows.jsonl"))
    run = ["run", "-m", "scripted/echo", "-t", "plain", "--include-path", str(tmp_path)]
    run += ["--offline", "--output", str(tmp_path / "run")]
    assert imported(run, LATE) == "[]"


#: As many of lm-eval's tasks begin.
SCORES = """
import evaluate
import sacrebleu
from rouge_score import rouge_scorer, scoring


def half(doc, results):
    return {"half": 0.5}
"""
PLAIN = """
task: plain
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{ question }}}}"
doc_to_target: "{{{{ answer }}}}"
process_results: !function scores.half
metric_list: [{{metric: half, aggregation: mean, higher_is_better: true}}]
"""
