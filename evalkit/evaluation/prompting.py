"""How each task is put to each model: decided from capabilities, before anything is spent."""

from __future__ import annotations

from typing import Literal

from evalkit.config.model_spec import ModelSpec
from evalkit.config.run_config import ModelEntry, RunConfig
from evalkit.errors import UnsupportedError
from evalkit.models.protocol import Capabilities
from evalkit.records import Mode
from evalkit.tasks.protocol import Prompting, TaskInfo
from evalkit.tasks.suites import SuiteEntry

#: Providers where lm-eval itself puts raw prompts unless a chat template is asked for.
_RAW_BY_DEFAULT = frozenset({"hf", "lm_eval"})


def decide_prompting(
    config: RunConfig,
    entry: ModelEntry,
    capabilities: Capabilities,
    info: TaskInfo,
    suite: SuiteEntry | None = None,
) -> Prompting:
    """The prompting of one task for one model.

    Args:
        config: The run.
        entry: The model and its own settings.
        capabilities: What the model can do.
        info: The task.
        suite: What a suite says of the task; the run's and the model's own settings win.

    Raises:
        UnsupportedError: The model cannot be asked this task, and why.
    """
    mode = _mode(config, entry, capabilities, info)
    style = _style(config, entry, capabilities, info, mode)
    system = config.system if entry.system is None else entry.system
    if system and style == "chat" and not capabilities.system:
        raise UnsupportedError(f"{entry.spec().label} takes no system message; leave out --system")
    suite = suite or SuiteEntry(task=info.name)
    return Prompting(
        style=style,
        mode=mode,
        num_fewshot=suite.num_fewshot if config.num_fewshot is None else config.num_fewshot,
        multiturn=config.fewshot_as_multiturn,
        system=system,
        seed=config.seed,
        sampling={**suite.sampling, **_sampling(config, entry)},
        repeats=suite.repeats if config.repeats is None else config.repeats,
    )


def _mode(config: RunConfig, entry: ModelEntry, capabilities: Capabilities, info: TaskInfo) -> Mode:
    wanted = (config.mode,) if config.mode in info.modes else info.modes
    for mode in wanted:
        if mode is not None and _can(capabilities, mode):
            return mode
    label = entry.spec().label
    needs = _NEEDS.get(wanted[0] or "", "tool calls")
    raise UnsupportedError(
        f"Task {info.name!r} needs {needs}, which {label} does not give, "
        "and the task cannot be asked as a question"
    )


_NEEDS = {
    "loglikelihood": "log-likelihoods",
    "perplexity": "log-likelihoods of whole texts",
}


def _can(capabilities: Capabilities, mode: Mode) -> bool:
    if mode == "loglikelihood":
        return capabilities.loglikelihood
    if mode == "perplexity":
        return capabilities.loglikelihood and capabilities.rolling
    if mode == "tools":
        return capabilities.tools
    return True


def _style(
    config: RunConfig,
    entry: ModelEntry,
    capabilities: Capabilities,
    info: TaskInfo,
    mode: Mode,
) -> Literal["chat", "text"]:
    asked = config.chat_template if entry.chat_template is None else entry.chat_template
    spec = entry.spec()
    if asked is True and not capabilities.chat:
        raise UnsupportedError(f"{spec.label} has no chat template; use --no-chat-template")
    if asked is False and not capabilities.text:
        raise UnsupportedError(
            f"{spec.label} takes chat messages only; leave out --no-chat-template"
        )
    if asked is not None:
        return "chat" if asked else "text"
    return "chat" if _chat_by_default(spec, capabilities, info, mode) else "text"


def _chat_by_default(
    spec: ModelSpec, capabilities: Capabilities, info: TaskInfo, mode: Mode
) -> bool:
    if not capabilities.chat or not capabilities.text:
        return capabilities.chat
    if mode in ("loglikelihood", "perplexity"):
        return False
    return not (info.kind == "lm_eval" and spec.provider in _RAW_BY_DEFAULT)


def _sampling(config: RunConfig, entry: ModelEntry) -> dict[str, float | int]:
    overrides = {}
    for name in ("temperature", "top_p", "max_tokens"):
        own, common = getattr(entry, name), getattr(config, name)
        value = common if own is None else own
        if value is not None:
            overrides[name] = value
    return overrides
