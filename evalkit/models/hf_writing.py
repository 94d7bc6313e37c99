"""Answers written token by token, where rows may share what is computed.

Prompts are read through a plan (`evalkit.models.hf_tree`), so a few-shot header is read once.
Each row then writes in a slot of its own until its own end, and gives the slot to the next
prompt: no row waits for a longer one, and none is padded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from evalkit.models.hf_batches import Stopped, is_out_of_memory, too_large
from evalkit.models.hf_ends import Answer, Ends, Prompt
from evalkit.models.hf_forward import Layers, layout
from evalkit.models.hf_reader import Read, Reader
from evalkit.models.hf_sampling import SeededChoice, is_greedy, warpers
from evalkit.models.hf_slots import BLOCK, Slots, step
from evalkit.models.hf_tree import Pass
from evalkit.models.hf_wants import Wanted


class _Started(NamedTuple):
    """A prompt that was read: the logits after it `[vocabulary]`, its keys and values."""

    prompt: int
    logits: Any
    layers: Layers


class _ReadLess(Exception):
    """Memory ran out while prompts were read; they are to be read in smaller passes."""


class _Row:
    """An answer in progress."""

    def __init__(self, index: int, prompt: Prompt, generator: Any) -> None:
        self.index, self.prompt, self.generator = index, prompt, generator
        self.written: list[int] = []


class Writer:
    """Writes answers under one `Sampling`.

    Args:
        reader: The model.
        tokenizer: Its tokenizer.
        prompts: What is to be answered; all have the same sampling.
    """

    def __init__(self, reader: Reader, tokenizer: Any, prompts: Sequence[Prompt]) -> None:
        self.reader, self.prompts = reader, prompts
        self.model = reader.forward.model
        sampling, defaults = prompts[0].sampling, self.model.generation_config
        self.ends = Ends(tokenizer, sampling.stop, defaults)
        greedy = is_greedy(sampling, defaults)
        self.choice = None if greedy else SeededChoice([], warpers(sampling, defaults))
        self.answers: dict[int, Answer] = {}

    def write(self) -> list[Answer]:
        """The answers, in the order of the prompts.

        Raises:
            MemoryError: One prompt alone does not fit into memory.
            Stopped: The reader was told to stop.
        """
        import torch

        try:
            with torch.inference_mode():
                while not self._written():
                    self.reader.recover()
        finally:
            self.reader.rest()
        return [self.answers[index] for index in range(len(self.prompts))]

    def _written(self) -> bool:
        """Write what is not answered yet; False where memory ran out on the way."""
        missing = [index for index in range(len(self.prompts)) if index not in self.answers]
        most = self._most_rows(missing)
        slots, rows = Slots(most), list[_Row]()
        started = self._started(missing)
        try:
            while True:
                while len(rows) < most and (one := next(started, None)) is not None:
                    self._admit(one, rows, slots)
                if not rows:
                    return True
                self._step(rows, slots)
        except _ReadLess:
            return False
        except Exception as error:
            if isinstance(error, MemoryError) or not is_out_of_memory(error):
                raise
            if len(rows) <= 1:
                raise too_large() from error
            self.reader.limits.rows = len(rows) // 2
            return False

    def _most_rows(self, missing: Sequence[int]) -> int:
        """Rows whose keys and values fit under the limit even where all answers are long."""
        longest = max((len(self.prompts[i].ids) + self.prompts[i].room for i in missing), default=1)
        each = max(1, (longest + BLOCK) * self.reader.bytes_per_token())
        most = min(len(missing), self.reader.limits.rows, self.reader.prefixes.limit // each)
        return max(1, most)

    # --- reading prompts -------------------------------------------------------------

    def _started(self, missing: Sequence[int]) -> Iterator[_Started]:
        """Prompts as they are read, those that share most side by side."""
        pairs = {index: (self.prompts[index].ids, [0]) for index in missing}
        wanted = Wanted(pairs, missing, self.reader.prefixes.known)
        for one in self.reader.plan(wanted.tree, wanted.at_hand, shares=True):
            rows = layout(wanted.tree, one)
            ended = deque(
                ((row, start + want.place), want.pair, node)
                for row, starts in enumerate(rows.starts)
                for node, start in starts.items()
                for want in wanted.take(node)
            )
            places = sorted({place for place, _, _ in ended})
            try:
                found = self.reader.read(wanted.tree, one, rows, places, keep=True)
            except Exception as error:
                self.reader.shrink(error, wanted.tree, one, len(missing))
                raise _ReadLess from error
            while ended:
                place, prompt, node = ended.popleft()
                layers = _layers_of(wanted, one, found, place[0], node)
                yield _Started(prompt, found.logits[places.index(place)], layers)

    # --- writing ---------------------------------------------------------------------

    def _admit(self, one: _Started, rows: list[_Row], slots: Slots) -> None:
        """Let a prompt's row begin, unless its first token is its last."""
        prompt = self.prompts[one.prompt]
        row = _Row(one.prompt, prompt, self.choice and _generator(prompt.seed))
        (token,) = self._chosen(one.logits[None], [row])
        if not self._ended(row, token):
            slots.add(one.layers)
            rows.append(row)

    def _step(self, rows: list[_Row], slots: Slots) -> None:
        """One more token in every row; those that end are taken out."""
        if self.reader.stop.is_set():
            raise Stopped
        logits = step(self.reader.forward, slots, [row.written[-1] for row in rows])
        tokens = self._chosen(logits, rows)
        gone = [
            place
            for place, (row, token) in enumerate(zip(rows, tokens, strict=True))
            if self._ended(row, token)
        ]
        if gone:
            rows[:] = [rows[place] for place in slots.drop(gone)]

    def _chosen(self, logits: Any, rows: Sequence[_Row]) -> list[int]:
        if self.choice is not None:
            self.choice.generators = [row.generator for row in rows]
            logits = self.choice(None, logits.float())
        tokens: list[int] = logits.argmax(-1).tolist()
        return tokens

    def _ended(self, row: _Row, token: int) -> bool:
        """Add a token to a row; whether that was its last, and its answer is known."""
        row.written.append(token)
        stopped = self.ends.stops_in(row.written)
        if not stopped and token not in self.ends.tokens and len(row.written) < row.prompt.room:
            return False
        self.answers[row.index] = self.ends.read(row.written, len(row.written) if stopped else None)
        return True


def _layers_of(wanted: Wanted, one: Pass, found: Read, row: int, node: int) -> Layers:
    """The keys and values of the path down to `node`, out of those of a whole pass."""
    import torch

    tree, starts = wanted.tree, found.layout.starts[row]
    spans = []
    while node in starts:
        spans.append(range(starts[node], starts[node] + len(tree.nodes[node])))
        node = tree.nodes[node].parent
    own = [found.before + place for span in reversed(spans) for place in span]
    places = torch.tensor([*range(found.before), *own])
    return [
        (_picked(keys, row, places), _picked(values, row, places)) for keys, values in found.layers
    ]


def _picked(tensor: Any, row: int, places: Any) -> Any:
    return tensor[row].index_select(-2, places.to(tensor.device))


def _generator(seed: int) -> Any:
    import torch

    return torch.Generator().manual_seed(seed)
