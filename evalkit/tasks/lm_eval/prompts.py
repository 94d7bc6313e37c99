"""Turns what lm-eval asks (instances) into requests, and keeps its few-shot draws in step.

lm-eval renders a conversation to one string with the model's chat template. Here the
"template" writes the messages as JSON behind a mark, and they are read back from the prompt.
"""

from __future__ import annotations

import json
import random
from array import array
from collections.abc import Callable, Mapping
from typing import Any

from evalkit.errors import UnsupportedError
from evalkit.records import Message, Request, Sampling
from evalkit.tasks.lm_eval.definitions import DEFAULT_MAX_TOKENS, LIMITS
from evalkit.tasks.protocol import merge_sampling

_MARK = "\x00evalkit-messages\x00"
_KNOWN = {*LIMITS, "until", "do_sample", "temperature", "top_p", "top_k", "seed"}


def serialise_messages(history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
    """The chat template that lm-eval is given: keeps the messages instead of rendering them.

    An assistant's last message is one to be continued (lm-eval then asks for no
    generation prompt), as it is in a `Request`.
    """
    del add_generation_prompt  # what it says, the last message's role says too
    return _MARK + json.dumps(history, ensure_ascii=False)


def read_prompt(text: str | tuple[Message, ...]) -> str | tuple[Message, ...]:
    """The messages in a serialised prompt; any other text, and messages, as they are.

    What a task has written behind the messages is the beginning of the answer.
    """
    if not isinstance(text, str) or not text.startswith(_MARK):
        return text
    history, end = json.JSONDecoder().raw_decode(text, len(_MARK))
    if begun := text[end:]:
        if history[-1]["role"] != "assistant":
            history.append({"role": "assistant", "content": ""})
        history[-1]["content"] += begun
    return tuple(Message(role=turn["role"], content=turn["content"]) for turn in history)


def read_sampling(arguments: Mapping[str, Any], overrides: dict[str, Any]) -> Sampling:
    """lm-eval's generation arguments as `Sampling`, normalised as its own models do.

    Raises:
        UnsupportedError: An argument that changes answers and that no request can carry.
    """
    unknown = sorted(set(arguments) - _KNOWN - ({"num_beams"} if _one_beam(arguments) else set()))
    if unknown:
        raise UnsupportedError(
            f"The task asks for the generation settings {', '.join(unknown)}, "
            f"which cannot be sent; known are {', '.join(sorted(_KNOWN))}"
        )
    until = arguments.get("until") or []
    limits = [arguments[name] for name in LIMITS if arguments.get(name) is not None]
    own = Sampling(
        max_tokens=int(limits[0]) if limits else DEFAULT_MAX_TOKENS,
        stop=tuple(term for term in ([until] if isinstance(until, str) else until) if term),
        **_drawing(arguments),
    )
    return merge_sampling(own, overrides)


def _one_beam(arguments: Mapping[str, Any]) -> bool:
    return arguments.get("num_beams") == 1


def _drawing(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """How tokens are drawn: `do_sample: false` is greedy whatever else is said."""
    temperature, sample = arguments.get("temperature"), arguments.get("do_sample")
    if sample is False or (sample is None and not temperature):
        return {"temperature": 0.0}
    drawn = {name: arguments[name] for name in ("top_p", "top_k", "seed") if name in arguments}
    # transformers draws at 1 where sampling is asked for without a temperature
    return {"temperature": float(temperature) if temperature else 1.0, **drawn}


class Samplings:
    """`read_sampling` for a task's instances, which mostly say the same: read once.

    Args:
        overrides: Fields of `Sampling` that win over the task's.
    """

    def __init__(self, overrides: dict[str, Any]) -> None:
        self._overrides, self._known = overrides, dict[str, Sampling]()

    def of(self, arguments: Mapping[str, Any]) -> Sampling:
        """The sampling that generation arguments stand for.

        Raises:
            UnsupportedError: An argument that changes answers and that no request can carry.
        """
        said = repr(arguments)
        if said not in self._known:
            self._known = {said: read_sampling(arguments, self._overrides)}
        return self._known[said]


def read_instance(instance: Any, repeats: int, samplings: Samplings) -> list[Request]:
    """The requests of one instance: one, or `repeats` where answers are drawn at a temperature."""
    arguments = instance.args
    if instance.request_type == "loglikelihood_rolling":
        return [Request(kind="rolling", prompt=arguments[0])]
    if len(arguments) != 2:
        raise UnsupportedError("The task sends pictures or sound, and requests here carry text")
    prompt = read_prompt(arguments[0])
    if instance.request_type == "loglikelihood":
        return [Request(kind="loglikelihood", prompt=prompt, continuation=arguments[1])]
    sampling = samplings.of(arguments[1])
    draws = repeats if sampling.temperature != 0 else 1
    return [
        Request(kind="generate", prompt=prompt, sampling=sampling, repeat=index)
        for index in range(draws)
    ]


class FewshotState:
    """The state of a task's few-shot generator before any document.

    lm-eval draws worked examples in the order of the documents from one generator, so that
    those of document 7 depend on the draws before. `at(7)` puts the generator where it was:
    it goes on from the nearest state it has kept and draws what lies between.

    Args:
        draw: Draws the worked examples of a document, as building its prompt does.
        generator: The task's generator at this moment (a sampler may be given a new one).
        reset: Puts the generator to its first state.
        every: How many documents lie between two kept states.
    """

    def __init__(
        self,
        draw: Callable[[int], object],
        generator: Callable[[], random.Random],
        reset: Callable[[], object],
        every: int = 256,
    ) -> None:
        self._draw, self._generator, self._every = draw, generator, every
        reset()
        self._kept = [self._state()]  # before the documents 0, every, 2 * every, ...
        self._next = 0

    def at(self, index: int) -> None:
        """Puts the generator before document `index`."""
        kept = min(index // self._every, len(self._kept) - 1)
        if not kept * self._every <= self._next <= index:
            self._restore(kept)
        while self._next < index:
            self._draw(self._next)
            self.passed()

    def passed(self) -> None:
        """Notes that the examples of the document at hand have been drawn."""
        self._next += 1
        if self._next == len(self._kept) * self._every:
            self._kept.append(self._state())

    def _state(self) -> tuple[int, array[int], float | None]:
        version, words, gauss = self._generator().getstate()
        return version, array("L", words), gauss  # a tuple of 625 numbers takes eight times that

    def _restore(self, kept: int) -> None:
        version, words, gauss = self._kept[kept]
        self._generator().setstate((version, tuple(words), gauss))
        self._next = kept * self._every
