r"""Which of several choices an answer names: the reading of "answer with the letter".

Rules go from the surest sign to the weakest; the first that finds anything decides. A rule
that finds two different letters decides too: the answer is ambiguous, and no letter is read.

1. the whole answer is a letter, alone or dressed (`B`, `(B)`, `**B.**`);
2. a statement of the answer (`the answer is B`, `Answer: (B)`, `\boxed{B}`): the last one;
3. the last line, or else the first, is a letter alone, or begins with a letter and a closing
   sign (`B) Paris`, `B. Paris`);
4. the whole answer, its last line, or what follows `answer is`, is the text of one choice;
5. exactly one of the letters stands by itself in the last line, or else in the whole answer
   (an `A` before a lower-case word is the article).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

VERSION = 1

_BOXED = re.compile(r"\\boxed\s*\{\s*(?:\\(?:text|mathrm|mathbf|textbf)\s*\{\s*)?([^{}]*?)\s*\}")
_TAG = re.compile(r"<\s*(/?)\s*(?:final_)?answer\s*>", re.IGNORECASE)
_DRESS = re.compile(r"[*_`$]+")
_OPEN, _CLOSE = r"[(\[{<\"'“‘«「【]?", r"[)\]}>\"'”’»」】]?"
_CUE = (
    r"(?:answer|(?:correct|right|best|my|final)\s+(?:option|choice|letter)|"
    r"(?:choose|chose|pick|select)(?:\s+(?:option|choice|letter))?|"
    r"antwort|respuesta|réponse|resposta|risposta|odpowiedź|"
    r"cevap|yanıt|jawaban|đáp án|câu trả lời|ответ|відповідь|الإجابة|الجواب|उत्तर|উত্তর|"
    r"答案|选项|答え|解答|정답|답)"
)
_LINK = (
    r"(?:\s+(?:is|are|would\s+be|should\s+be|must\s+be|ist|lautet|es|est|è|é|to\b[^:\n]{0,60}\bis)"
    r"|\s*(?:是|为|為|は|은|는))?"
)
#: What a cue begins with, in lower case: a text is searched for these far faster than for cues.
_STEMS = (
    *("answer", "correct", "right", "best", "my", "final", "choose", "chose", "pick", "select"),
    *("antwort", "respuesta", "réponse", "resposta", "risposta", "odpowiedź", "cevap", "yan"),
    *("jawaban", "đáp án", "câu trả lời", "ответ", "відповідь", "الإجابة", "الجواب", "उत्तर"),
    *("উত্তর", "答案", "选项", "答え", "解答", "정답", "답"),
)
#: Letters that patterns match in one case and `lower` does not bring to the other.
_ODD_CASES = re.compile("[ıİ\u1c80-\u1c88]")
_FILLER = r"(?:\s*(?:most\s+likely|probably|clearly|therefore|thus|the|option|choice|letter))*"
_AFTER_CUE = re.compile(rf"(?i){_CUE}{_LINK}\s*:?\s*([^\n]+)")


def read_choice(text: str, letters: Sequence[str], choices: Sequence[str] = ()) -> str | None:
    """The letter of the choice that an answer names; None where it names none, or several.

    Args:
        text: What the model wrote.
        letters: The letters that stand before the choices, in order.
        choices: The choices' texts in the same order, for answers that repeat one.
    """
    cleaned = _clean(text)
    if not cleaned or not letters:
        return None
    by_fold = {_fold(letter): letter for letter in letters}
    for rule in (_alone, _stated, _on_a_line):
        if found := rule(cleaned, tuple(by_fold)):
            return by_fold[found[0]] if len(found) == 1 else None
    if found := _verbatim(cleaned, letters, choices):
        return found[0] if len(found) == 1 else None
    found = _single(cleaned, tuple(by_fold))
    return by_fold[found[0]] if len(found) == 1 else None


def _clean(text: str) -> str:
    """`text` with compatibility forms resolved (`Ｂ`, `Ⓑ`), boxes opened and emphasis taken off."""
    normal = unicodedata.normalize("NFKC", text)
    opened = _BOXED.sub(lambda match: f"\nanswer: {match[1]}\n", normal)
    opened = _TAG.sub(lambda match: "\n" if match[1] else "\nanswer: ", opened)
    return _DRESS.sub("", opened).strip()


def _fold(letter: str) -> str:
    return unicodedata.normalize("NFKC", letter).strip()


@lru_cache(maxsize=256)
def _patterns(letters: tuple[str, ...]) -> dict[str, re.Pattern[str]]:
    """The patterns of the rules; a lower-case letter counts only where nothing else stands."""
    one = "(" + "|".join(re.escape(letter) for letter in sorted(letters, key=len)[::-1]) + ")"
    # a Korean or Japanese particle may follow a Latin letter without a space
    word = r"A-Za-zÀ-ɏ0-9_'’" if all(letter.isascii() for letter in letters) else r"\w'’"
    end = rf"(?![{word}])"
    article = r"(?!(?<=[AI])\s+(?!(?:and|or)\b)[a-z])"
    return {
        "alone": re.compile(rf"\W*{one}\W*", re.IGNORECASE),
        "stated": re.compile(
            rf"(?i:{_CUE}){_LINK}\s*[::=]?{_FILLER}\s*[::]?\s*{_OPEN}{one}{_CLOSE}{end}"
        ),
        "line": re.compile(rf"{_OPEN}{one}\s*(?:[)\]}}.:、]|$)(?!\w)"),
        "single": re.compile(rf"(?<![{word}])(?<!\d[.,]){one}{end}(?![.,]\d){article}"),
    }


def _alone(text: str, letters: tuple[str, ...]) -> list[str]:
    match = _patterns(letters)["alone"].fullmatch(text)
    return [_spelled(match[1], letters)] if match else []


def _stated(text: str, letters: tuple[str, ...]) -> list[str]:
    """The last statement of the answer, unless it goes on to name another ("B or C")."""
    matches = list(_from_cues(_patterns(letters)["stated"], text))
    if not matches:
        return []
    last = matches[-1]
    rest = text[last.end() : last.end() + 40]
    return _unique([last[1], *_alternatives(rest, letters)])


def _from_cues(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """What `pattern.finditer(text)` gives, for a pattern that begins with a cue."""
    lowered = text.lower()
    if len(lowered) != len(text) or _ODD_CASES.search(text):
        yield from pattern.finditer(text)
        return
    end = 0
    for place in sorted(_places(lowered)):
        if place >= end and (match := pattern.match(text, place)):
            yield match
            end = match.end()


def _places(lowered: str) -> Iterator[int]:
    for stem in _STEMS:
        place = lowered.find(stem)
        while place >= 0:
            yield place
            place = lowered.find(stem, place + 1)


def _alternatives(rest: str, letters: tuple[str, ...]) -> list[str]:
    """Letters that a statement goes on with: "or C", "and (D)", "/C"."""
    one = "|".join(re.escape(letter) for letter in letters)
    joined = rf"\W{{0,3}}(?:\b(?:or|and|oder|und|ou|et|o|y|e)\b|[/,&])\s*{_OPEN}({one})(?![\w'’])"
    match = re.match(joined, rest)
    return [match[1]] if match else []


def _on_a_line(text: str, letters: tuple[str, ...]) -> list[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    pattern = _patterns(letters)["line"]
    begun = [match[1] for line in lines if (match := pattern.match(line))]
    if len(_unique(begun)) > 1 and len(lines) > 1:
        last = _alone(lines[-1], letters)  # the choices are listed again: only a last word counts
        return last or _unique(begun)
    for line in (lines[-1], lines[0]):
        if match := pattern.match(line):
            return _unique([match[1], *_alternatives(line[match.end() :], letters)])
    return []


def _verbatim(text: str, letters: Sequence[str], choices: Sequence[str]) -> list[str]:
    said = {_bare(part) for part in _parts(text)}
    matched = [
        letter
        for letter, choice in zip(letters, choices, strict=False)
        if _bare(choice) and _bare(choice) in said
    ]
    return _unique(matched)


def _parts(text: str) -> Iterable[str]:
    yield text
    lines = [line for line in text.splitlines() if line.strip()]
    yield lines[-1]
    for match in _from_cues(_AFTER_CUE, text):
        yield match[1]


def _bare(text: str) -> str:
    normal = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(normal.split()).strip(" .,:;!?'\"“”‘’()[]*_`")


def _single(text: str, letters: tuple[str, ...]) -> list[str]:
    pattern = _patterns(letters)["single"]
    lines = [line for line in text.splitlines() if line.strip()]
    for part in (lines[-1], text):
        if found := _unique(match[1] for match in pattern.finditer(part)):
            return found
    return []


def _spelled(found: str, letters: tuple[str, ...]) -> str:
    """The letter as it is listed: `b` is read as `B` where only `B` is."""
    if found in letters:
        return found
    return next(letter for letter in letters if letter.casefold() == found.casefold())


def _unique(found: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(found))
