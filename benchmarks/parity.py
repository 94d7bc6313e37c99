"""Parity with lm-eval: the same model, tasks and documents through both.

    python -m benchmarks.parity --mirror DIR [--model FOLDER] [--only PATTERN] [--replay]

Runs lm-eval's own command line (`hf`, float32) and evalkit's adapter with its `hf`
model, and compares every prompt, every metric of every sample, every aggregate and every
standard error. Each case is kept in the cache folder, so that a stopped run goes on.
`--replay` feeds lm-eval's logged responses to evalkit's scorers instead of asking the model:
it compares prompts, scores and aggregates alone. The table goes into docs/parity.md.
"""

import argparse
import asyncio
import fnmatch
import json
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.parity_cases import CASES, Case
from benchmarks.parity_compare import Asked, Outcome, compare_group, compare_task, logprob
from benchmarks.parity_reference import CONTEXT, DEFINITIONS, ROOT, LmEval, Reference, Row
from benchmarks.parity_report import write_report
from evalkit.config.model_spec import parse_model_spec
from evalkit.data.options import DataOptions
from evalkit.models.embedded import embedded_transformers_folder
from evalkit.models.hf import HFModel, create
from evalkit.records import Request, Response, content_hash
from evalkit.resources import cache_dir
from evalkit.tasks import lm_eval
from evalkit.tasks.lm_eval.aggregation import aggregate_group
from evalkit.tasks.protocol import Task

REPORT = ROOT / "docs" / "parity.md"


class Answers:
    """Responses of the `hf` model, kept by request; the model is loaded when first asked."""

    def __init__(self, model: HFModel, folder: Path) -> None:
        self.model, self._folder = model, folder
        folder.mkdir(parents=True, exist_ok=True)

    async def to(self, requests: Sequence[Request]) -> list[Response]:
        files = [self._folder / content_hash(request) for request in requests]
        missing = [i for i, file in enumerate(files) if not file.exists()]
        for kind in ("generate", "loglikelihood", "rolling"):
            some = [i for i in missing if requests[i].kind == kind]
            at_once = 1 if kind == "generate" else 32  # as theirs: see `Case.flags`
            for start in range(0, len(some), at_once):
                part = some[start : start + at_once]
                answers = await self.model.ask([requests[i] for i in part])
                for i, response in zip(part, answers, strict=True):
                    files[i].write_bytes(msgspec.json.encode(response))
        return [msgspec.json.decode(file.read_bytes(), type=Response) for file in files]


def replayed(row: Row, requests: Sequence[Request]) -> list[Response]:
    """lm-eval's own responses as ours."""
    responses = []
    for request, logged in zip(requests, row.responses, strict=True):
        if request.kind == "generate":
            responses.append(Response(text=logged[0]))
        else:
            greedy = request.kind == "loglikelihood" and str(logged[0][1]) == "True"
            responses.append(Response(logprob=logprob(logged), greedy=greedy))
    return responses


async def ask_task(
    task: Task, case: Case, reference: dict[int, Row], answers: Answers, replay: bool
) -> dict[int, Asked]:
    samples = list(task.samples(case.limit))
    asked = [list(task.requests(sample, ())) for sample in samples]
    if replay:
        given = [replayed(reference[s.index], r) for s, r in zip(samples, asked, strict=True)]
    else:
        flat = iter(await answers.to([request for requests in asked for request in requests]))
        given = [[next(flat) for _ in requests] for requests in asked]
    answered = list(zip(samples, given, strict=True))
    scores = task.score_all(answered) if task.scores_together else None
    scores = scores or [task.score(sample, responses) for sample, responses in answered]
    render = answers.model.render
    return {
        sample.index: (requests, [render(r.prompt) for r in requests], responses, score)
        for sample, requests, responses, score in zip(samples, asked, given, scores, strict=True)
    }


async def compare_case(
    case: Case, reference: Reference, answers: Answers, data: DataOptions, replay: bool
) -> list[Outcome]:
    chosen = lm_eval.select([case.name], [DEFINITIONS])
    outcomes, aggregates = [], {}
    for ref in chosen.tasks:
        task = lm_eval.load(ref, case.prompting, data)
        asked = await ask_task(task, case, reference.rows[ref.name], answers, replay)
        aggregates[ref.name] = task.aggregate(score for *_, score in asked.values())
        outcomes.append(compare_task(case.label, ref.name, asked, aggregates[ref.name], reference))
    for group in chosen.groups:
        found = aggregate_group(group, aggregates)
        outcomes.append(compare_group(case.label, group, found, reference))
    return outcomes


async def main() -> int:
    options = arguments()
    folder = Path(options.model) if options.model else embedded_transformers_folder()
    cache = Path(options.cache) if options.cache else cache_dir() / "parity"
    cases = [case for case in CASES if fnmatch.fnmatch(case.label, options.only)]
    spec = f"hf/{folder}?dtype=float32&device=cpu&batch_size=8&max_length={CONTEXT}"
    model = create(parse_model_spec(spec))
    await model.open()
    data = DataOptions(mirror=options.mirror, offline=True)
    theirs = LmEval(cases, folder, Path(options.mirror), cache / "lm_eval")
    for case in cases:
        started = time.monotonic()
        try:
            reference = await theirs.results(case)
        except RuntimeError as error:
            print(error, flush=True)
            continue
        between = time.monotonic()
        answers = Answers(model, cache / "answers")
        outcomes = await compare_case(case, reference, answers, data, options.replay)
        suffix = "-replay" if options.replay else ""
        written = cache / f"{case.label}{suffix}.json"
        written.write_bytes(msgspec.json.encode(outcomes))
        state = "same" if all(outcome.same for outcome in outcomes) else "DIFFERS"
        seconds = f"waited {between - started:.0f} s, ran {time.monotonic() - between:.0f} s"
        print(f"{case.label}: {state} ({seconds})", flush=True)
    theirs.stop()
    await model.close()
    return report(cache, "-replay" if options.replay else "")


def report(cache: Path, suffix: str) -> int:
    """Writes the table of all cases that have been compared; 1 where one differs."""
    outcomes: list[Outcome] = []
    for case in CASES:
        file = cache / f"{case.label}{suffix}.json"
        if file.exists():
            outcomes += msgspec.json.decode(file.read_bytes(), type=list[Outcome])
    if not suffix:
        write_report(REPORT, outcomes)
    wrong = [outcome for outcome in outcomes if not outcome.same]
    print(json.dumps({"compared": len(outcomes), "differ": [f"{o.case}: {o.name}" for o in wrong]}))
    return 1 if wrong else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mirror", required=True, help="offline mirror of the tasks' rows")
    parser.add_argument("--model", default="", help="a transformers folder; the embedded model's")
    parser.add_argument("--only", default="*", help="a pattern over the cases' labels")
    parser.add_argument("--cache", default="", help="where runs are kept")
    parser.add_argument("--replay", action="store_true", help="score lm-eval's own responses")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
