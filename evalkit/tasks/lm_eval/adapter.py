"""Any task of lm-eval as a `Task`: its documents, order, prompts, filters and metrics.

The values of a score are keyed by the metric's name for lm-eval's default filter (`none`),
and by `metric,filter` for any other, as lm-eval's own results are.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from evalkit.errors import UnsupportedError
from evalkit.records import Aggregate, Mode, Request, Response, Sample, Score, Status
from evalkit.tasks.lm_eval.aggregation import aggregate_scores
from evalkit.tasks.lm_eval.alarms import sets_alarms
from evalkit.tasks.lm_eval.categories import category_of
from evalkit.tasks.lm_eval.construct import Built
from evalkit.tasks.lm_eval.contexts import contexts_of, draws_of
from evalkit.tasks.lm_eval.filters import apply_filters, fallbacks, needs_whole_task
from evalkit.tasks.lm_eval.fingerprint import fingerprint
from evalkit.tasks.lm_eval.information import MODES
from evalkit.tasks.lm_eval.prompts import (
    FewshotState,
    Samplings,
    read_instance,
    serialise_messages,
)
from evalkit.tasks.lm_eval.rows import RowReader
from evalkit.tasks.lm_eval.values import is_plain_row, plain
from evalkit.tasks.protocol import Prompting, TaskInfo, TaskRef, sample_count

#: What an answer's own status says about the sample, the gravest first.
_GRAVEST: tuple[Status, ...] = ("refused", "filtered", "truncated")


class LmEvalTask:
    """A task of lm-eval, asked as lm-eval asks it.

    Raises:
        UnsupportedError: It cannot be asked in the mode that `prompting` wants.
    """

    def __init__(self, ref: TaskRef, built: Built, prompting: Prompting) -> None:
        self._task, self._docs, self._data = built.task, built.docs, built.data_fingerprint
        _settle(self._task, prompting)
        # Arrow gives all rows one type: where the first is plain, a sample holds the row itself
        self._plain = len(self._docs) > 0 and is_plain_row(self._docs[0])
        self._lock = threading.Lock()
        self.prompting = prompting
        self.info = task_info(ref, self._task, built.notes)
        self.mode: Mode = require_mode(self.info, prompting.mode)
        self.fingerprint = fingerprint(self._task, prompting, self.mode)
        self.scores_together = needs_whole_task(self._task)
        self._fallbacks = fallbacks(self._task) if self.mode == "generate" else {}
        # a sample and its prompt are made from rows of their own, as if nobody wrote into them
        self._rows, self._asked = RowReader(self._docs), RowReader(self._docs)
        self._draws = draws_of(self._task)
        self._contexts = contexts_of(self._task, prompting, self._draws)
        self._samplings = Samplings(prompting.sampling)
        self._fewshot = self._fewshot_state()
        self._try_first()

    def _try_first(self) -> None:
        """Builds the first prompt, so that what cannot be asked is refused before all else."""
        for sample in self.samples(1):
            try:
                self.requests(sample, ())
            except UnsupportedError:
                raise
            except Exception as error:  # lm-eval and a definition's own code may raise anything
                shots = self.info.num_fewshot
                raise UnsupportedError(
                    f"lm-eval cannot build a prompt of {self.info.name!r} with {shots} worked "
                    f"examples: {type(error).__name__}: {error}"
                ) from error

    def size(self, limit: int | float | None) -> int:
        """How many samples `samples` will give."""
        return sample_count(len(self._docs), limit)

    def samples(self, limit: int | float | None) -> Iterator[Sample]:
        """The task's documents in lm-eval's order."""
        for index in range(self.size(limit)):
            yield self._sample(index)

    def _sample(self, index: int) -> Sample:
        doc = self._rows[index]
        row: Any = doc if self._plain else plain(doc)
        return Sample(
            id=str(index),
            index=index,
            doc=row if isinstance(row, dict) else {"doc": row},
            target=plain(self._task.doc_to_target(doc)),
        )

    def _doc(self, sample: Sample) -> Any:
        return sample.doc if self._plain else self._docs[sample.index]

    def requests(self, sample: Sample, answers: Sequence[Response]) -> Sequence[Request]:
        """What lm-eval asks for the sample's document, with its draws of worked examples."""
        if answers:
            return ()
        with self._lock:
            context = self._context_at(sample.index)
        instances = self._instances(self._doc(sample), sample.index, context)
        return [r for each in instances for r in self._read(each)]

    def _read(self, instance: Any) -> list[Request]:
        return read_instance(instance, self._repeats, self._samplings)

    def _context_at(self, index: int) -> Any:
        if self._fewshot is None:
            return self._context(index)
        self._fewshot.at(index)
        context = self._context(index)
        self._fewshot.passed()
        return context

    def _context(self, index: int) -> Any:
        doc, chat = self._asked[index], self.prompting.style == "chat"
        if self._contexts is not None:
            return self._contexts.of(doc)
        return self._task.fewshot_context(
            doc,
            num_fewshot=self.info.num_fewshot,
            system_instruction=self.prompting.system or None,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat and self.prompting.multiturn is not False,
            chat_template=serialise_messages if chat else None,
            gen_prefix=self._task.doc_to_prefix(doc),
        )

    def _fewshot_state(self) -> FewshotState | None:
        """What keeps the task's few-shot draws in step; None where nothing is drawn."""
        task = self._task
        if not task.get_config("num_fewshot"):
            return None
        return FewshotState(
            draw=self._draw,
            generator=lambda: task.sampler.rnd if hasattr(task, "sampler") else task.fewshot_rnd,
            reset=lambda: task.set_fewshot_seed(seed=self.prompting.seed),
        )

    def _draw(self, index: int) -> object:
        """Draws a document's worked examples, as building its prompt does."""
        from lm_eval.api.task import ConfigurableTask

        task = self._task
        if type(task).fewshot_context is not ConfigurableTask.fewshot_context:
            return self._context(index)
        if self._draws is not None:
            return self._draws.of(self._docs[index] if self._draws.apart else None)
        apart = task.fewshot_cfg.split == task.config.test_split
        return task.sampler.sample(
            n=self.info.num_fewshot, eval_doc=self._docs[index] if apart else None
        )

    def _instances(self, doc: Any, index: int, context: Any) -> list[Any]:
        chat = self.prompting.style == "chat"
        made = self._task.construct_requests(
            doc=doc,
            ctx=context,
            metadata=(self.info.name, index, self._repeats),
            apply_chat_template=chat,
            chat_template=serialise_messages if chat else None,
        )
        return made if isinstance(made, list) else [made]

    @property
    def _repeats(self) -> int:
        return int(self._task.config.repeats or 1)

    def score(self, sample: Sample, answers: Sequence[Response]) -> Score:
        """lm-eval's metrics of one sample, after each of its filters."""
        return self._score_one(sample, answers, filtered=None)

    def score_all(self, answered: Sequence[tuple[Sample, Sequence[Response]]]) -> list[Score]:
        """The scores of all samples, filters applied once to all of them as lm-eval does."""
        groups = [self._answered(sample, answers) for sample, answers in answered]
        apply_filters(self._task, [instance for group in groups for instance in group])
        return [
            self._score_one(sample, answers, filtered=group)
            for (sample, answers), group in zip(answered, groups, strict=True)
        ]

    def _score_one(
        self, sample: Sample, answers: Sequence[Response], filtered: list[Any] | None
    ) -> Score:
        doc = self._doc(sample)
        try:
            instances = filtered if filtered is not None else self._answered(sample, answers)
            if filtered is None:
                apply_filters(self._task, instances)
            values = self._values(doc, instances)
        except Exception as error:  # a task's own code may fail on an answer it did not expect
            return Score(status="unscored", note=f"{type(error).__name__}: {error}")
        return Score(
            status=self._status(answers, instances),
            values=values,
            extracted=self._extracted(instances),
        )

    def _answered(self, sample: Sample, answers: Sequence[Response]) -> list[Any]:
        """The sample's instances with their responses, ordered as lm-eval orders them.

        The prompt is left out: no filter or metric sees it.
        """
        doc = self._doc(sample)
        blank = [""] * len(self._task.doc_to_choice(doc)) if multiple_input(self._task) else ""
        instances = self._instances(doc, sample.index, blank)
        repeats, rest = self._repeats, list(answers)
        for instance in instances:
            asked = len(self._read(instance))
            taken, rest = [_result(instance, r) for r in rest[:asked]], rest[asked:]
            instance.resps = taken * repeats if len(taken) == 1 else taken
        if rest or any(not instance.resps for instance in instances):
            raise ValueError(f"{len(answers)} answers do not fit {len(instances)} requests")
        return sorted(instances, key=lambda instance: int(instance.idx))

    def _values(self, doc: Any, instances: list[Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name in instances[0].filtered_resps:
            results = [instance.filtered_resps[name] for instance in instances]
            for metric, value in self._task.process_results(doc, results).items():
                values[metric if name == "none" else f"{metric},{name}"] = plain(value)
        return values

    def _status(self, answers: Sequence[Response], instances: list[Any]) -> Status:
        own = gravest_status(answers)
        return "unparsed" if own == "ok" and self._found_nothing(instances) else own

    def _found_nothing(self, instances: list[Any]) -> bool:
        """Whether every filter that searches for an answer has fallen back, on every response."""
        return bool(self._fallbacks) and all(
            instance.filtered_resps[name] in values or instance.filtered_resps[name] in [values]
            for name, values in self._fallbacks.items()
            for instance in instances
        )

    def _extracted(self, instances: list[Any]) -> Any:
        """The filtered answer, or the index of the likeliest choice."""
        by_filter = {
            name: [plain(instance.filtered_resps[name]) for instance in instances]
            for name in instances[0].filtered_resps
        }
        if self.mode != "generate":
            return _likeliest(next(iter(by_filter.values()))) if len(instances) > 1 else None
        read = {name: found[0] if len(found) == 1 else found for name, found in by_filter.items()}
        return next(iter(read.values())) if len(read) == 1 else read

    def aggregate(self, scores: Iterable[Score]) -> list[Aggregate]:
        """lm-eval's own aggregation of each metric, with the standard error it claims."""
        return aggregate_scores(self._task, scores)

    def data_fingerprint(self) -> str:
        """Names the rows that were used."""
        return self._data


def gravest_status(answers: Iterable[Response]) -> Status:
    """What the answers' own statuses make of their sample."""
    own = {answer.status for answer in answers}
    return next((status for status in _GRAVEST if status in own), "ok")


def _settle(task: Any, prompting: Prompting) -> None:
    """Sets shots, repeats and the few-shot seed as `simple_evaluate` does."""
    own = task.get_config("num_fewshot")
    if prompting.num_fewshot is not None and own != 0:  # a task that says 0 stays at 0
        task.set_config(key="num_fewshot", value=prompting.num_fewshot)
    elif own is None:
        task.set_config(key="num_fewshot", value=0)
    if prompting.repeats is not None:
        task.set_config(key="repeats", value=prompting.repeats)
    task.set_fewshot_seed(seed=prompting.seed)


def task_info(ref: TaskRef, task: Any, notes: Sequence[str] = ()) -> TaskInfo:
    """What a loaded task says of itself."""
    config = task.config
    metadata = config.metadata if isinstance(config.metadata, dict) else {}
    version = metadata.get("version", task.VERSION)
    return TaskInfo(
        name=ref.name,
        kind=ref.kind,
        title=config.task_alias or "",
        version="" if version is None else str(version),
        category=category_of(Path(ref.path)),
        tags=tuple([config.tag] if isinstance(config.tag, str) else config.tag or ()),
        modes=_modes(task),
        metrics=tuple(task.aggregation()),
        num_fewshot=int(task.get_config("num_fewshot") or 0),
        source=str(task.DATASET_PATH or ""),
        description="; ".join(notes),
        heavy_scoring=bool(getattr(task, "UNSAFE_CODE", False)),
        main_thread=sets_alarms(task),
    )


def _modes(task: Any) -> tuple[Mode, ...]:
    """By the output type; a Python class that sets none (`squadv2`) is asked what it asks."""
    if task.OUTPUT_TYPE == "multiple_choice" and task.config.doc_to_choice is None:
        return ("loglikelihood",)
    if task.OUTPUT_TYPE:
        return MODES[task.OUTPUT_TYPE]
    doc = task.eval_docs[0]
    made = task.construct_requests(doc=doc, ctx="", metadata=(task.task_name, 0, 1))
    kinds = {each.request_type for each in (made if isinstance(made, list) else [made])}
    return ("loglikelihood",) if "loglikelihood" in kinds else ("generate",)


def require_mode(info: TaskInfo, mode: Mode | None) -> Mode:
    """The mode to ask in: the wanted one, or the task's own first.

    Raises:
        UnsupportedError: The task cannot be asked so.
    """
    if mode is None or mode in info.modes:
        return mode or info.modes[0]
    needs = "log-likelihoods" if info.modes[0] in ("loglikelihood", "perplexity") else "free text"
    raise UnsupportedError(
        f"Task {info.name!r} cannot be asked in the mode {mode!r}: it needs {needs} "
        f"(modes: {', '.join(info.modes)})"
    )


def multiple_input(task: Any) -> bool:
    """Whether the choices are contexts (winogrande): the target continues each of them."""
    return bool(getattr(task, "multiple_input", 0))


def _result(instance: Any, response: Response) -> Any:
    """A response as lm-eval's models give it."""
    if instance.request_type == "generate_until":
        return response.text
    if response.logprob is None:
        raise ValueError("a log-likelihood was asked for, and the answer has none")
    if instance.request_type == "loglikelihood_rolling":
        return response.logprob
    return response.logprob, bool(response.greedy)


def _likeliest(results: list[Any]) -> int | None:
    values = [r[0] for r in results if isinstance(r, tuple | list) and r]
    if len(values) != len(results) or not all(math.isfinite(v) for v in values):
        return None
    return values.index(max(values))
