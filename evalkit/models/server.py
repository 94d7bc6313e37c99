"""Any OpenAI-compatible server: vLLM, SGLang, TGI, llama.cpp, Ollama.

`server/NAME?base_url=http://host:8000/v1`, or `vllm/NAME` for one at http://localhost:8000/v1.
The name `auto` takes the server's only model. What the server can do is learned when it is
opened. Log-likelihoods come from its lists of the likeliest next tokens (all letters of a
multiple choice in one request) where these agree with the log-probabilities that it gives of
prompts, and from those otherwise. Answers to one prompt drawn several times are one request.

What fits no context is refused with numbers, never cut. Reference:
https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Sequence
from typing import Any
from urllib.parse import urlsplit

from evalkit.config.model_spec import ModelSpec, read_params
from evalkit.errors import (
    InputError,
    ModelError,
    RequestError,
    UnsupportedError,
)
from evalkit.models import server_probe
from evalkit.models.draws import Draws
from evalkit.models.grouping import ask_in_groups
from evalkit.models.parameters import estimate_tokens, identity_of, json_object
from evalkit.models.protocol import Capabilities
from evalkit.models.server_client import ServerClient, most_connections
from evalkit.models.server_logprobs import Prompt, Route
from evalkit.models.server_next_probe import PROBE, NextProbe
from evalkit.models.server_params import NOT_IDENTITY, ServerParams, base_url_of, key_of
from evalkit.models.server_scoring import Scorer
from evalkit.models.server_tokens import (
    LocalTokens,
    ServerTokens,
    TokenSource,
    tokenize_question,
)
from evalkit.models.server_ways import NextTokens, Place, Prompts, Scored, must_fit
from evalkit.models.wire import chat_messages, chat_responses, text_responses, tool_definitions
from evalkit.records import Message, Request, Response

Json = dict[str, Any]

#: Requests in flight to begin with.
_CONCURRENCY = 64


def create(spec: ModelSpec) -> ServerModel:
    """The model that `spec` names; nothing is contacted yet.

    Raises:
        InputError: A parameter is wrong, or `base_url` is missing.
        MissingKeyError: The variable named by `api_key_env` is not set.
    """
    return ServerModel(spec, read_params(spec, ServerParams))


class ServerModel:
    """One model of one server; see the module's text."""

    batch = 1

    def __init__(self, spec: ModelSpec, params: ServerParams) -> None:
        self.name = spec.label
        self.concurrency, self.deadline_s = params.concurrency or _CONCURRENCY, params.timeout_s
        self._params = params
        self._base_url = base_url_of(spec, params)
        # two servers have nothing to do with each other's limits
        self.provider = f"{spec.provider}@{urlsplit(self._base_url).netloc}"
        self._extra = json_object(params.extra_body, spec.label, "extra_body")
        self._secrets = key_of(params)
        searched = params.concurrency is None and not self._secrets
        self.most_concurrency = most_connections() if searched else None
        # asking one's own server again is free; behind a key, an answer may have to be paid for
        self.suspect_after_s = None if self._secrets else 30.0
        self._model = spec.name
        self._tokens: TokenSource | None = None
        self._scorer: Scorer | None = None
        self._context = params.context_length
        self._client = ServerClient(
            label=f"{self.name} at {self._base_url}",
            key=self._secrets,
            timeout_s=params.timeout_s,
        )
        self.identity = identity_of(spec, params, base_url=self._base_url, leave_out=NOT_IDENTITY)
        self._draws = Draws(self._extra)
        self._fixed = {
            name: value
            for name in ("temperature", "top_p", "top_k", "seed")
            if (value := getattr(params, name)) is not None
        }

    @property
    def rate_headers(self) -> dict[str, str]:
        """The rate-limit headers of the latest answer."""
        return self._client.rate_headers

    @property
    def capabilities(self) -> Capabilities:
        """What the server can do; final after `open`."""
        renders = isinstance(self._tokens, LocalTokens)
        chat = self._params.api != "completions"
        return Capabilities(
            chat=chat or renders,
            text=self._params.api != "chat",
            loglikelihood=self._scorer is not None,
            rolling=self._scorer is None or self._scorer.judges_texts,
            tools=chat,
            system=True,
            context_length=self._context,
        )

    async def open(self) -> None:
        """Find the server, its model, its context length, and whether it gives likelihoods.

        Raises:
            UnreachableError: No server answers.
            UnknownNameError: The server does not have this model.
            UnsupportedError: `loglikelihood=on`, and the server has no way to give them.
            InputError: The key or the tokenizer is wrong.
        """
        await self._client.open()
        try:
            await self._learn()
        except BaseException:  # whoever cannot open a model will not close it either
            await self.close()
            raise

    async def _learn(self) -> None:
        params = self._params
        if params.tokenizer not in ("", "server"):
            place, prefix = params.tokenizer, params.prefix_token_id
            self._tokens = await asyncio.to_thread(LocalTokens, place, prefix)
        cards = await server_probe.read_models(self._client, self._base_url, [self._secrets])
        card = server_probe.choose_model(self._model, cards, self._base_url)
        self._model = card.id
        self.identity["model"] = card.id
        if self._context is None:
            self._context = card.context_length or await server_probe.llama_cpp_context(
                self._client, self._origin
            )
        scores = self._params.loglikelihood != "off" and self._params.api != "chat"
        own = await self._server_tokens(wanted=scores)
        if self._params.tokenizer == "server":
            self._tokens = own
        if scores:
            self._scorer = await self._find_scorer(card, self._tokens or own)
        if self._scorer is not None and self._tokens is None:
            self._tokens = own

    async def _find_scorer(
        self, card: server_probe.ModelCard, tokens: TokenSource | None
    ) -> Scorer | None:
        """What asks for log-likelihoods, by the ways that the server has."""
        route = await server_probe.find_route(self._client, self._base_url, card)
        place = Place(
            client=self._client,
            url=f"{self._base_url}/completions",
            model=card.id,
            context_length=self._context,
            label=self.name,
        )
        prompts = None if route is None else await self._prompts(place, route, tokens)
        probe = None if tokens is None else NextProbe(self._client, place.url, card.id, tokens)
        several = prompts is not None and prompts.several
        next_route = None if probe is None else await probe.find(route, several=several)
        if prompts is None and next_route is None:
            if self._params.loglikelihood == "on":
                raise UnsupportedError(
                    f"The server at {self._base_url} gives no log-probabilities of a prompt "
                    "(neither `echo` with `logprobs` nor `prompt_logprobs`); vLLM and SGLang do"
                )
            return None
        return Scorer(
            prompts=prompts,
            next_tokens=None if next_route is None else NextTokens(place, next_route),
            tokens=tokens,
            label=self.name,
        )

    async def _prompts(self, place: Place, route: Route, tokens: TokenSource | None) -> Prompts:
        two: list[Prompt] = [PROBE, PROBE + " 3"]
        if tokens is not None:
            two = [await tokens.prompt(text) for text in (PROBE, PROBE + " 3")]
        several = await server_probe.takes_several(self._client, place.url, place.model, route, two)
        return Prompts(place, route, several=several)

    async def _server_tokens(self, *, wanted: bool) -> ServerTokens | None:
        asked = self._params.tokenizer == "server"
        if self._tokens is not None or not (asked or wanted):
            return None
        question = tokenize_question(self._model, "a", special=True)
        url = f"{self._origin}/tokenize"
        if await server_probe.ask_patiently(self._client, url, question) is not None:
            prefix = self._params.prefix_token_id
            return ServerTokens(self._client, url, self._model, prefix)
        if asked:
            raise InputError(
                f"The server at {self._base_url} has no /tokenize; "
                "give a local tokenizer (tokenizer=FOLDER or HUB_ID)"
            )
        return None

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    def count_tokens(self, text: str) -> int:
        """Tokens in `text`: exact with a local tokenizer, else four bytes a token."""
        if isinstance(self._tokens, LocalTokens):
            return self._tokens.count(text)
        return estimate_tokens(text)

    def together(self, request: Request) -> Hashable | None:
        """Continuations of one context belong together, and draws of one answer."""
        if request.kind == "loglikelihood":
            return (request.kind, request.prompt)
        if request.kind == "rolling":
            return None
        temperature = self._fixed.get("temperature", request.sampling.temperature)
        seed = self._fixed.get("seed", request.sampling.seed)
        return self._draws.key(request, temperature=temperature, seed=seed)

    async def ask(self, requests: Sequence[Request]) -> Sequence[Response | ModelError]:
        """Answer the requests, those that belong together by one request each.

        Raises:
            ModelError: The attempt failed as a whole.
        """
        return await ask_in_groups(requests, self.together, self._ask_group)

    async def _ask_group(self, requests: Sequence[Request]) -> Sequence[Response | ModelError]:
        if requests[0].kind == "generate":
            return await self._draws.ask(requests, self._generate)
        if self._scorer is None:
            raise RequestError(f"{self.name} gives no log-likelihoods")
        return await self._score(self._scorer, requests)

    # generation

    async def _generate(self, request: Request, number: int) -> Sequence[Response | ModelError]:
        """Up to `number` answers to one request."""
        by_chat = self._params.api == "chat" or (
            self._params.api == "auto" and not isinstance(request.prompt, str)
        )
        started = time.perf_counter()
        if by_chat:
            path, body = "chat/completions", self._chat_body(request)
        else:
            path, body = "completions", await self._text_body(request)
        if number > 1:
            body["n"] = number
        answer = await self._client.post(f"{self._base_url}/{path}", body)
        read = chat_responses if by_chat else text_responses
        latency = time.perf_counter() - started
        return read(answer, stops=request.sampling.stop, latency_s=latency)

    def _chat_body(self, request: Request) -> Json:
        prompt = request.prompt
        messages = (Message(role="user", content=prompt),) if isinstance(prompt, str) else prompt
        body: Json = {"model": self._model, "messages": chat_messages(messages)}
        if messages[-1].role == "assistant":
            # vLLM and SGLang continue the turn only if told to; llama.cpp and Ollama do anyway
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        if request.tools:
            body["tools"] = tool_definitions(request.tools)
        return body | self._sampling(request, self._max_tokens(request))

    async def _text_body(self, request: Request) -> Json:
        if request.tools:
            raise RequestError("Tools need the server's chat interface (api=auto or api=chat)")
        text = self._render(request)
        limit = self._max_tokens(request)
        rendered = not isinstance(request.prompt, str)
        prompt: str | list[int] = text
        if self._tokens is not None and (rendered or limit is None):
            prompt = await self._tokens.prompt(text)
            limit = self._remaining(len(prompt)) if limit is None else limit
        if limit is None:
            raise RequestError(
                f"{self.name}: raw completions need max_tokens, for how long they may be is not "
                "known without a tokenizer and a context length"
            )
        return {"model": self._model, "prompt": prompt} | self._sampling(request, limit)

    def _render(self, request: Request) -> str:
        if isinstance(request.prompt, str):
            return request.prompt
        if isinstance(self._tokens, LocalTokens):
            return self._tokens.render(request.prompt)
        raise RequestError(
            f"{self.name}: messages need the model's chat template here; give its tokenizer "
            "(tokenizer=FOLDER or HUB_ID)"
        )

    def _max_tokens(self, request: Request) -> int | None:
        fixed = self._params.max_tokens
        return request.sampling.max_tokens if fixed is None else fixed

    def _remaining(self, prompt_tokens: int) -> int | None:
        if self._context is None:
            return None
        must_fit(self.name, prompt_tokens, 1, self._context)
        return self._context - prompt_tokens

    def _sampling(self, request: Request, limit: int | None) -> Json:
        sampling = request.sampling
        asked: Json = {
            "max_tokens": limit,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "seed": sampling.seed,
            "stop": list(sampling.stop) or None,
        }
        given = {name: value for name, value in asked.items() if value is not None}
        return given | self._fixed | self._extra

    # log-likelihoods

    async def _score(
        self, scorer: Scorer, requests: Sequence[Request]
    ) -> Sequence[Response | ModelError]:
        """The judgements of continuations of one context, or of one text."""
        started = time.perf_counter()
        first = requests[0]
        scored: Sequence[Scored | ModelError]
        if first.kind == "loglikelihood":
            texts = [request.continuation for request in requests]
            scored = await scorer.continuations(self._render(first), texts)
        elif isinstance(first.prompt, str):
            scored = [await scorer.whole(first.prompt)]
        else:
            raise RequestError("Rolling log-likelihood is of a text, not of messages")
        latency = time.perf_counter() - started
        return [
            one if isinstance(one, ModelError) else self._judgement(one, latency) for one in scored
        ]

    def _judgement(self, scored: Scored, latency_s: float) -> Response:
        return Response(
            logprob=scored.judged.logprob,
            greedy=scored.judged.greedy,
            served_model=self._model,
            usage=scored.usage,
            latency_s=latency_s,
        )

    @property
    def _origin(self) -> str:
        parts = urlsplit(self._base_url)
        return f"{parts.scheme}://{parts.netloc}"
