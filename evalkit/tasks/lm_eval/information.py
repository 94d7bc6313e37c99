"""What is known of a task from the index alone: no row loaded, lm-eval not imported."""

from __future__ import annotations

from evalkit.records import Mode
from evalkit.tasks.lm_eval.definitions import DEFAULT_MAX_TOKENS
from evalkit.tasks.lm_eval.entries import Entry
from evalkit.tasks.protocol import TaskInfo

MODES: dict[str, tuple[Mode, ...]] = {
    "multiple_choice": ("loglikelihood", "letter"),
    "loglikelihood": ("loglikelihood",),
    "loglikelihood_rolling": ("perplexity",),
    "generate_until": ("generate",),
}
#: lm-eval's metrics where a definition lists none (its `DEFAULT_METRIC_REGISTRY`).
_METRICS = {
    "multiple_choice": ("acc", "acc_norm"),
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    "generate_until": ("exact_match",),
}
#: Python classes say what they ask only when they run; these need log-likelihoods.
_SCORED_BY_LOGLIKELIHOOD = {"squadv2", "scrolls_quality", "scrolls_contractnli"}


def entry_info(entry: Entry) -> TaskInfo:
    """What the index knows of a task, a group or a tag (which has no modes)."""
    if entry.kind != "task":
        return TaskInfo(
            name=entry.name, kind="lm_eval", title=entry.title, version=entry.version, modes=()
        )
    return TaskInfo(
        name=entry.name,
        kind="lm_eval",
        title=entry.title,
        version=entry.version,
        category=entry.category,
        tags=tuple(entry.tags),
        modes=_modes(entry),
        metrics=tuple(entry.metrics) or _METRICS.get(entry.output_type, ()),
        num_fewshot=entry.num_fewshot or 0,
        source=entry.dataset_path,
        max_tokens=_max_tokens(entry),
        heavy_scoring=entry.unsafe_code,
    )


def _max_tokens(entry: Entry) -> int | None:
    if entry.max_tokens is None and entry.output_type == "generate_until":
        return DEFAULT_MAX_TOKENS
    return entry.max_tokens


def _modes(entry: Entry) -> tuple[Mode, ...]:
    if entry.name in _SCORED_BY_LOGLIKELIHOOD:
        return ("loglikelihood",)
    return MODES.get(entry.output_type, ("generate",))
