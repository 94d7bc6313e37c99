"""What a run is: the same fields as a YAML file, as flags, or as arguments of `evaluate`."""

from __future__ import annotations

from typing import Any, Literal

from evalkit.config.model_spec import ModelSpec, parse_model_spec
from evalkit.errors import InputError
from evalkit.records import Mode, Record

LogLevel = Literal["debug", "info", "warning", "error"]


class ModelEntry(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model in a config file: its spec, the name that tables show, and its own settings."""

    model: str
    alias: str = ""
    params: dict[str, Any] = {}
    chat_template: bool | None = None
    system: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    concurrency: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    input_price: float | None = None
    output_price: float | None = None

    def spec(self) -> ModelSpec:
        """The parsed spec, with `params` and `alias` of this entry."""
        parsed = parse_model_spec(self.model)
        params = {**parsed.params, **self.params}
        return ModelSpec(
            provider=parsed.provider, name=parsed.name, params=params, alias=self.alias
        )


class RunConfig(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that defines a run.

    `limit` is a number of samples a task (1 or more) or a fraction (between 0 and 1).
    `temperature`, `top_p` and `max_tokens` override what the tasks ask for.
    `mode` asks multiple-choice tasks in one mode for all models, so that they compare.
    `max_errors` is the share of failed samples above which a result is marked invalid.
    """

    models: tuple[str | ModelEntry, ...] = ()
    tasks: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    limit: int | float | None = None
    num_fewshot: int | None = None
    seed: int = 1234
    chat_template: bool | None = None
    fewshot_as_multiturn: bool | None = None
    system: str = ""
    mode: Mode | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    repeats: int | None = None
    concurrency: int | None = None
    max_attempts: int = 8
    deadline_s: float | None = None
    max_cost: float | None = None
    max_errors: float = 0.01
    output: str = ""
    mirror: str = ""
    offline: bool = False
    cache: bool = True
    include_path: tuple[str, ...] = ()
    log_level: LogLevel = "warning"

    def entries(self) -> tuple[ModelEntry, ...]:
        """The models, each with its own settings."""
        return tuple(m if isinstance(m, ModelEntry) else ModelEntry(model=m) for m in self.models)


#: Fields that change neither what is asked nor how it is scored: a run may go on with others.
_FREE = frozenset(
    {
        "cache",
        "concurrency",
        "deadline_s",
        "log_level",
        "max_attempts",
        "max_cost",
        "max_errors",
        "mirror",
        "offline",
        "output",
    }
)
_FREE_OF_MODEL = frozenset(
    ("concurrency", "requests_per_minute", "tokens_per_minute", "input_price", "output_price")
)


def check_config(config: RunConfig) -> RunConfig:
    """`config` itself, if every number in it makes sense.

    Raises:
        InputError: Names the setting, its value and what would be right.
    """
    if not config.models:
        raise InputError("No model was named: use -m provider/name, or `models:` in the config")
    if not config.tasks and not config.suites:
        raise InputError("No task was named: use -t TASK or -s SUITE, or `tasks:` in the config")
    _check_limit(config.limit)
    for name in ("repeats", "concurrency", "max_attempts", "max_tokens"):
        _at_least(name, getattr(config, name), 1)
    for name in ("num_fewshot", "temperature", "max_cost"):
        _at_least(name, getattr(config, name), 0)
    if config.deadline_s is not None and config.deadline_s <= 0:
        raise InputError(f"deadline_s must be above 0 seconds, got {config.deadline_s}")
    if not 0 <= config.max_errors <= 1:
        raise InputError(f"max_errors is a share between 0 and 1, got {config.max_errors}")
    for entry in config.entries():
        _check_entry(entry)
    _check_labels(config)
    return config


def _check_limit(limit: int | float | None) -> None:
    if limit is None or 0 < limit < 1:
        return
    if not (limit >= 1 and limit % 1 == 0):
        raise InputError(
            f"limit must be a whole number of samples (1 or more) or a fraction "
            f"between 0 and 1, got {limit}"
        )


def _at_least(name: str, value: float | None, least: int) -> None:
    if value is not None and not value >= least:
        raise InputError(f"{name} must be at least {least}, got {value}")


def _check_entry(entry: ModelEntry) -> None:
    for name in ("max_tokens", "concurrency", "requests_per_minute", "tokens_per_minute"):
        _at_least(f"{name} of {entry.model!r}", getattr(entry, name), 1)
    for name in ("temperature", "input_price", "output_price"):
        _at_least(f"{name} of {entry.model!r}", getattr(entry, name), 0)


def _check_labels(config: RunConfig) -> None:
    labels = [entry.spec().label for entry in config.entries()]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"Two models are both called {label!r}: give one an `alias`")


def identity(config: RunConfig) -> dict[str, Any]:
    """What must be equal for a run to go on in the same folder."""
    fields = {
        name: getattr(config, name) for name in RunConfig.__struct_fields__ if name not in _FREE
    }
    fields["models"] = [_entry_identity(entry) for entry in config.entries()]
    return fields


def _entry_identity(entry: ModelEntry) -> dict[str, Any]:
    spec = entry.spec()
    fields = {
        name: getattr(entry, name)
        for name in ModelEntry.__struct_fields__
        if name not in _FREE_OF_MODEL
    }
    params = {k: str(v) for k, v in sorted(spec.params.items()) if k not in _FREE_OF_MODEL}
    return {**fields, "model": f"{spec.provider}/{spec.name}", "params": params}
