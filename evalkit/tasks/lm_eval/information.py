"""What is known of a task from the index alone: no row loaded, lm-eval not imported."""

from __future__ import annotations

from pathlib import Path

from evalkit.records import Mode
from evalkit.tasks.lm_eval.index import Entry
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

#: Words in the name of lm-eval's folder, and the category that they stand for; the first wins.
_CATEGORIES = {
    "code": ("humaneval", "mbpp", "code", "cruxeval", "json_schema"),
    "maths": ("gsm", "math", "arithmetic", "asdiv", "aime", "mgsm", "hrm8k"),
    "long_context": ("ruler", "longbench", "scrolls", "babilong", "qasper", "libra", "niah"),
    "safety": ("toxi", "bbq", "wmdp", "crows", "winogender", "discrim", "ethics", "truthfulqa"),
    "instruction_following": ("ifeval",),
    "exams": ("agieval", "mmlu", "cmmlu", "ceval", "exam", "aclue", "kmmlu", "leaderboard"),
    "multilingual": ("xcopa", "xnli", "xwinograd", "xstory", "belebele", "flores", "lambada_multi"),
    "reasoning": ("bbh", "bigbench", "logiqa", "musr", "winogrande", "hellaswag", "piqa", "copa"),
    "knowledge": ("arc", "trivia", "nq_open", "webqs", "openbookqa", "sciq", "qa"),
    "language_modelling": ("lambada", "wikitext", "pile", "paloma", "c4", "blimp"),
}


def category_of(path: Path) -> str:
    """The category that the folder of a definition suggests; empty where none does."""
    folders = path.parts
    if "tasks" not in folders:
        return ""
    name = folders[len(folders) - folders[::-1].index("tasks") :][0].lower()
    found = (c for c, words in _CATEGORIES.items() if any(word in name for word in words))
    return next(found, "")


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
        category=category_of(Path(entry.path)),
        tags=tuple(entry.tags),
        modes=_modes(entry),
        metrics=tuple(entry.metrics) or _METRICS.get(entry.output_type, ()),
        num_fewshot=entry.num_fewshot or 0,
        source=entry.dataset_path,
        heavy_scoring=entry.unsafe_code,
    )


def _modes(entry: Entry) -> tuple[Mode, ...]:
    if entry.name in _SCORED_BY_LOGLIKELIHOOD:
        return ("loglikelihood",)
    return MODES.get(entry.output_type, ("generate",))
