"""Sampling whose draws belong to a request, not to the batch that it happens to be in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evalkit.records import Sampling


class SeededChoice:
    """A logits processor that draws each row's token with that row's own random numbers.

    Gumbel-max: the argmax of logits plus Gumbel noise is a draw from their softmax
    (E. J. Gumbel 1954; Maddison et al. 2014, https://arxiv.org/abs/1411.0030). Greedy
    decoding after it therefore samples, and neighbours in a batch change nothing.

    Args:
        seeds: One a row.
        warpers: What shapes the distribution first (temperature, top-k, top-p, min-p).
    """

    def __init__(self, seeds: Sequence[int], warpers: Sequence[Any]) -> None:
        import torch

        self.warpers = warpers
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """The scores after which the argmax is a draw."""
        import torch

        for warper in self.warpers:
            scores = warper(input_ids, scores)
        noise = torch.stack(
            [torch.empty(scores.shape[-1]).exponential_(generator=g) for g in self.generators]
        )
        return scores - noise.log().to(scores.device, scores.dtype)


def warpers(sampling: Sampling, defaults: Any) -> list[Any]:
    """What shapes the distribution, in the order of `transformers`.

    Args:
        sampling: The request's wishes.
        defaults: The model's `GenerationConfig`, for what the request leaves open.
    """
    from transformers import (
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    temperature = _either(sampling.temperature, defaults.temperature)
    top_k, top_p = _either(sampling.top_k, defaults.top_k), _either(sampling.top_p, defaults.top_p)
    chosen: list[Any] = []
    if temperature not in (None, 1.0):
        chosen.append(TemperatureLogitsWarper(float(temperature)))
    if top_k:
        chosen.append(TopKLogitsWarper(top_k))
    if top_p is not None and top_p < 1:
        chosen.append(TopPLogitsWarper(float(top_p)))
    if defaults.min_p:
        chosen.append(MinPLogitsWarper(defaults.min_p))
    return chosen


def is_greedy(sampling: Sampling, defaults: Any) -> bool:
    """Whether answers are greedy; an open temperature is the model's own choice."""
    if sampling.temperature is None:
        return not defaults.do_sample
    return sampling.temperature == 0


def _either(wish: Any, default: Any) -> Any:
    return default if wish is None else wish
