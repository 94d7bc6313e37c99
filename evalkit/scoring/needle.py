"""Recall of needles: which of the facts hidden in a long text the answer gives back.

The test is G. Kamradt's (2023), "Needle In A Haystack", github.com/gkamradt; with several
needles after Hsieh et al. (2024), "RULER", arXiv:2404.06654.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from evalkit.records import Response, Sample, Score
from evalkit.scoring.scorer import NoParams, Scorer, Verdict, final_text, mean_score, named
from evalkit.scoring.text import targets_of


def found_needles(text: str, needles: Sequence[str]) -> list[str]:
    """The needles that stand in `text` as whole words, without regard to case."""
    return [needle for needle in needles if _whole(needle).search(text)]


def _whole(needle: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(needle)}(?!\w)", re.IGNORECASE)


def needle(sample: Sample, answers: Sequence[Response], params: NoParams) -> Score:
    """`recall` is the part of the needles that was found, `all_found` whether it is all."""
    wanted = targets_of(sample)

    def judge(answer: Response) -> Verdict:
        found = found_needles(final_text(answer), wanted)
        recall = len(found) / len(wanted)
        values = {"recall": recall, "all_found": float(len(found) == len(wanted))}
        return Verdict(values=values, extracted=found)

    if not wanted:
        return Score(status="unscored", note="the sample names no needle")
    return mean_score(answers, judge)


NEEDLE = Scorer(
    name="needle",
    version="1",
    params=NoParams,
    score=needle,
    metrics=named("recall", "all_found"),
)
