"""Tokens of long texts that have most of their lines in common with earlier ones.

Few-shot prompts repeat the same header thousands of times, and encoding it again and again is
what a client of a fast server spends its time on. Where a tokenizer never joins a line break
to a letter or digit that follows it, a text's tokens are those of its lines, and the tokens of
a line that was seen before are remembered.

Which tokenizers those are is read from their definition: every text is first split by rules
that look at nothing left of where they are (byte-level BPE of GPT-2, Llama 3, Qwen, SmolLM and
many more). A line is encoded with the one character that follows it, so that rules which look
ahead see what they would see in the whole text. Any other tokenizer encodes whole texts, and so
does one that is caught at a difference: the first texts are encoded both ways.
"""

from __future__ import annotations

import itertools
import json
import logging
import re
import string
from collections.abc import Sequence
from typing import Any

_log = logging.getLogger(__name__)

#: Between a line break and an ASCII letter or digit: neither normalisation nor a merge crosses it.
_CUT = re.compile(r"(?<=\n)(?=[A-Za-z0-9])")
_SOLID = string.ascii_letters + string.digits
#: What stands around cuts in these, a split must respect.
_SAMPLES = ("a\nb", "a\n\nB", ".\n\n1", " \nA", "?\n \n9", "\t\r\nQ", ")\n\n\nx", "é\na", "漢\n1")
_NORMALIZERS = ("NFC",)
_SPLITTERS = ("ByteLevel", "Split", "Digits", "Punctuation")
_LOOKS_BACK = re.compile(r"\(\?<[=!]|\\G|\\A|\\b|\\B|\^(?![^\[\]]*\])")

#: Texts that are encoded both ways before the lines are trusted.
CHECKED = 8
#: So many lines are remembered, of so many characters at most.
MOST_LINES, LONGEST_LINE = 8192, 4000


class LineTokens:
    """Token ids of texts, without special tokens, remembered line by line.

    Args:
        tokenizer: The `transformers` tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._fast: Any = getattr(tokenizer, "backend_tokenizer", None)
        #: Whether texts are taken apart at all.
        self.by_lines = self._fast is not None and splits_at_lines(tokenizer)
        self._known: dict[str, list[int]] = {}
        self._latest: tuple[str, list[int]] = ("", [])
        self._to_check = CHECKED

    def encode(self, text: str) -> list[int]:
        """The ids of `text`."""
        if not self.by_lines:
            return self._whole(text)
        cut = _last_cut(text)
        ids = [*self._before(text[: cut + 1]), *self._line(text[cut:])] if cut else self._line(text)
        return self._checked(text, ids) if self._to_check and cut else list(ids)

    def _before(self, text: str) -> list[int]:
        """The ids of `text` but for its last character: the lines before a last one.

        The continuations of one context have them in common: the latest ones are kept.
        """
        if text != self._latest[0]:
            lines = _CUT.split(text)
            ids: list[int] = []
            for line, following in itertools.pairwise(lines):
                ids += self._line(line + following[0])[:-1]
            self._latest = (text, ids)
        return self._latest[1]

    def _line(self, line: str) -> list[int]:
        ids = self._known.get(line)
        if ids is None:
            ids = self._fast.encode(line, add_special_tokens=False).ids
            if len(self._known) >= MOST_LINES:
                self._known.clear()
            if len(line) <= LONGEST_LINE:
                self._known[line] = ids
        return ids

    def _checked(self, text: str, ids: list[int]) -> list[int]:
        self._to_check -= 1
        whole = self._whole(text)
        if whole != ids:
            self.by_lines = False
            _log.warning("This tokenizer joins lines: texts are encoded as a whole from now on")
        return whole

    def _whole(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids


def _last_cut(text: str) -> int:
    """Where the last line begins that is encoded by itself; 0 where no other one does."""
    at = len(text) - 1
    while (at := text.rfind("\n", 0, at)) >= 0:
        if text[at + 1] in _SOLID:
            return at + 1
    return 0


def splits_at_lines(tokenizer: Any) -> bool:
    """Whether a text's tokens are those of its lines, by the tokenizer's own definition."""
    fast = tokenizer.backend_tokenizer
    return (
        all(part["type"] in _NORMALIZERS for part in _parts(fast.normalizer, "normalizers"))
        and _splits(_parts(fast.pre_tokenizer, "pretokenizers"))
        and not any(_crosses(token) for token in tokenizer.added_tokens_decoder.values())
        and all(_boundaries(fast.pre_tokenizer, sample) for sample in _SAMPLES)
        and all(len(fast.encode(one, add_special_tokens=False).ids) == 1 for one in _SOLID)
    )


def _parts(component: Any, several: str) -> list[dict[str, Any]]:
    """A component's definition as a list: one, those of a sequence, or none."""
    if component is None:
        return []
    state: dict[str, Any] = json.loads(component.__getstate__())
    parts: list[dict[str, Any]] = state[several] if state["type"] == "Sequence" else [state]
    return parts


def _splits(parts: Sequence[dict[str, Any]]) -> bool:
    return bool(parts) and all(_looks_ahead_only(part) for part in parts)


def _looks_ahead_only(part: dict[str, Any]) -> bool:
    if part["type"] == "Split":
        pattern: str = part["pattern"].get("Regex", "")
        return _LOOKS_BACK.search(pattern) is None
    return part["type"] in _SPLITTERS and not part.get("add_prefix_space")


def _crosses(token: Any) -> bool:
    """Whether an added token may reach over the place between two lines."""
    return bool(token.lstrip or re.search(r"\n[A-Za-z0-9]", token.content))


def _boundaries(splitter: Any, sample: str) -> bool:
    """Whether `splitter` has a boundary where `sample` would be cut."""
    at = [match.start() for match in _CUT.finditer(sample)]
    starts = {start for _, (start, _) in splitter.pre_tokenize_str(sample)}
    return all(place in starts for place in at)
