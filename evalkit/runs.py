"""The run folder: what a run leaves behind, readable without evalkit.

manifest.json                    what was run, with which versions, and how it ended
samples/<model>/<task>.jsonl     one line a sample
scores.json                      every metric with n, standard error, interval and mode
journal.sqlite                   every response as it arrived (`evalkit.engine.journal`)
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from evalkit.errors import InputError
from evalkit.records import (
    Aggregate,
    Mode,
    Record,
    Request,
    Response,
    Sample,
    Score,
    Status,
    Usage,
    canonical,
)

if TYPE_CHECKING:
    import pandas as pd

#: Bytes of samples that are written to the disk at once; the journal keeps what a kill loses.
_BUFFER = 1 << 20

MANIFEST, SCORES, JOURNAL, SAMPLES = "manifest.json", "scores.json", "journal.sqlite", "samples"


class SampleLine(Record, frozen=True, kw_only=True):
    """One line of a samples file: what was asked, what came back, and its worth."""

    id: str
    index: int
    status: Status
    target: Any = None
    cluster: str = ""
    requests: tuple[Request, ...] = ()
    responses: tuple[Response, ...] = ()
    scores: dict[str, Any] = {}
    extracted: Any = None
    note: str = ""
    usage: Usage = Usage()
    latency_s: float = 0.0


class ScoreRow(Record, frozen=True, kw_only=True, omit_defaults=False):
    """One metric of one task (or group) for one model, with all that is needed to defend it.

    `n` counts the samples in the mean, `total` those asked; `failed` and `unscored` are left
    out of the mean, `unparsed`, `truncated`, `refused` and `filtered` are in it.
    `stderr_method` says how error and 95% interval (`low`, `high`) were computed.
    `num_fewshot` is None for a group whose members differ in it. `valid` is False where more
    samples failed than the run allows, or a group lacks a member.
    """

    model: str
    task: str
    metric: str
    filter: str = ""
    value: float
    stderr: float | None = None
    low: float | None = None
    high: float | None = None
    stderr_method: str = ""
    higher_is_better: bool | None = True
    mode: Mode
    style: str
    num_fewshot: int | None = 0
    group: bool = False
    version: str = ""
    n: int
    total: int
    failed: int = 0
    unscored: int = 0
    unparsed: int = 0
    truncated: int = 0
    refused: int = 0
    filtered: int = 0
    valid: bool = True

    def aggregate(self) -> Aggregate:
        """The metric alone."""
        return Aggregate(
            metric=self.metric,
            filter=self.filter,
            value=self.value,
            n=self.n,
            stderr=self.stderr,
            low=self.low,
            high=self.high,
            method=self.stderr_method,
            higher_is_better=self.higher_is_better,
        )


class CellRow(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What one task took of one model: samples by status, requests, tokens, cost, time."""

    model: str
    task: str
    mode: Mode
    total: int
    statuses: dict[str, int] = {}
    requests: int = 0
    usage: Usage = Usage()
    cost_usd: float | None = None
    notes: dict[str, int] = {}


class Scores(Record, frozen=True, kw_only=True):
    """The content of scores.json."""

    scores: tuple[ScoreRow, ...] = ()
    cells: tuple[CellRow, ...] = ()


def folder_name(label: str) -> str:
    """`label` as a file name: safe on every system, different labels stay different.

    `openai/gpt-4o` becomes `openai__gpt-4o`; what does not fit that way ends in a hash.
    """
    plain = label.replace("/", "__")
    safe = re.sub(r"[^\w.=+-]+", "_", plain).strip("._") or "_"
    if safe == plain and "__" not in label and len(safe) <= 120:
        return safe
    import hashlib

    return f"{safe[:100]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    text = msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=2)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_bytes(text + b"\n")
    scratch.replace(path)


class SampleWriter:
    """Writes samples as they finish, and at the end puts them in the task's order.

    Memory: 24 bytes a sample.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = self._part.open("wb", buffering=_BUFFER)
        self._index, self._start, self._length = array("q"), array("q"), array("q")
        self._at = 0

    def write(
        self,
        sample: Sample,
        requests: Sequence[Request],
        responses: Sequence[Response],
        score: Score,
    ) -> None:
        """Append one finished sample."""
        line = canonical(sample_line(sample, requests, responses, score)) + b"\n"
        self._file.write(line)
        self._index.append(sample.index)
        self._start.append(self._at)
        self._length.append(len(line))
        self._at += len(line)

    def finish(self) -> Path:
        """Put the lines in order under the final name."""
        self._file.close()
        order = sorted(range(len(self._index)), key=self._index.__getitem__)
        scratch = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with self._part.open("rb") as source, scratch.open("wb") as target:
            for i in order:
                source.seek(self._start[i])
                target.write(source.read(self._length[i]))
        scratch.replace(self._path)
        self._part.unlink()
        return self._path

    def abandon(self) -> None:
        """Drop what was written: the journal has every answer."""
        self._file.close()
        self._part.unlink(missing_ok=True)


def sample_line(
    sample: Sample, requests: Sequence[Request], responses: Sequence[Response], score: Score
) -> SampleLine:
    """The line that a finished sample leaves."""
    usage = sum((r.usage for r in responses), Usage())
    return SampleLine(
        id=sample.id,
        index=sample.index,
        status=score.status,
        target=sample.target,
        cluster=sample.cluster,
        requests=tuple(requests),
        responses=tuple(responses),
        scores=score.values,
        extracted=score.extracted,
        note=score.note,
        usage=usage,
        latency_s=round(sum(r.latency_s for r in responses), 6),
    )


def read_samples(path: Path) -> Iterator[SampleLine]:
    """The lines of a samples file, one at a time."""
    decoder = msgspec.json.Decoder(SampleLine)
    with path.open("rb") as file:
        for line in file:
            yield decoder.decode(line)


class _ScoreOnly(Record, frozen=True, kw_only=True):
    status: Status
    scores: dict[str, Any] = {}
    extracted: Any = None
    note: str = ""


def read_scores_of(path: Path) -> Iterator[Score]:
    """The scores in a samples file, in its order, without reading prompts and answers."""
    decoder = msgspec.json.Decoder(_ScoreOnly)
    with path.open("rb") as file:
        for line in file:
            row = decoder.decode(line)
            yield Score(
                status=row.status, values=row.scores, extracted=row.extracted, note=row.note
            )


class Run:
    """A run folder, opened for reading."""

    def __init__(self, path: Path, manifest: dict[str, Any], results: Scores) -> None:
        self.path, self.manifest, self.results = path, manifest, results

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, state={self.state!r}, {len(self.results.scores)} scores)"

    @property
    def state(self) -> str:
        """`running`, `done`, `failed` (done, some samples failed), `stopped` or `interrupted`."""
        return str(self.manifest.get("state", "running"))

    @property
    def scores(self) -> pd.DataFrame:
        """Every metric: one row a (model, task, metric, filter)."""
        import pandas as pd

        rows = [msgspec.structs.asdict(row) for row in self.results.scores]
        return pd.DataFrame(rows, columns=list(ScoreRow.__struct_fields__))

    def samples(self, task: str, model: str) -> Iterator[SampleLine]:
        """The samples of one task and model, lazily.

        Raises:
            UnknownNameError: The run holds no finished samples of that name.
        """
        from evalkit.errors import UnknownNameError

        models = [str(m["label"]) for m in self.manifest["models"]]
        if model not in models:
            raise UnknownNameError("model in this run", model, models)
        path = samples_path(self.path, model, task)
        if not path.is_file():
            tasks = [str(t) for t in self.manifest["tasks"]]
            raise UnknownNameError("finished task in this run", task, tasks)
        return read_samples(path)


def samples_path(folder: Path, model: str, task: str) -> Path:
    """Where the samples of a task and model lie in a run folder."""
    return folder / SAMPLES / folder_name(model) / f"{folder_name(task)}.jsonl"


def load_run(path: str | Path) -> Run:
    """The run in the folder `path`.

    Raises:
        InputError: There is no run there, or its manifest cannot be read.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    if manifest is None:
        raise InputError(f"{folder} is not a run folder: it has no {MANIFEST}")
    scores = folder / SCORES
    results = msgspec.json.decode(scores.read_bytes(), type=Scores) if scores.exists() else Scores()
    return Run(folder, manifest, results)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest in `folder`, or None where there is none.

    Raises:
        InputError: It is not JSON.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest: dict[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    return manifest
