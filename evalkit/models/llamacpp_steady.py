"""Whether a loaded model computes a token alike whatever is computed beside it.

ggml multiplies one row by other kernels than several where the weights are float32, float16 or
bfloat16, and some quantised types in groups of rows: then the same prompt has slightly other
log-probabilities when its beginning comes out of the cache, or when another slot decodes at the
same time, and now and then a greedy answer turns out differently. Which types those are depends
on the CPU and on the build, so it is tried instead of listed: a short prompt whole, and cut so
that one, two and five of its tokens are left to compute.
"""

from __future__ import annotations

from typing import Any

import msgspec

from evalkit.models.server_client import ServerClient

_PROMPT = (
    "Question: A farmer has 12 hens that lay 3 eggs a day each. How many eggs are laid in a week?"
)
_LENGTH = 17
_LEFT = (1, 2, 5)
_PROBABILITIES = 10

#: Ids of the likeliest next tokens, each with its log-probability.
NextToken = list[tuple[int, float]]


async def is_steady(client: ServerClient, address: str, n_ctx: int) -> bool:
    """Whether the next token's log-probabilities are the same, bit for bit, for every cut.

    Args:
        client: Reaches the server, which is idle.
        address: Of the server, without a path.
        n_ctx: The context length of a slot, in tokens.

    Raises:
        ModelError: The server did not answer.
    """
    body = await client.post(f"{address}/tokenize", {"content": _PROMPT})
    tokens = msgspec.json.decode(body)["tokens"][: max(2, min(_LENGTH, n_ctx // 2))]
    whole, _ = await _next_token(client, address, tokens, cache=False)
    for left in (left for left in _LEFT if left < len(tokens)):
        kept = len(tokens) - left
        other = next(token for token in [*tokens, tokens[kept] + 1] if token != tokens[kept])
        # another prompt with the same beginning: the slot keeps no more than that
        await _next_token(client, address, [*tokens[:kept], other], cache=True)
        if await _next_token(client, address, tokens, cache=True) != (whole, kept):
            return False
    return True


async def _next_token(
    client: ServerClient, address: str, tokens: list[int], *, cache: bool
) -> tuple[NextToken, int]:
    """The likeliest tokens after `tokens`, and how many of these came out of the cache."""
    body: dict[str, Any] = {
        "prompt": tokens,
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
