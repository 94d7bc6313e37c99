"""Prompts built a second on one core: `python -m benchmarks.building --mirror DIR`.

Documents of real tasks turned into requests by evalkit and by lm-eval's own `build_all_requests`,
on the same rows, with the same worked examples and chat template, in one process, alternating.
CPU seconds, loading left out; medians over rounds. One JSON object a task and harness.

lm-eval is measured as it is (its templates compiled anew for each text); its prompts are
compared with evalkit's: a line says how many differ.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import random
import statistics
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from evalkit.data.options import DataOptions
from evalkit.data.redirect import redirected
from evalkit.records import Message
from evalkit.tasks import catalogue
from evalkit.tasks.protocol import Prompting, Task, TaskRef


@dataclass(frozen=True)
class Work:
    """Tasks of one name, put in one way."""

    name: str
    prompting: Prompting
    title: str


CHAT, TEXT = Prompting(style="chat"), Prompting(style="text")
WORKS = (
    Work("mmlu", Prompting(style="chat", num_fewshot=5), "mmlu, 5-shot, chat"),
    Work("mmlu", Prompting(style="text", num_fewshot=5), "mmlu, 5-shot, text"),
    Work("gsm8k", CHAT, "gsm8k, 5-shot, chat"),
    Work("gsm8k_cot", CHAT, "gsm8k_cot, 8-shot, chat"),
    Work("arc_challenge", Prompting(style="text", num_fewshot=25), "arc_challenge, 25-shot, text"),
    Work("truthfulqa_mc2", TEXT, "truthfulqa_mc2, text"),
    Work("bbh", CHAT, "bbh, 3-shot, chat"),
    Work("mmlu_pro", CHAT, "mmlu_pro, 5-shot, chat"),
    Work("winogrande", TEXT, "winogrande, text"),
    Work("mgsm_direct_de", CHAT, "mgsm_direct_de, chat"),
)
#: evalkit's own way to ask multiple choice; lm-eval has none.
LETTER = Work("mmlu", Prompting(mode="letter", num_fewshot=5), "mmlu, 5-shot, by letter")


@dataclass
class Built:
    """What one round of building took, and what came out."""

    documents: int
    cpu_s: float
    prompts: list[Any]


def built_by_evalkit(tasks: list[Task], limit: int | None) -> Built:
    """Build every prompt, keeping those of the last task only."""
    documents, prompts, started = 0, list[Any](), time.process_time()
    for task in tasks:
        prompts.clear()
        for sample in task.samples(limit):
            prompts.append(task.requests(sample, ()))
            documents += 1
    spent = time.process_time() - started
    return Built(documents, spent, [_plain(r.prompt) for made in prompts for r in made])


def built_by_lm_eval(tasks: list[Any], prompting: Prompting, limit: int | None) -> Built:
    """The same by lm-eval's code; a "template" that keeps the messages costs it nothing."""
    chat = prompting.style == "chat"
    started = time.process_time()
    for task in tasks:
        task.set_fewshot_seed(seed=prompting.seed)
        with contextlib.redirect_stderr(io.StringIO()):
            task.build_all_requests(
                limit=limit,
                apply_chat_template=chat,
                fewshot_as_multiturn=chat,
                chat_template=_kept if chat else None,
            )
    spent = time.process_time() - started
    documents = sum(len({i.doc_id for i in task.instances}) for task in tasks)
    return Built(documents, spent, [i.args[0] for i in tasks[-1].instances])


def _kept(history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
    return json.dumps(history, ensure_ascii=False)


def _plain(prompt: str | tuple[Message, ...]) -> str:
    if isinstance(prompt, str):
        return prompt
    return _kept([{"role": turn.role, "content": turn.content} for turn in prompt])


@contextlib.contextmanager
def _lm_eval_as_it_is() -> Iterator[None]:
    """Without what evalkit does to lm-eval's templates."""
    from jinja2 import BaseLoader, Environment, StrictUndefined
    from lm_eval import utils

    ours, theirs = (
        utils.env,
        Environment(loader=BaseLoader, undefined=StrictUndefined, keep_trailing_newline=True),
    )
    theirs.filters["regex_replace"] = utils.regex_replace
    utils.env = theirs
    try:
        yield
    finally:
        utils.env = ours


def _theirs(ref: TaskRef, prompting: Prompting, data: DataOptions) -> Any:
    """A task as lm-eval's own command line loads and settles it."""
    from lm_eval.tasks._factory import TaskFactory
    from lm_eval.tasks._index import Entry, Kind

    random.seed(0)
    entry = Entry(name=ref.name, kind=Kind.TASK, yaml_path=ref.path)
    with redirected(data):
        task = TaskFactory().build(entry, overrides={"task": ref.name}, registry={})
    own = task.get_config("num_fewshot")
    if prompting.num_fewshot is not None and own != 0:
        task.set_config(key="num_fewshot", value=prompting.num_fewshot)
    elif own is None:
        task.set_config(key="num_fewshot", value=0)
    return task


def measure(work: Work, data: DataOptions, rounds: int, limit: int | None) -> Iterator[str]:
    """One JSON line a harness, and one that compares their prompts."""
    refs = [ref for ref in catalogue.select([work.name]).tasks if ref.kind == "lm_eval"]
    alone = work.prompting.mode == "letter"
    theirs = [] if alone else [_theirs(ref, work.prompting, data) for ref in refs]
    took: dict[str, list[Built]] = {"evalkit": [], "lm-eval": []}
    for _ in range(rounds):
        # loaded anew, so that no worked example of the round before is still at hand
        ours = [catalogue.load(ref, work.prompting, data) for ref in refs]
        took["evalkit"].append(built_by_evalkit(ours, limit))
        if theirs:
            with _lm_eval_as_it_is():
                took["lm-eval"].append(built_by_lm_eval(theirs, work.prompting, limit))
    for harness, all_built in took.items():
        if all_built:
            yield _line(work, harness, all_built)
    if theirs:
        pairs = zip(took["evalkit"][-1].prompts, took["lm-eval"][-1].prompts, strict=True)
        differ = sum(one != other for one, other in pairs)
        yield json.dumps({"work": work.title, "prompts of the last task that differ": differ})


def _line(work: Work, harness: str, all_built: list[Built]) -> str:
    rates = [built.documents / built.cpu_s for built in all_built]
    return json.dumps(
        {
            "work": work.title,
            "harness": harness,
            "documents": all_built[0].documents,
            "documents_per_cpu_second": round(statistics.median(rates)),
            "all": [round(rate) for rate in rates],
        }
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=None, help="documents a task")
    parser.add_argument("--mirror", default=os.environ.get("EVALKIT_MIRROR", ""))
    parser.add_argument("--only", default="", help="works whose title has this in it")
    arguments = parser.parse_args()
    if not arguments.mirror:
        print("no building: --mirror or EVALKIT_MIRROR names no mirror", file=sys.stderr)
        return
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    data = DataOptions(mirror=arguments.mirror, offline=True)
    for work in (*WORKS, LETTER):
        if arguments.only in work.title:
            for line in measure(work, data, arguments.rounds, arguments.limit):
                print(line, flush=True)


if __name__ == "__main__":
    main()
