"""`python -m benchmarks.hf_scoring`: scores and answers in process, against lm-eval's `hf`.

    EVALKIT_MIRROR=… python -m benchmarks.hf_scoring --documents 50
    EVALKIT_MIRROR=… python -m benchmarks.hf_scoring --generate
    python -m benchmarks.hf_scoring --shaped 200 --random-1b --device cuda --dtype bfloat16

The work is MMLU (four subjects, 5-shot) from a mirror, or text of its shape that is made here.
Three things are timed on the same pairs: lm-eval's `HFLM`, evalkit's `hf` model, and the bound,
which is each unique token of the work once, at the speed of a plain batched forward pass over
its own rows. lm-eval may be given every n-th document only (`--lm-eval-every`); its seconds are
then projected by tokens, and the output says so. Prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import random
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit.config.model_spec import parse_model_spec
from evalkit.models.hf import HFModel, create
from evalkit.records import Record, Request, Sampling

SUBJECTS = ("abstract_algebra", "anatomy", "astronomy", "high_school_world_history")
LETTERS = "ABCD"


class Document(Record, frozen=True, kw_only=True):
    """A prompt, the choices that are scored after it, and which of them is right."""

    prompt: str
    choices: tuple[str, ...]
    gold: int


# --- the work ---------------------------------------------------------------------


def mmlu(mirror: Path, subjects: Sequence[str], documents: int) -> list[Document]:
    """MMLU as lm-eval asks it, 5-shot."""
    found = []
    for subject in subjects:
        folder = mirror / "hub" / "cais" / "mmlu" / subject
        topic = subject.replace("_", " ")
        head = f"The following are multiple choice questions (with answers) about {topic}.\n\n"
        shots = "".join(
            f"{_question(row)} {LETTERS[row['answer']]}\n\n" for row in _rows(folder / "dev")[:5]
        )
        for row in _rows(folder / "test")[:documents]:
            prompt, choices = head + shots + _question(row), tuple(f" {x}" for x in LETTERS)
            found.append(Document(prompt=prompt, choices=choices, gold=row["answer"]))
    return found


def gsm8k(mirror: Path, documents: int) -> list[str]:
    """Prompts of GSM8K, 5-shot."""
    folder = mirror / "hub" / "openai" / "gsm8k" / "main"
    shots = "".join(
        f"Question: {row['question']}\nAnswer: {row['answer']}\n\n"
        for row in _rows(folder / "train")[:5]
    )
    rows = _rows(folder / "test")[:documents]
    return [f"{shots}Question: {row['question']}\nAnswer:" for row in rows]


def shaped(documents: int, *, shared: int = 300, own: int = 60, seed: int = 0) -> list[Document]:
    """Made-up documents of MMLU's shape: so many words shared by all and so many of their own."""
    draw = random.Random(seed)
    header = _words(draw, shared)
    return [
        Document(
            prompt=f"{header}\n\n{_words(draw, own)}\nAnswer:",
            choices=tuple(f" {letter}" for letter in LETTERS),
            gold=draw.randrange(4),
        )
        for _ in range(documents)
    ]


def _question(row: dict[str, Any]) -> str:
    lines = [f"{a}. {b}" for a, b in zip(LETTERS, row["choices"], strict=True)]
    return "\n".join([row["question"].strip(), *lines, "Answer:"])


def _rows(stem: Path) -> list[dict[str, Any]]:
    with gzip.open(stem.with_name(stem.name + ".jsonl.gz"), "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _words(draw: random.Random, count: int) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return " ".join("".join(draw.choices(letters, k=draw.randint(2, 6))) for _ in range(count))


# --- lm-eval ----------------------------------------------------------------------


class Peer:
    """lm-eval's `hf` model, loaded once."""

    def __init__(self, folder: Path, dtype: str, device: str, batch: int) -> None:
        from lm_eval.models.huggingface import HFLM

        self.model = HFLM(pretrained=str(folder), dtype=dtype, device=device, batch_size=batch)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        found = self.model.loglikelihood(_instances("loglikelihood", pairs), disable_tqdm=True)
        return [logprob for logprob, _ in found]

    def write(self, prompts: Sequence[str], until: Sequence[str], tokens: int) -> list[str]:
        wishes = {"until": list(until), "max_gen_toks": tokens, "do_sample": False}
        asked = [(prompt, dict(wishes)) for prompt in prompts]
        written: list[str] = self.model.generate_until(
            _instances("generate_until", asked), disable_tqdm=True
        )
        return written


def _instances(kind: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, one, index) for index, one in enumerate(arguments)]


# --- evalkit ----------------------------------------------------------------------


async def asked(model: HFModel, requests: Sequence[Request]) -> tuple[list[Any], float]:
    """Responses and seconds; as many requests a call as the engine sends."""
    begun, responses = time.perf_counter(), []
    for start in range(0, len(requests), model.batch):
        responses += await model.ask(requests[start : start + model.batch])
    return responses, time.perf_counter() - begun


async def opened(folder: Path, dtype: str, device: str, extra: str) -> HFModel:
    model = create(parse_model_spec(f"hf/{folder}?dtype={dtype}&device={device}{extra}"))
    await model.open()
    return model


# --- measurements -----------------------------------------------------------------


def measure(
    documents: Sequence[Document], folder: Path, *, dtype: str, device: str, every: int, extra: str
) -> dict[str, Any]:
    """Seconds, tokens and agreement of both on multiple choice; `every` 0 leaves lm-eval out."""
    model = asyncio.run(opened(folder, dtype, device, extra))
    pairs = [(doc.prompt, choice) for doc in documents for choice in doc.choices]
    requests = [Request(kind="loglikelihood", prompt=a, continuation=b) for a, b in pairs]
    asyncio.run(model.ask(requests[-4:-3]))  # warm: the first pass in a process is slow
    before = counts(model)
    responses, seconds = asyncio.run(asked(model, requests))
    ours = [response.logprob for response in responses]
    result: dict[str, Any] = {"documents": len(documents), "pairs": len(pairs), "dtype": dtype}
    result["evalkit"] = {
        "seconds": seconds,
        **{key: value - before[key] for key, value in counts(model).items()},
        "accuracy": accuracy(documents, ours),
        "device": model.identity["device"],
    }
    result["bound"] = bound(model, pairs, result["evalkit"]["tokens_asked"])
    result["evalkit"]["of_bound"] = seconds / result["bound"]["seconds"]
    result["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    asyncio.run(model.close())
    if every:
        result["lm_eval"] = peer_scores(documents, ours, folder, dtype, device, every)
        result["times_faster"] = result["lm_eval"]["seconds_for_all"] / seconds
    return result


def peer_scores(
    documents: Sequence[Document],
    ours: Sequence[float],
    folder: Path,
    dtype: str,
    device: str,
    every: int,
) -> dict[str, Any]:
    """lm-eval on every n-th document, and how far apart the log-probabilities are."""
    peer = Peer(folder, dtype, device, 8)
    starts, at = [], 0
    for doc in documents:
        starts.append(at)
        at += len(doc.choices)
    chosen = list(range(0, len(documents), every))
    pairs = [(documents[i].prompt, choice) for i in chosen for choice in documents[i].choices]
    peer.score(pairs[:1])
    begun = time.perf_counter()
    found = peer.score(pairs)
    seconds = time.perf_counter() - begun
    same = [ours[starts[i] + c] for i in chosen for c in range(len(documents[i].choices))]
    subset = [documents[i] for i in chosen]
    share = sum(len(documents[i].prompt) for i in chosen) / sum(len(d.prompt) for d in documents)
    return {
        "documents": len(chosen),
        "seconds": seconds,
        "seconds_for_all": seconds / share,
        "projected": every > 1,
        "largest_difference": max(abs(a - b) for a, b in zip(found, same, strict=True)),
        "accuracy": accuracy(subset, found),
        "accuracy_of_evalkit_there": accuracy(subset, same),
    }


def accuracy(documents: Sequence[Document], logprobs: Sequence[float]) -> float:
    right, at = 0, 0
    for doc in documents:
        own = list(logprobs[at : at + len(doc.choices)])
        right += own.index(max(own)) == doc.gold
        at += len(doc.choices)
    return right / len(documents)


def counts(model: HFModel) -> dict[str, int]:
    scorers = [replica.scorer for replica in model.replicas]
    found = {"tokens_asked": sum(one.tokens_asked for one in scorers)}
    for name in ("tokens_computed", "tokens_padding", "passes"):
        found[name] = sum(getattr(one.reader, name) for one in scorers)
    return found


def bound(model: HFModel, pairs: Sequence[tuple[str, str]], asked_tokens: int) -> dict[str, Any]:
    """Each unique token once at the speed of a plain batched pass over rows like these."""
    rows = sorted(
        {tuple(a + b[:-1]) for a, b in (model.replicas[0].tokens.pair(*pair) for pair in pairs)}
    )
    unique = len({hash(row[: end + 1]) for row in rows for end in range(len(row))})
    speed = plain_speed(model, rows)
    return {
        "unique_tokens": unique,
        "asked_of_unique": asked_tokens / unique,
        "plain_tokens_a_second": speed,
        "seconds": unique / speed,
    }


def plain_speed(model: HFModel, rows: Sequence[tuple[int, ...]], rounds: int = 2) -> float:
    """Tokens a second of ordinary batches, logits of the last position only.

    Two batches of eight rows of one length each, from the shorter and the longer rows.
    """
    import torch

    network = model.replicas[0].loaded.model
    rows = sorted(rows, key=len)
    batches = []
    for quarter in (1, 3):
        start = min(len(rows) * quarter // 4, max(0, len(rows) - 8))
        batch = rows[start : start + 8]
        ids = [row[: len(batch[0])] for row in batch]
        batches.append(torch.tensor(ids, device=network.device))
    best = float("inf")
    for _ in range(rounds):
        begun = time.perf_counter()
        with torch.inference_mode():
            for ids in batches:
                network(ids, use_cache=False, logits_to_keep=1).logits.float().sum().item()
        best = min(best, time.perf_counter() - begun)
    return sum(ids.numel() for ids in batches) / best


def measure_writing(
    prompts: Sequence[str], folder: Path, *, dtype: str, device: str, tokens: int, extra: str
) -> dict[str, Any]:
    """Seconds of both for greedy answers, and how many of them are equal."""
    until = ["Question:", "</s>", "<|im_end|>"]
    model = asyncio.run(opened(folder, dtype, device, extra))
    sampling = Sampling(max_tokens=tokens, temperature=0.0, stop=tuple(until))
    requests = [Request(kind="generate", prompt=prompt, sampling=sampling) for prompt in prompts]
    responses, seconds = asyncio.run(asked(model, requests))
    written = sum(response.usage.output_tokens for response in responses)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    asyncio.run(model.close())
    begun_with = Peer(folder, dtype, device, 8)
    begun = time.perf_counter()
    theirs = begun_with.write(prompts, until, tokens)
    peer_seconds = time.perf_counter() - begun
    return {
        "prompts": len(prompts),
        "evalkit_seconds": seconds,
        "tokens_written": written,
        "lm_eval_seconds": peer_seconds,
        "times_faster": peer_seconds / seconds,
        "equal_answers": sum(a.text == b for a, b in zip(responses, theirs, strict=True)),
        "peak_rss_mb": peak,
    }


# --- a larger model ---------------------------------------------------------------


def random_1b(tokenizer_of: Path, into: Path) -> Path:
    """A Llama of 1.2 billion random weights with another model's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(into)
    tokenizer.save_pretrained(into)
    return into


def share_of_peak(result: dict[str, Any], parameters: int, peak_tflops: float) -> float:
    """Floating-point operations of the computed tokens (2 a weight) against the device's peak."""
    done = 2 * parameters * result["evalkit"]["tokens_computed"]
    return done / result["evalkit"]["seconds"] / (peak_tflops * 1e12)


def main() -> None:
    options = _options()
    from evalkit.models.embedded import embedded_transformers_folder

    folder = Path(options.model) if options.model else embedded_transformers_folder()
    mirror = Path(options.mirror) if options.mirror else None
    if mirror is None and not options.shaped:
        raise SystemExit("Name a mirror of benchmark rows in EVALKIT_MIRROR, or use --shaped N")
    with tempfile.TemporaryDirectory() as scratch:
        if options.random_1b:
            folder = random_1b(folder, Path(scratch) / "random-1b")
        settings = {"dtype": options.dtype, "device": options.device, "extra": options.extra}
        if options.generate:
            assert mirror is not None
            prompts = gsm8k(mirror, options.documents)
            result = measure_writing(prompts, folder, tokens=options.tokens, **settings)
        else:
            documents = (
                shaped(options.shaped)
                if options.shaped or mirror is None
                else mmlu(mirror, options.subjects.split(","), options.documents)
            )
            result = measure(documents, folder, every=options.lm_eval_every, **settings)
            if options.peak_tflops:
                parameters = 1_235_000_000 if options.random_1b else options.parameters
                result["share_of_peak"] = share_of_peak(result, parameters, options.peak_tflops)
    print(json.dumps(result))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mirror", default=os.environ.get("EVALKIT_MIRROR", ""))
    parser.add_argument("--subjects", default=",".join(SUBJECTS))
    parser.add_argument("--documents", type=int, default=50, help="a subject, or prompts")
    parser.add_argument("--shaped", type=int, default=0, help="made-up documents instead of MMLU")
    parser.add_argument("--model", default="", help="a model folder; empty: the embedded model")
    parser.add_argument("--random-1b", action="store_true")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--extra", default="", help="more of the spec, as &name=value")
    parser.add_argument("--lm-eval-every", type=int, default=1, help="0: not at all")
    parser.add_argument("--generate", action="store_true")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--peak-tflops", type=float, default=0.0)
    parser.add_argument("--parameters", type=int, default=135_000_000)
    return parser.parse_args()


if __name__ == "__main__":
    main()
