"""Whether the rows of a model may share what is computed: what its configuration says, and a try.

A tree of rows in one sequence needs a model whose only memory of a token are its keys and
values, and which takes explicit positions and a four-dimensional attention mask. Models with
other state (Mamba), with positions counted from the mask (ALiBi), or with chunked attention
are run row by row. So are rows of a length for which nothing was tried.

No list of architectures is trusted: before sharing is first used, a few rows are scored both
ways, and a model that does not give the same numbers is run row by row from then on.
"""

from __future__ import annotations

from statistics import fmean, pstdev
from typing import Any

from evalkit.models.hf_batches import is_out_of_memory
from evalkit.models.hf_forward import Forward, Masks
from evalkit.models.hf_prefix import Prefixes
from evalkit.models.hf_reader import Limits, Reader, Sharing
from evalkit.models.hf_scoring import Scorer
from evalkit.models.hf_slots import Slots, step
from evalkit.models.tokens import Pair

#: Types of layers whose memory of a token is its key and value, and that see it as we say.
_FULL, _SLIDING = "full_attention", "sliding_attention"
#: A sliding window up to which sharing is tried beyond it; deeper rows of others do not share.
_TRIED_WINDOW = 1100
#: Rotations whose frequencies depend on how long the whole text is.
_LENGTH_DEPENDENT = ("dynamic", "longrope")
#: How far the mean difference of log-probabilities may be from zero, as a part of their spread.
_TOLERANCE = {"torch.float64": 1e-6, "torch.float32": 1e-3}
_HALF_PRECISION = 0.05
#: What is said of a model that passes one trial but not the other.
_SLOTS = "its answers cannot be written side by side, so transformers' generate writes them"


def sharing_of(model: Any) -> Sharing:
    """How far the rows of `model` may share, as its configuration and a try tell."""
    told = _told(model.config.get_text_config())
    return told if told.deepest == 0 else _tried(model, told)


def _told(config: Any) -> Sharing:
    """What the configuration tells."""
    types = set(getattr(config, "layer_types", None) or ())
    if others := types - {_FULL, _SLIDING}:
        return Sharing(0, why=f"it has layers of type {', '.join(sorted(others))}")
    depth = _rotation_limit(config)
    window = getattr(config, "sliding_window", None)
    if not window or (types and _SLIDING not in types):
        return _up_to(depth)
    if window > _TRIED_WINDOW:
        return Sharing(
            min(window, depth or window), why=f"its attention slides after {window} tokens"
        )
    return _up_to(depth)._replace(masks=Masks(window, by_type=bool(types)))


def _up_to(depth: int | None) -> Sharing:
    why = "its positions are rotated differently in longer texts" if depth else ""
    return Sharing(depth, why=why)


def _rotation_limit(config: Any) -> int | None:
    """The length up to which positions are rotated the same in every text; None for any."""
    rotation = (
        getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    )
    nested = [value for value in rotation.values() if isinstance(value, dict)]
    for one in nested or [rotation]:
        if one.get("rope_type", one.get("type")) in _LENGTH_DEPENDENT:
            own = one.get("original_max_position_embeddings")
            named = own or getattr(config, "original_max_position_embeddings", None)
            return int(named or config.max_position_embeddings)
    return None


def _tried(model: Any, told: Sharing) -> Sharing:
    """`told` where a try bears it out."""
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    pairs = trial(min(len_ for len_ in (_trial_header(told), longest and longest - 16) if len_))
    plainly = Scorer(Reader(model, Sharing(0), Limits(4096, 4), Prefixes(0))).score(pairs)
    limits = Limits(24, 4)  # small, so that prefixes are kept on two levels
    try:
        shared = Scorer(Reader(model, told, limits, Prefixes(2**40))).score(pairs)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return Sharing(0, why=f"it does not take trees of rows ({type(error).__name__}: {error})")
    expected = [one.logprob for one in plainly]
    wrong = fmean(abs(a - b.logprob) for a, b in zip(expected, shared, strict=True))
    if not wrong <= tolerance(model.dtype) * pstdev(expected):
        return Sharing(0, why=f"trees of rows change its log-probabilities by {wrong:.2g}")
    return told if _writes(model, told.masks) else told._replace(writes=False, why=_SLOTS)


def _writes(model: Any, masks: Masks) -> bool:
    """Whether rows that are written side by side in slots get the logits of each row alone."""
    import torch

    forward, slots = Forward(model, masks), Slots(2)
    rows = [[_id(7 * row + place) for place in range(9 + 4 * row)] for row in range(2)]
    try:
        with torch.inference_mode():
            for row in rows:
                _, layers = forward.after(None, row[:-2], [])
                slots.add([(keys[0], values[0]) for keys, values in layers])
            for place in (-2, -1):
                found = step(forward, slots, [row[place] for row in rows])
            expected = torch.stack(
                [forward.batch([row], len(row) - 1, False)[0][0, 0] for row in rows]
            )
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return False
    wrong = (found.float() - expected.float()).abs().mean()
    return bool(wrong <= tolerance(model.dtype) * expected.float().std())


def tolerance(dtype: Any) -> float:
    """How far both ways may be apart, as a part of the spread of log-probabilities."""
    return _TOLERANCE.get(str(dtype), _HALF_PRECISION)


def _trial_header(told: Sharing) -> int:
    return 24 if told.masks.window is None else told.masks.window + 12


def trial(header: int) -> list[Pair]:
    """Rows on two levels below a header of so many tokens, of different lengths."""
    top = [_id(place) for place in range(header)]
    pairs: list[Pair] = []
    for subject in range(2):
        lead = [*top, *(_id(1000 + 50 * subject + place) for place in range(10))]
        for question in range(4):
            context = [
                *lead,
                *(_id(2000 + 97 * (question + 4 * subject) + p) for p in range(3 + question)),
            ]
            pairs += [
                (context, [_id(5000 + 31 * len(pairs) + p) for p in range(2)]) for _ in range(2)
            ]
    return pairs


def _id(place: int) -> int:
    """Some token that every vocabulary has, even one of characters."""
    return 8 + place * 7919 % 56
