"""Multiple choice scored: by log-likelihood, or by the letter that an answer names."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.records import Response, Score
from evalkit.scoring.choice import VERSION, read_choice
from evalkit.scoring.scorer import Verdict, mean_score, without_thoughts
from evalkit.tasks.prompts import letter

#: Raised whenever a verdict can change.
CHOICES_VERSION = f"1, letters {VERSION}"
METRICS = {"loglikelihood": ("acc", "acc_norm"), "letter": ("acc",)}


def score_loglikelihoods(answers: Sequence[Response], choices: Sequence[str], target: int) -> Score:
    """`acc` takes the likeliest choice, `acc_norm` the likeliest for each of its UTF-8 bytes."""
    if len(answers) != len(choices) or any(answer.logprob is None for answer in answers):
        return Score(status="unscored", note="not every choice has a log-likelihood")
    sums = [float(answer.logprob or 0.0) for answer in answers]
    means = [total / max(1, len(c.encode())) for total, c in zip(sums, choices, strict=True)]
    likeliest, normed = _place_of_max(sums), _place_of_max(means)
    return Score(
        values={"acc": float(likeliest == target), "acc_norm": float(normed == target)},
        extracted=choices[likeliest],
    )


def score_letters(answers: Sequence[Response], choices: Sequence[str], target: int) -> Score:
    """`acc` is whether the letter that an answer names is the right one."""
    letters = [letter(index) for index in range(len(choices))]

    def judge(answer: Response) -> Verdict:
        found = read_choice(without_thoughts(answer.text), letters, choices)
        right = found == letters[target]
        return Verdict(values={"acc": float(right)}, extracted=found, parsed=found is not None)

    return mean_score(answers, judge)


def _place_of_max(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
