"""Tasks defined by a YAML file of evalkit's own: the adapter of the kind `declarative`.

The kind `generated` differs only in where its rows come from (`evalkit.tasks.generated`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from evalkit.data.options import DataOptions
from evalkit.data.source import RowSource
from evalkit.errors import UnsupportedError
from evalkit.records import (
    Aggregate,
    Mode,
    Request,
    Response,
    Sample,
    Sampling,
    Score,
    Tool,
    content_hash,
)
from evalkit.tasks.own.aggregates import aggregate
from evalkit.tasks.own.choices import (
    CHOICES_VERSION,
    METRICS,
    score_letters,
    score_loglikelihoods,
)
from evalkit.tasks.own.definition import MetricUse, TaskDefinition, read_definition
from evalkit.tasks.own.prompt import Prompter
from evalkit.tasks.own.rows import Row, TaskRows, inline_rows, loaded, source_rows
from evalkit.tasks.own.tools import read_tools
from evalkit.tasks.prompts import Value, as_text
from evalkit.tasks.protocol import Prompting, TaskInfo, TaskRef, merge_sampling, sample_count

#: Raised whenever this code builds another prompt or score out of the same definition.
CODE_VERSION = "1"


def definition_info(definition: TaskDefinition) -> TaskInfo:
    """What a definition says of its task without a row being loaded."""
    scorer = definition.bound_scorer()
    return TaskInfo(
        name=definition.name,
        kind=definition.kind,
        title=definition.title,
        version=definition.version,
        category=definition.category,
        languages=definition.languages,
        tags=definition.tags,
        modes=definition.modes,
        metrics=tuple(metric.name for metric in definition.metric_uses()),
        num_fewshot=definition.fewshot.count,
        source=_source_name(definition),
        licence=definition.licence,
        description=definition.description.strip(),
        max_tokens=definition.sampling.max_tokens,
        heavy_scoring=bool(scorer and scorer.scorer.heavy),
    )


def load(ref: TaskRef, prompting: Prompting, data: DataOptions) -> DeclarativeTask:
    """The task of `ref` with its rows, to be asked as `prompting` says.

    Raises:
        ConfigError: Its definition is wrong.
        UnsupportedError: It cannot be asked so.
        DataError: Its rows cannot be had.
        SandboxError: It runs programs, and there is no sandbox here.
    """
    path = Path(ref.path)
    definition = read_definition(path)
    check_prompting(definition, prompting)
    rows = source_rows(definition, data, path.parent)
    examples = example_rows(definition, prompting, data, path.parent)
    return DeclarativeTask(definition, prompting, rows, examples)


def sources_of(ref: TaskRef) -> list[RowSource]:
    """The sources that a task of ours reads: of its rows, what joins them, worked examples.

    Raises:
        ConfigError: Its definition is wrong.
    """
    definition = read_definition(Path(ref.path))
    joined = definition.join.source if definition.join else None
    sources = (definition.source, joined, definition.fewshot.source)
    return [source for source in sources if source is not None]


def check_prompting(definition: TaskDefinition, prompting: Prompting) -> None:
    """Refuse what the task cannot do, before any row is loaded."""
    if prompting.mode is not None and prompting.mode not in definition.modes:
        raise UnsupportedError(
            f"Task {definition.name!r} cannot be asked in the mode {prompting.mode!r} "
            f"(modes: {', '.join(definition.modes)})"
        )
    if scorer := definition.bound_scorer():
        scorer.check(_repeats(definition, prompting))


def example_rows(
    definition: TaskDefinition, prompting: Prompting, data: DataOptions, base: Path
) -> TaskRows | None:
    """The rows that worked examples are taken from; None if none are wanted."""
    few = definition.fewshot
    if not wants_examples(definition, prompting):
        return None
    if few.source:
        return loaded(few.source, data, base)
    if few.examples:
        return inline_rows(few.examples)
    raise UnsupportedError(
        f"Task {definition.name!r} has no worked examples: leave out --num-fewshot"
    )


def wants_examples(definition: TaskDefinition, prompting: Prompting) -> bool:
    """Whether any worked example is to be shown."""
    return _shots(definition, prompting) > 0


class DeclarativeTask:
    """A task of a definition, put in one way.

    Args:
        definition: Its definition.
        prompting: How it is put.
        rows: Its rows.
        examples: Rows for worked examples.
    """

    def __init__(
        self,
        definition: TaskDefinition,
        prompting: Prompting,
        rows: TaskRows,
        examples: TaskRows | None = None,
    ) -> None:
        self.info, self.prompting = definition_info(definition), prompting
        self.mode: Mode = prompting.mode or definition.modes[0]
        self.scores_together = False
        self._definition, self._rows = definition, rows
        self._scorer = definition.bound_scorer()
        self._prompter = Prompter(definition, prompting, self.mode)
        self._id = Value(definition.id, "'id'") if definition.id else None
        self._cluster = Value(definition.cluster, "'cluster'") if definition.cluster else None
        self._tools = Value(definition.tools, "'tools'") if definition.tools else None
        self._sampling = _sampling(definition, prompting)
        self._repeats = _repeats(definition, prompting)
        self._shots = _shots(definition, prompting)
        self._examples = _choose(definition, prompting, self._shots, examples)
        self.fingerprint = self._fingerprint()

    def size(self, limit: int | float | None) -> int:
        """How many samples `samples` will give."""
        return sample_count(len(self._rows), limit)

    def samples(self, limit: int | float | None) -> Iterator[Sample]:
        """The samples in their source's order."""
        return (self._sample(index, self._rows[index]) for index in range(self.size(limit)))

    def requests(self, sample: Sample, answers: Sequence[Response]) -> Sequence[Request]:
        """All requests of a sample at once: one for each choice, or for each repeat."""
        if answers:
            return ()
        prompt = self._prompter.prompt(sample.doc, self._examples_for(sample.doc))
        if self.mode == "loglikelihood":
            texts = self._prompter.continuations(sample.doc)
            return [Request(kind="loglikelihood", prompt=prompt, continuation=t) for t in texts]
        tools: tuple[Tool, ...] = ()
        if self.mode == "tools" and self._tools is not None:
            tools = read_tools(self._tools.of(sample.doc), self.info.name)
        return [
            Request(
                kind="generate", prompt=prompt, sampling=self._sampling, tools=tools, repeat=repeat
            )
            for repeat in range(self._repeats)
        ]

    def score(self, sample: Sample, answers: Sequence[Response]) -> Score:
        """How the answers do, by the definition's scorer or the rule of its choices."""
        if self._scorer is not None:
            return self._scorer.score(sample, answers)
        by_mode = score_loglikelihoods if self.mode == "loglikelihood" else score_letters
        return by_mode(answers, self._prompter.choices(sample.doc), sample.target)

    def score_all(self, answered: Sequence[tuple[Sample, Sequence[Response]]]) -> list[Score]:
        """The scores of all samples, each by itself."""
        return [self.score(sample, answers) for sample, answers in answered]

    def aggregate(self, scores: Iterable[Score]) -> list[Aggregate]:
        """The task's metrics over its scored samples."""
        return aggregate(self._metrics(), scores)

    def data_fingerprint(self) -> str:
        """Names the rows that were used."""
        return self._rows.fingerprint

    def _metrics(self) -> Sequence[MetricUse]:
        """Its metrics, less those that this mode does not give."""
        given = METRICS.get(self.mode) if self._scorer is None else None
        uses = self._definition.metric_uses()
        return [use for use in uses if given is None or use.name in given]

    def _sample(self, index: int, row: Row) -> Sample:
        return Sample(
            id=str(index) if self._id is None else as_text(self._id.of(row)),
            index=index,
            doc=row,
            target=self._prompter.target(row),
            cluster="" if self._cluster is None else as_text(self._cluster.of(row)),
        )

    def _examples_for(self, row: Row) -> list[Row]:
        """The worked examples, the same for all rows but for one that is the row itself."""
        return [example for example in self._examples if example != row][: self._shots]

    def _fingerprint(self) -> str:
        scorer = self._scorer.identity if self._scorer else CHOICES_VERSION
        return content_hash(CODE_VERSION, self._definition, scorer, self.prompting, self.mode)


def _source_name(definition: TaskDefinition) -> str:
    if definition.generator:
        return f"generator {definition.generator.name}"
    source = definition.source
    assert source is not None, "a definition has a source or a generator"
    if source.wheel:
        return f"{source.wheel.package} {source.wheel.version}"
    return source.hub or source.mirror_raw or source.file or (source.url.url if source.url else "")


def _sampling(definition: TaskDefinition, prompting: Prompting) -> Sampling:
    own = definition.sampling
    stop = own.stop + (own.text_stop if prompting.style == "text" else ())
    sampling = Sampling(
        max_tokens=own.max_tokens,
        temperature=own.temperature,
        top_p=own.top_p,
        top_k=own.top_k,
        stop=stop,
    )
    return merge_sampling(sampling, prompting.sampling)


def _repeats(definition: TaskDefinition, prompting: Prompting) -> int:
    return definition.repeats if prompting.repeats is None else prompting.repeats


def _shots(definition: TaskDefinition, prompting: Prompting) -> int:
    shots = prompting.num_fewshot
    return definition.fewshot.count if shots is None else shots


def _choose(
    definition: TaskDefinition, prompting: Prompting, shots: int, rows: TaskRows | None
) -> list[Row]:
    """One more example than is shown, in case one of them is the question itself."""
    if not shots or rows is None:
        return []
    if len(rows) < shots:
        raise UnsupportedError(
            f"Task {definition.name!r} has {len(rows)} worked examples, not {shots}"
        )
    wanted = min(shots + 1, len(rows))
    order = range(wanted)
    if definition.fewshot.choose == "random":
        draw = np.random.default_rng(prompting.seed)
        order = draw.choice(len(rows), size=wanted, replace=False).tolist()
    return [rows[index] for index in order]
