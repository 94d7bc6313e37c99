"""Tokens of a served model: from a local copy of its tokenizer, or from the server itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from evalkit.errors import InputError, RequestError
from evalkit.models.server_client import ServerClient
from evalkit.models.tokens import Pair, TextTokenizer
from evalkit.records import Message


class TokenSource(Protocol):
    """Turns text into the served model's tokens, by the rules of `evalkit.models.tokens`."""

    async def prompt(self, text: str) -> list[int]:
        """The tokens of a text that is to be continued."""
        ...

    async def pairs(self, context: str, continuations: Sequence[str]) -> list[Pair | RequestError]:
        """The tokens of a context and of each of its continuations, or why there are none."""
        ...

    async def whole(self, text: str) -> list[int]:
        """The tokens of a text that is judged as a whole."""
        ...

    def names(self) -> Mapping[str, int]:
        """The tokens that print like no other, by how they print; none where that is not known."""
        ...

    async def prefix(self) -> int:
        """The token that stands before an empty context.

        Raises:
            RequestError: There is none, and none was stated.
        """
        ...


class LocalTokens:
    """A tokenizer on this machine, through transformers: a folder or a hub id.

    Raises:
        InputError: It cannot be loaded.
    """

    def __init__(self, place: str, prefix_token: int | None = None) -> None:
        self._tokenizer = _load(place)
        self._text = TextTokenizer(self._tokenizer)
        if prefix_token is not None:
            self._text.prefix_token = prefix_token

    def count(self, text: str) -> int:
        """How many tokens `text` has."""
        return len(self._text.encode_prompt(text))

    async def prompt(self, text: str) -> list[int]:
        """The tokens of a text that is to be continued."""
        return self._text.encode_prompt(text)

    async def pairs(self, context: str, continuations: Sequence[str]) -> list[Pair | RequestError]:
        """The tokens of a context and of each of its continuations."""
        return [
            RequestError(f"This pair cannot be judged: {pair}")
            if isinstance(pair, ValueError)
            else pair
            for pair in self._text.pairs(context, continuations)
        ]

    def names(self) -> Mapping[str, int]:
        """The tokens that print like no other, by how they print."""
        tokens = range(len(self._tokenizer))
        texts = self._tokenizer.batch_decode([[token] for token in tokens])
        counts = Counter(texts)
        return {text: token for token, text in enumerate(texts) if counts[text] == 1}

    async def whole(self, text: str) -> list[int]:
        """The tokens of a text that is judged as a whole."""
        return self._text.encode(text)

    async def prefix(self) -> int:
        """The stated token, or the tokenizer's beginning, else end, of text."""
        if self._text.prefix_token is None:
            raise RequestError(_NO_PREFIX)
        return self._text.prefix_token

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt that the model's chat template makes of `messages`.

        The last message is continued where it is the assistant's.

        Raises:
            RequestError: There is no chat template, or it refuses the messages.
        """
        if not self._tokenizer.chat_template:
            raise RequestError("The tokenizer has no chat template to render messages with")
        continued = messages[-1].role == "assistant"
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            rendered: str = self._tokenizer.apply_chat_template(
                turns,
                tokenize=False,
                add_generation_prompt=not continued,
                continue_final_message=continued,
            )
        except Exception as error:  # a template raises whatever its author chose
            raise RequestError(f"The chat template refuses these messages: {error}") from error
        return rendered


def _load(place: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError) as error:
        first_line = str(error).strip().split("\n")[0]
        raise InputError(f"No tokenizer could be loaded from {place!r}: {first_line}") from None


class _Tokens(msgspec.Struct):
    tokens: list[int]


class ServerTokens:
    """The server's own tokenizer: vLLM's and llama.cpp's `/tokenize`."""

    def __init__(
        self, client: ServerClient, url: str, model: str, prefix_token: int | None = None
    ) -> None:
        self._client, self._url, self._model = client, url, model
        self._prefix = prefix_token

    async def prompt(self, text: str) -> list[int]:
        """The tokens of a text that is to be continued, beginning of text included."""
        return await self._encode(text, special=True)

    async def pairs(self, context: str, continuations: Sequence[str]) -> list[Pair | RequestError]:
        """The tokens of a context and of each of its continuations; texts are sent at once."""
        kept, _ = move_spaces(context, "")
        first = self._encode(kept, special=True) if kept else self._prefix_alone()
        texts = (self._encode(context + text, special=bool(kept)) for text in continuations)
        before, *wholes = await asyncio.gather(first, *texts)
        return [_split(before, whole, begins=not kept) for whole in wholes]

    async def _prefix_alone(self) -> list[int]:
        return [await self.prefix()]

    def names(self) -> Mapping[str, int]:
        """None: the server tells no tokens that nobody asks for."""
        return {}

    async def whole(self, text: str) -> list[int]:
        """The tokens of a text that is judged as a whole."""
        return await self._encode(text, special=True)

    async def prefix(self) -> int:
        """The stated token, or the one that the server puts before an empty text."""
        if self._prefix is None:
            tokens = await self._encode("", special=True)
            if not tokens:
                raise RequestError(_NO_PREFIX)
            self._prefix = tokens[0]
        return self._prefix

    async def _encode(self, text: str, *, special: bool) -> list[int]:
        body = tokenize_question(self._model, text, special=special)
        return read_tokens(await self._client.post(self._url, body))


def _split(before: list[int], whole: list[int], *, begins: bool) -> Pair | RequestError:
    """What `whole` has beyond its context; where that begins the text, `whole` lacks it."""
    after = whole if begins and whole[:1] != before else whole[len(before) :]
    if not after:
        return RequestError("This pair cannot be judged: the continuation has no tokens")
    return before, after


def tokenize_question(model: str, text: str, *, special: bool) -> dict[str, Any]:
    """What `/tokenize` is asked, in vLLM's words and in llama.cpp's at once."""
    in_vllm = {"model": model, "prompt": text, "add_special_tokens": special}
    return in_vllm | {"content": text, "add_special": special}


def read_tokens(answer: bytes) -> list[int]:
    """The tokens that `/tokenize` answered.

    Raises:
        RequestError: It answered something else.
    """
    try:
        return msgspec.json.decode(answer, type=_Tokens).tokens
    except msgspec.DecodeError as error:
        raise RequestError(f"/tokenize answered something else than tokens: {error}") from None


def move_spaces(context: str, continuation: str) -> tuple[str, str]:
    """Trailing white space of the context goes to the continuation, whose tokens carry it."""
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation


_NO_PREFIX = "An empty context needs the token that begins a text; say prefix_token_id=ID"
