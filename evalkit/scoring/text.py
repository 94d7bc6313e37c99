"""Text compared with text: exact match, containment and the F1 of words.

`exact_match` and `contains` normalise both sides as their parameters say; `f1` is SQuAD's
(Rajpurkar et al., 2016, arXiv:1606.05250): lower case, no punctuation, no English articles, and
the harmonic mean of the precision and recall of words, the best over all targets.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from evalkit.config.yaml import Definition
from evalkit.records import Response, Sample, Score
from evalkit.scoring.scorer import NoParams, Scorer, Verdict, final_text, mean_score, named

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Normalisation(Definition, frozen=True, kw_only=True):
    """What is made alike before texts are compared; white space always is.

    Args:
        ignore_case: Compare without upper and lower case.
        ignore_punctuation: Drop ASCII punctuation.
        ignore_articles: Drop the English articles.
        unicode: Make different spellings of one character alike (NFKC).
    """

    ignore_case: bool = True
    ignore_punctuation: bool = False
    ignore_articles: bool = False
    unicode: bool = True


class ExactMatchParams(Normalisation, frozen=True, kw_only=True):
    """How an answer is read.

    Args:
        pattern: A regular expression; its last match in the answer (its first group, if it has
            one) is compared. Without it, the whole answer is.
        last_line: Compare the last line that is not empty.
    """

    pattern: str = ""
    last_line: bool = False


class ContainsParams(Normalisation, frozen=True, kw_only=True):
    """Whether `any` or `all` of the targets must stand in the answer."""

    require: Literal["any", "all"] = "any"


def normalise(text: str, how: Normalisation) -> str:
    """`text` with everything made alike that `how` names."""
    if how.unicode:
        text = unicodedata.normalize("NFKC", text)
    if how.ignore_case:
        text = text.casefold()
    if how.ignore_punctuation:
        text = text.translate(_NO_PUNCTUATION)
    if how.ignore_articles:
        text = _ARTICLES.sub(" ", text)
    return " ".join(text.split())


def targets_of(sample: Sample) -> list[str]:
    """The right answers of a sample as texts: its target, or each of a list of them."""
    target = sample.target
    return [str(one) for one in target] if isinstance(target, (list, tuple)) else [str(target)]


def exact_match(sample: Sample, answers: Sequence[Response], params: ExactMatchParams) -> Score:
    """1 where the answer equals one of the targets."""
    wanted = {normalise(target, params) for target in targets_of(sample)}

    def judge(answer: Response) -> Verdict:
        found = _extract(final_text(answer), params)
        if found is None:
            return Verdict(values={"exact_match": 0.0}, parsed=False)
        right = normalise(found, params) in wanted
        return Verdict(values={"exact_match": float(right)}, extracted=found)

    return mean_score(answers, judge)


def contains(sample: Sample, answers: Sequence[Response], params: ContainsParams) -> Score:
    """1 where any (or all) of the targets stand in the answer."""
    wanted = [normalise(target, params) for target in targets_of(sample)]
    decide: Any = any if params.require == "any" else all

    def judge(answer: Response) -> Verdict:
        text = normalise(final_text(answer), params)
        return Verdict(values={"contains": float(decide(w in text for w in wanted))})

    return mean_score(answers, judge)


def f1(sample: Sample, answers: Sequence[Response], params: NoParams) -> Score:
    """The F1 of words and the exact match, after SQuAD's normalisation."""
    how = Normalisation(ignore_punctuation=True, ignore_articles=True, unicode=False)
    wanted = [normalise(target, how) for target in targets_of(sample)]

    def judge(answer: Response) -> Verdict:
        text = normalise(final_text(answer), how)
        values = {"f1": max(map(lambda target: word_f1(text, target), wanted), default=0.0)}
        return Verdict(values={**values, "exact_match": float(text in wanted)}, extracted=text)

    return mean_score(answers, judge)


def word_f1(text: str, target: str) -> float:
    """The F1 of the words of two normalised texts; 1 for two empty ones."""
    words, wanted = text.split(), target.split()
    if not words or not wanted:
        return float(words == wanted)
    common = (Counter(words) & Counter(wanted)).total()
    return 2 * common / (len(words) + len(wanted))


def _extract(text: str, params: ExactMatchParams) -> str | None:
    if params.pattern:
        matches = list(re.finditer(params.pattern, text))
        if not matches:
            return None
        return next((group for group in matches[-1].groups() if group is not None), matches[-1][0])
    if params.last_line:
        text = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    return text.strip() or None


def _check_pattern(params: ExactMatchParams, repeats: int) -> None:
    from evalkit.errors import InputError

    try:
        re.compile(params.pattern)
    except re.error as error:
        raise InputError(
            f"Scorer 'exact_match': pattern {params.pattern!r} is not a regular expression: {error}"
        ) from None


EXACT_MATCH = Scorer(
    name="exact_match",
    version="1",
    params=ExactMatchParams,
    score=exact_match,
    metrics=named("exact_match"),
    check=_check_pattern,
)
CONTAINS = Scorer(
    name="contains",
    version="1",
    params=ContainsParams,
    score=contains,
    metrics=named("contains"),
)
F1 = Scorer(name="f1", version="1", params=NoParams, score=f1, metrics=named("f1", "exact_match"))
