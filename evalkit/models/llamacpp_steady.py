"""Whether a model's weights compute a token alike whatever is computed beside it.

ggml multiplies one row by another kernel than several where the weights are F32, F16 or BF16, and
with K-quants (whose other factor is rounded to Q8_K) a batch of eight and more now and then
differs from a smaller one. Then the same prompt has slightly other log-probabilities when its
beginning comes out of the cache, or when another slot decodes at the same time, and once in a
while a greedy answer turns out differently. With the other quantised types no difference was
found on x86 (39 texts, cut at six places each). Kernels are the CPU's and the build's, so those
are tried as well: a short prompt whole, and cut so that one, two and five of its tokens are left
to compute. Trying alone would not do: what is rare does not show in a short prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from evalkit.errors import InputError, ModelError
from evalkit.models.llamacpp_gguf import GgufHeader
from evalkit.models.server_client import ServerClient

#: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and IQ4_NL.
_STEADY_TYPES = frozenset({2, 3, 6, 7, 8, 20})

_PROMPT = (
    "Question: A farmer has 12 hens that lay 3 eggs a day each. How many eggs are laid in a week?"
)
_LENGTH = 17
_LEFT = (1, 2, 5)
_PROBABILITIES = 10

#: Ids of the likeliest next tokens, each with its log-probability.
NextToken = list[tuple[int, float]]


def has_steady_types(header: GgufHeader) -> bool:
    """Whether all matrices are of types whose kernels do not depend on the batch on x86."""
    return header.whole and header.matrix_types <= _STEADY_TYPES


async def is_steady(client: ServerClient, address: str, n_ctx: int) -> bool:
    """Whether the next token after a short prompt is as likely, bit for bit, for every cut.

    Args:
        client: Reaches the server, which is idle.
        address: Of the server, without a path.
        n_ctx: The context length of a slot, in tokens.

    Raises:
        InputError: The model gives no next token.
    """
    try:
        body = await client.post(f"{address}/tokenize", {"content": _PROMPT})
        tokens = msgspec.json.decode(body)["tokens"][: max(2, min(_LENGTH, n_ctx // 2))]
        return await likely_alike(client, address, tokens, _LEFT)
    except ModelError as error:
        raise InputError(f"The model cannot be asked for a next token: {error}") from error


async def likely_alike(
    client: ServerClient, address: str, tokens: Sequence[int], left: Sequence[int]
) -> bool:
    """Whether the next token after `tokens` is as likely, bit for bit, for every cut.

    Args:
        client: Reaches the server, which is idle.
        address: Of the server, without a path.
        tokens: The prompt.
        left: How many tokens to compute after a beginning out of the cache, each in turn.

    Raises:
        ModelError: The server did not answer.
    """
    whole, _ = await _next_token(client, address, tokens, cache=False)
    for kept in (len(tokens) - count for count in left if count < len(tokens)):
        other = next(token for token in [*tokens, tokens[kept] + 1] if token != tokens[kept])
        # another prompt with the same beginning: the slot keeps no more than that
        await _next_token(client, address, [*tokens[:kept], other], cache=True)
        if await _next_token(client, address, tokens, cache=True) != (whole, kept):
            return False
    return True


async def _next_token(
    client: ServerClient, address: str, tokens: Sequence[int], *, cache: bool
) -> tuple[NextToken, int]:
    """The likeliest tokens after `tokens`, and how many of these came out of the cache."""
    body: dict[str, Any] = {
        "prompt": list(tokens),
        "n_predict": 1,
        "n_probs": _PROBABILITIES,
        "temperature": 0,
        "cache_prompt": cache,
        "id_slot": 0,
    }
    answer = msgspec.json.decode(await client.post(f"{address}/completion", body))
    (place,) = answer["completion_probabilities"]
    likeliest = [(token["id"], token["logprob"]) for token in place["top_logprobs"]]
    return likeliest, answer["timings"]["cache_n"]
