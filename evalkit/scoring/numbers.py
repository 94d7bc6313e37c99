r"""Final numeric answers: found in free text, read exactly, compared exactly or within a tolerance.

Where to look, the first that is there wins: the last `\boxed{...}`, what follows the last
`####`, what follows the last "answer is", "answer:" or "answer =", the last number of the text.

What a number is: digits with an optional sign (also the Unicode minus), commas between groups of
three, a decimal point, an exponent of at most two digits, `a/b` or `\frac{a}{b}`, a currency
sign before it, a percent sign after it. "45%" is 45 unless `percent: fraction` makes it 0.45.
Decimal commas are not read ("1,5" is 1 and 5): no rule could tell them from separators.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Literal

from evalkit.config.yaml import Definition
from evalkit.records import Response, Sample, Score
from evalkit.scoring.scorer import Scorer, Verdict, final_text, mean_score, named

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?![\d])|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(
    rf"""
    (?P<sign>(?<![\w)\]}}.])[-+]\s?)?           # a sign, not the minus between two numbers
    (?:\\?[$€£¥](?P<late>-)?)?
    (?:
      \\[dt]?frac\{{\s*(?P<top>-?\d+)\s*\}}\{{\s*(?P<bottom>-?\d+)\s*\}}
    | (?<![\d.])(?P<whole>{_DIGITS})
      (?:[eE](?P<exponent>[-+]?\d{{1,2}})(?![\d.\w]))?
      (?:\s?/\s?(?P<under>\d+(?:\.\d+)?)(?![\d/]))?
    )
    (?P<percent>\s?\\?%)?
    """,
    re.VERBOSE,
)
_ANSWER = re.compile(r"answer\b[^\n]{0,20}?(?:\bis\b|[:=])", re.IGNORECASE)
_MINUS = str.maketrans({"−": "-", "–": "-", "﹣": "-", "-": "-"})
#: No benchmark's answer is longer; an exact fraction of more digits would only cost time.
_MAX_DIGITS = 100


class NumberParams(Definition, frozen=True, kw_only=True):
    """How numbers are compared.

    Args:
        absolute: The largest difference that still counts as equal.
        relative: The same, as a part of the target.
        percent: Whether "45%" reads as 45 (`number`) or 0.45 (`fraction`).
        where: `final` looks for marked answers first; `last` takes the last number.
    """

    absolute: float = 0.0
    relative: float = 0.0
    percent: Literal["number", "fraction"] = "number"
    where: Literal["final", "last"] = "final"


def final_number(text: str, params: NumberParams | None = None) -> Fraction | None:
    """The number that `text` gives as its answer, or None."""
    params = params or NumberParams()
    text = text.translate(_MINUS)
    if params.where == "final":
        for place in _marked(text):
            if found := numbers_in(place, params):
                return found[0]
    found = numbers_in(text, params)
    return found[-1] if found else None


def numbers_in(text: str, params: NumberParams | None = None) -> list[Fraction]:
    """All numbers in `text`, in order."""
    params = params or NumberParams()
    read = (_read(match, params) for match in _NUMBER.finditer(text.translate(_MINUS)))
    return [number for number in read if number is not None]


def boxed(text: str) -> str | None:
    r"""What the last `\boxed{...}` of `text` holds, braces inside it balanced."""
    start = text.rfind(r"\boxed{")
    if start < 0:
        return None
    start += len(r"\boxed{")
    depth = 1
    for place, char in enumerate(text[start:], start):
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return text[start:place]
    return None


def _marked(text: str) -> Iterator[str]:
    """What is marked as the answer in `text`, the surest mark first."""
    inside = boxed(text)
    if inside is not None:
        yield _result(inside)
    _, hashes, after = text.rpartition("####")
    if hashes:
        yield _result(after)
    if answers := list(_ANSWER.finditer(text)):
        yield _result(_first_sentence(text[answers[-1].end() :]))


def _first_sentence(text: str) -> str:
    """A remark after the answer may hold numbers too."""
    return re.split(r"\n|[.!?](?:\s|$)", text.strip(), maxsplit=1)[0]


def _result(text: str) -> str:
    """Of "3 + 4 = 7" what follows the last equals sign that a number follows."""
    parts = text.split("=")
    return next((part for part in reversed(parts) if numbers_in(part)), text)


def _read(match: re.Match[str], params: NumberParams) -> Fraction | None:
    if len(match[0]) > _MAX_DIGITS:
        return None
    if match["top"] is not None:
        number = _ratio(Fraction(match["top"]), Fraction(match["bottom"]))
    else:
        number = Fraction(match["whole"].replace(",", "")) * _power(match["exponent"])
        if match["under"] is not None:
            number = _ratio(number, Fraction(match["under"]))
    if number is None:
        return None
    if (match["sign"] or "").startswith("-") or match["late"]:
        number = -number
    return number / 100 if match["percent"] and params.percent == "fraction" else number


def _power(exponent: str | None) -> Fraction:
    return Fraction(10) ** int(exponent) if exponent else Fraction(1)


def _ratio(top: Fraction, bottom: Fraction) -> Fraction | None:
    return top / bottom if bottom else None


def _equal(found: Fraction, wanted: Fraction, params: NumberParams) -> bool:
    allowed = max(Fraction(params.absolute), Fraction(params.relative) * abs(wanted))
    return abs(found - wanted) <= allowed


def number(sample: Sample, answers: Sequence[Response], params: NumberParams) -> Score:
    """1 where the answer's final number equals the target."""
    wanted = final_number(str(sample.target), params)
    if wanted is None:
        return Score(status="unscored", note=f"the target {sample.target!r} is not a number")
    return mean_score(answers, lambda answer: _judge(answer, wanted, params))


def _judge(answer: Response, wanted: Fraction, params: NumberParams) -> Verdict:
    found = final_number(final_text(answer), params)
    if found is None:
        return Verdict(values={"exact_match": 0.0}, parsed=False)
    right = _equal(found, wanted, params)
    return Verdict(values={"exact_match": float(right)}, extracted=_spelled(found))


def _spelled(number: Fraction) -> str:
    """An integer or a fraction in digits; a long one as a float, to keep records short."""
    text = str(number)
    return text if len(text) <= _MAX_DIGITS else f"{float(number):.6e}"


NUMBER = Scorer(
    name="number", version="1", params=NumberParams, score=number, metrics=named("exact_match")
)
