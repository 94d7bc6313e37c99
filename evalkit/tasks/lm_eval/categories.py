"""The category that a definition's folder suggests: lm-eval itself states none."""

from __future__ import annotations

from pathlib import Path

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
