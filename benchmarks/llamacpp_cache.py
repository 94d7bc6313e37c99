"""The embedded model with and without its prompt cache: `python -m benchmarks.llamacpp_cache`.

Two kinds of prompts, through evalkit's adapter: documents behind one header of worked examples
(48 tokens of answer each), and short questions in chat (24 tokens). One JSON line a setting:
answers a second, and prompt tokens asked and computed, which do not depend on the machine's mood.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import product

from evalkit.config.model_spec import parse_model_spec
from evalkit.models.llamacpp import create
from evalkit.records import Message, Request, Response, Sampling

_MODEL = "llamacpp/smollm2-135m-instruct"
_FARMS = [(12, 2, 3), (18, 3, 2), (30, 1, 4), (6, 2, 5), (24, 3, 1)]
#: A model that crashes takes its process with it; one setting takes about half a minute.
_TIMEOUT_S = 280


def few_shot(count: int) -> list[Request]:
    """Documents behind one header of about 390 tokens."""
    header = "".join(
        f"Question: A farmer has {hens} hens that each lay {eggs} eggs a day. He sells them in "
        f"boxes of 6 for ${price} a box. How much does he make in a week?\nAnswer: He gets "
        f"{hens * eggs} eggs a day and {7 * hens * eggs} a week, that is {7 * hens * eggs // 6} "
        f"boxes, so he makes ${7 * hens * eggs // 6 * price}.\n\n"
        for hens, eggs, price in _FARMS
    )
    return [
        Request(
            kind="generate",
            prompt=f"{header}Question: A shop has {i + 20} pears and sells {i + 3} of them at "
            f"${i % 7 + 1} each. How much does it get?\nAnswer:",
            sampling=Sampling(max_tokens=48),
        )
        for i in range(count)
    ]


def chat(count: int) -> list[Request]:
    """Short questions, which have little more in common than the template."""
    return [
        Request(
            kind="generate",
            prompt=(
                Message(
                    role="user",
                    content=f"What is {i + 17} times {i + 3}, minus {i}? Answer with a number.",
                ),
            ),
            sampling=Sampling(max_tokens=24),
        )
        for i in range(count)
    ]


async def measure(parameters: str, count: int) -> dict[str, object]:
    """What one setting does with `count` documents, and with twice as many questions."""
    model = create(parse_model_spec(f"{_MODEL}?n_ctx=1024&{parameters}"))
    began = time.perf_counter()
    await model.open()
    row: dict[str, object] = {"parameters": parameters, "open_s": _since(began)}
    room = asyncio.Semaphore(model.concurrency)

    async def answered(request: Request) -> Response:
        async with room:
            return (await model.ask([request]))[0]

    for name, requests in (("few_shot", few_shot(count)), ("chat", chat(2 * count))):
        began = time.perf_counter()
        responses = await asyncio.gather(*map(answered, requests))
        row[name] = _summary(responses, time.perf_counter() - began)
    await model.close()
    return row


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 2)


def _summary(responses: Sequence[Response], seconds: float) -> dict[str, float]:
    asked = sum(response.usage.input_tokens for response in responses)
    cached = sum(response.usage.cached_tokens for response in responses)
    return {
        "answers_per_s": round(len(responses) / seconds, 2),
        "prompt_tokens_asked": asked,
        "prompt_tokens_computed": asked - cached,
        "answer_tokens": sum(response.usage.output_tokens for response in responses),
    }


def main(words: Sequence[str] | None = None) -> None:
    """Measure each setting in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=8)
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--cache", choices=["true", "false"], nargs="+", default=["true", "false"])
    parser.add_argument("--one", help="measure this one setting in this process")
    choice = parser.parse_args(words)
    if choice.one:
        print(json.dumps(asyncio.run(measure(choice.one, choice.documents))), flush=True)
        return
    for cache, threads, slots in product(choice.cache, choice.threads, choice.slots):
        parameters = f"slots={slots}&threads={threads}&prompt_cache={cache}"
        command = [sys.executable, "-m", "benchmarks.llamacpp_cache", "--one", parameters]
        command += ["--documents", str(choice.documents)]
        subprocess.run(command, check=True, timeout=_TIMEOUT_S)


if __name__ == "__main__":
    main()
