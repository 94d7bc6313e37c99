"""`evalkit run` and `evalkit resume`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from evalkit.cli.collection import settle
from evalkit.cli.output import Json, print_json
from evalkit.config.run_config import RunConfig
from evalkit.errors import InputError

if TYPE_CHECKING:
    from evalkit.runs import Run

_EXIT_OF_STATE = {"done": 0, "failed": 1, "stopped": 3, "interrupted": 130}

Opt = typer.Option


def run(
    config: Annotated[
        Path | None, typer.Argument(help="A YAML file that says the same as the flags, and more.")
    ] = None,
    model: Annotated[
        list[str] | None, Opt("-m", "--model", help="provider/name?key=value; may be repeated.")
    ] = None,
    task: Annotated[
        list[str] | None, Opt("-t", "--task", help="A task, group, tag or pattern; repeatable.")
    ] = None,
    suite: Annotated[list[str] | None, Opt("-s", "--suite", help="A suite; repeatable.")] = None,
    limit: Annotated[
        str | None, Opt(help="Samples a task: a number, or a fraction below 1.")
    ] = None,
    num_fewshot: Annotated[int | None, Opt(help="Worked examples in the prompt.")] = None,
    seed: Annotated[int | None, Opt(help="For everything that is drawn.")] = None,
    chat_template: Annotated[
        bool | None,
        Opt("--chat-template/--no-chat-template", help="Put prompts as chat, or raw."),
    ] = None,
    fewshot_as_multiturn: Annotated[
        bool | None,
        Opt("--fewshot-as-multiturn/--fewshot-in-one-turn", help="Worked examples as turns."),
    ] = None,
    system: Annotated[str | None, Opt(help="A system instruction.")] = None,
    mode: Annotated[
        str | None, Opt(help="loglikelihood or letter: how to ask multiple choice.")
    ] = None,
    temperature: Annotated[float | None, Opt(help="Instead of the task's own.")] = None,
    max_tokens: Annotated[int | None, Opt(help="Instead of the task's own.")] = None,
    repeats: Annotated[int | None, Opt(help="Answers a sample.")] = None,
    concurrency: Annotated[int | None, Opt(help="Requests in flight a model.")] = None,
    deadline: Annotated[
        float | None, Opt(metavar="SECONDS", help="How long one attempt at an answer may take.")
    ] = None,
    max_cost: Annotated[float | None, Opt(metavar="USD", help="Stop before spending more.")] = None,
    output: Annotated[
        str | None, Opt("-o", "--output", help="The run folder; an existing one goes on.")
    ] = None,
    mirror: Annotated[str | None, Opt(help="A mirror of data sets, looked up first.")] = None,
    include_path: Annotated[
        list[str] | None, Opt(help="A folder with task YAMLs of your own; repeatable.")
    ] = None,
    offline: Annotated[bool | None, Opt("--offline", help="Fetch no data.")] = None,
    no_cache: Annotated[
        bool, Opt("--no-cache", help="Ask again what the folder already holds.")
    ] = False,
    dry_run: Annotated[
        bool, Opt("--dry-run", help="Print requests, tokens and cost; spend nothing.")
    ] = False,
    log_level: Annotated[str | None, Opt(help="debug, info, warning or error.")] = None,
    json: Json = False,
) -> None:
    """Evaluate models on tasks and suites, side by side, into one run folder."""
    flags = {
        "models": model,
        "tasks": task,
        "suites": suite,
        "limit": _number("--limit", limit),
        "num_fewshot": num_fewshot,
        "seed": seed,
        "chat_template": chat_template,
        "fewshot_as_multiturn": fewshot_as_multiturn,
        "system": system,
        "mode": mode,
        "temperature": temperature,
        "max_tokens": max_tokens,
        "repeats": repeats,
        "concurrency": concurrency,
        "deadline_s": deadline,
        "max_cost": max_cost,
        "output": output,
        "mirror": mirror,
        "include_path": include_path,
        "offline": offline,
        "cache": False if no_cache else None,
        "log_level": log_level,
    }
    merged = merge(config, {name: value for name, value in flags.items() if value is not None})
    if dry_run:
        _dry_run(merged, json)
        return
    _finish(_evaluate(merged, json), json)


def resume(
    folder: Annotated[Path, typer.Argument(help="A run folder.")],
    concurrency: Annotated[int | None, Opt(help="Requests in flight a model.")] = None,
    max_cost: Annotated[float | None, Opt(metavar="USD", help="Stop before spending more.")] = None,
    json: Json = False,
) -> None:
    """Go on with a run where it stopped, from its manifest alone."""
    from evalkit.evaluation.resume import config_of

    config = config_of(folder)
    changes = {"concurrency": concurrency, "max_cost": max_cost}
    changed = {name: value for name, value in changes.items() if value is not None}
    _finish(_evaluate(msgspec.structs.replace(config, **changed), json), json)


def merge(path: Path | None, flags: dict[str, Any]) -> RunConfig:
    """The config file with the flags over it.

    Raises:
        InputError: A value of the wrong type.
    """
    from evalkit.config.yaml import read_yaml

    base = read_yaml(path, RunConfig) if path else RunConfig()
    fields = {name: getattr(base, name) for name in RunConfig.__struct_fields__}
    try:
        config = msgspec.convert({**fields, **flags}, RunConfig)
    except msgspec.ValidationError as error:
        raise InputError(f"Wrong setting: {error}") from None
    # a run may be resumed from another folder
    return msgspec.structs.replace(
        config, include_path=tuple(str(Path(p).expanduser().resolve()) for p in config.include_path)
    )


def _number(flag: str, text: str | None) -> int | float | None:
    if text is None:
        return None
    try:
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    except ValueError:
        raise InputError(f"{flag} must be a number, got {text!r}") from None


def _evaluate(config: RunConfig, json: bool) -> Run:
    from evalkit.engine.progress import progress_for
    from evalkit.evaluation.run import evaluate

    observer = progress_for(quiet=json)
    return evaluate(config, command=sys.argv, observer=observer, on_ready=settle)


def _dry_run(config: RunConfig, json: bool) -> None:
    from evalkit.cli.tables import print_plan
    from evalkit.evaluation.estimate import dry_run
    from evalkit.evaluation.run import wait_for

    plans = wait_for(dry_run(config))
    print_json({"plan": plans}) if json else print_plan(plans)


def _finish(run: Run, json: bool) -> None:
    from evalkit.cli.tables import print_run, run_summary

    print_json(run_summary(run)) if json else print_run(run)
    code = _EXIT_OF_STATE[run.state]
    if code:
        raise typer.Exit(code)
