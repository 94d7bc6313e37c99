"""Any model backend that lm-eval registers, so that nothing its users have is out of reach.

Spec: `lm_eval/BACKEND?key=value&…`; the parameters are the backend's own model arguments, as in
`lm_eval/hf?pretrained=gpt2`. Keys come from the environment, where the backends look for them.

What lm-eval's interface (0.4.13) cannot say is left open: a backend does not tell whether its
token limit ended an answer, how many tokens it took, or where its random numbers come from.
Contexts that are too long, which lm-eval would cut on the left, are errors of their sample
wherever the backend tells its tokenizer and its context length.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from evalkit.config.model_spec import ModelSpec
from evalkit.errors import InputError, RequestError, TransientError, UnknownNameError
from evalkit.models.protocol import Capabilities
from evalkit.records import Message, Request, RequestKind, Response, Sampling

#: Requests that one call takes; a backend makes its own batches of them.
_BATCH = 64
#: Parameters that hold secrets in some backend.
_SECRETS = {"api_key", "auth_token", "hf_token", "token", "password"}
#: What lm-eval calls a kind of request, and the method that answers it.
_METHODS: dict[RequestKind, str] = {
    "generate": "generate_until",
    "loglikelihood": "loglikelihood",
    "rolling": "loglikelihood_rolling",
}


def create(spec: ModelSpec) -> LmEvalModel:
    """The model that `spec` names; nothing is loaded yet.

    Raises:
        UnknownNameError: lm-eval has no such backend.
        InputError: A parameter holds a key.
    """
    import lm_eval.models
    from lm_eval.api.registry import model_registry

    known = sorted({*lm_eval.models.MODEL_MAPPING, *model_registry.keys()})
    if spec.name not in known:
        raise UnknownNameError("lm-eval backend", spec.name, known, f"Known: {', '.join(known)}.")
    if secret := next((key for key in spec.params if key in _SECRETS), ""):
        raise InputError(
            f"Model {spec.label!r}: {secret} must not stand in a model's name; "
            "set the backend's environment variable"
        )
    return LmEvalModel(spec.name, spec.params, name=spec.label)


class LmEvalModel:
    """A backend of lm-eval; its work is done in one thread, in batches of its own.

    `capabilities` is final after `open`.
    """

    provider = "lm_eval"
    concurrency = 1
    #: Work in this process cannot be taken back, and asking again would only repeat it.
    deadline_s = None
    in_process = True

    def __init__(self, backend: str, arguments: dict[str, Any], *, name: str = "") -> None:
        from importlib.metadata import version

        self.backend, self.arguments = backend, arguments
        self.name = name or f"lm_eval/{backend}"
        self.batch = max(_BATCH, 4 * int(arguments.get("num_concurrent", 0)))
        self.identity = {"provider": "lm_eval", "name": backend, "version": version("lm_eval")}
        self.identity |= {f"arg:{key}": str(value) for key, value in sorted(arguments.items())}
        self.capabilities = Capabilities()
        self._lm: Any = None
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="evalkit-lm-eval")

    async def open(self) -> None:
        """Make the backend; local ones load their model.

        Raises:
            InputError: The backend does not start with these arguments.
        """
        if self._lm is None:
            await asyncio.get_running_loop().run_in_executor(self._worker, self._load)

    async def ask(self, requests: Sequence[Request]) -> list[Response]:
        """Answer requests of one kind.

        Raises:
            ModelError: The backend failed on them.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, self._answer, requests)

    def render(self, prompt: str | tuple[Message, ...]) -> str:
        """The text that the backend reads for a prompt.

        Raises:
            ValueError: The backend takes no messages, or its template refuses them.
        """
        if isinstance(prompt, str):
            return prompt
        if not self.capabilities.chat:
            raise ValueError(f"{self.name} takes text, not messages")
        turns = [{"role": message.role, "content": message.content} for message in prompt]
        text: str = self._lm.apply_chat_template(
            turns, add_generation_prompt=prompt[-1].role != "assistant"
        )
        return text

    def count_tokens(self, text: str) -> int:
        """Tokens in `text`: exact with the backend's tokenizer, else an estimate."""
        return len(self._encode(text)) if self._measures else (len(text.encode()) + 3) // 4

    async def close(self) -> None:
        """Let the backend go."""
        self._lm = None
        await asyncio.to_thread(self._worker.shutdown, cancel_futures=True)

    @property
    def _measures(self) -> bool:
        """Whether the backend has a tokenizer at hand and tells its context length."""
        from lm_eval.api.model import TemplateLM

        return (
            isinstance(self._lm, TemplateLM)
            and getattr(self._lm, "tokenizer", None) is not None
            and hasattr(self._lm, "max_length")
        )

    def _load(self) -> None:
        from lm_eval.api.registry import get_model
        from lm_eval.utils import handle_arg_string

        arguments = {
            key: handle_arg_string(value) if isinstance(value, str) else value
            for key, value in self.arguments.items()
        }
        try:
            self._lm = get_model(self.backend).create_from_arg_obj(arguments)
        except Exception as error:  # backends raise whatever their libraries raise
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise InputError(f"Model {self.name!r} does not start: {reason[0]}") from error
        self.capabilities = _capabilities(self.backend, self._lm, self._measures)

    # What follows runs in the worker thread.

    def _answer(self, requests: Sequence[Request]) -> list[Response]:
        responses: dict[int, Response] = {}
        arguments: dict[int, tuple[Any, ...]] = {}
        for index, request in enumerate(requests):
            try:
                arguments[index] = self._arguments(request)
            except ValueError as error:
                responses[index] = Response(status="error", error=str(error))
        results = self._call(requests[0].kind, list(arguments.values()))
        for index, result in zip(arguments, results, strict=True):
            responses[index] = _response(requests[index].kind, result)
        return [responses[index] for index in range(len(requests))]

    def _arguments(self, request: Request) -> tuple[Any, ...]:
        text = self.render(request.prompt)
        if request.tools:
            raise ValueError("lm-eval backends take no tool definitions")
        if request.kind == "rolling":
            return (text,)
        if request.kind == "loglikelihood":
            if isinstance(text, str):
                self._check_fits(text + request.continuation, more=-1)
            return text, request.continuation
        return text, self._generation(text, request.sampling)

    def _generation(self, text: str, sampling: Sampling) -> dict[str, Any]:
        wishes: dict[str, Any] = {"until": list(sampling.stop)}
        if sampling.temperature is not None:
            wishes |= {"temperature": sampling.temperature, "do_sample": sampling.temperature > 0}
        wishes |= {
            name: wish
            for name in ("top_p", "top_k")
            if (wish := getattr(sampling, name)) is not None
        }
        room = self._room(text)
        if sampling.max_tokens is not None:
            self._check_fits(text, sampling.max_tokens)
            wishes["max_gen_toks"] = sampling.max_tokens
        elif room is not None:
            self._check_fits(text, 1)
            wishes["max_gen_toks"] = room
        return wishes

    def _check_fits(self, text: str, more: int) -> None:
        """Raise ValueError where the backend would cut a text that takes `more` tokens yet."""
        room = self._room(text)
        if room is not None and more > room:
            limit = self._lm.max_length
            raise ValueError(
                f"it needs {limit - room + more} tokens, and the context holds {limit}: "
                "nothing is cut silently"
            )

    def _room(self, text: str) -> int | None:
        """The tokens that the context leaves beside a text; None where the backend tells not."""
        # API backends hand on a chat as messages, which no tokenizer counts
        if not self._measures or not isinstance(text, str):
            return None
        return int(self._lm.max_length) - len(self._encode(text))

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._lm.tok_encode(text)
        return ids

    def _call(self, kind: RequestKind, arguments: list[tuple[Any, ...]]) -> list[Any]:
        from lm_eval.api.instance import Instance

        if not arguments:
            return []
        ask = getattr(self._lm, _METHODS[kind])
        quiet = (
            {"disable_tqdm": True} if "disable_tqdm" in inspect.signature(ask).parameters else {}
        )
        instances = [Instance(_METHODS[kind], {}, one, i) for i, one in enumerate(arguments)]
        try:
            return list(ask(instances, **quiet))
        except (ConnectionError, TimeoutError) as error:
            raise TransientError(f"{self.name}: {error}") from error
        except Exception as error:  # backends raise whatever their libraries raise
            reason = str(error).strip() or type(error).__name__
            raise RequestError(f"{self.name} failed: {reason}") from error


def _capabilities(backend: str, lm: Any, measures: bool) -> Capabilities:
    from lm_eval.api.model import LM

    template = getattr(lm.tokenizer, "chat_template", None) if measures else True
    chat = type(lm).apply_chat_template is not LM.apply_chat_template and bool(template)
    # lm-eval says what a backend cannot do only by an exception in the middle of a run
    chat_api = "chat" in backend or backend.startswith(("litellm", "anthropic"))
    return Capabilities(
        chat=chat,
        text=not chat_api,
        loglikelihood=not chat_api,
        system=chat,
        context_length=lm.max_length if measures else None,
    )


def _response(kind: RequestKind, result: Any) -> Response:
    if kind == "generate":
        return Response(text=result)
    if kind == "loglikelihood":
        return Response(logprob=float(result[0]), greedy=bool(result[1]))
    return Response(logprob=float(result[0] if isinstance(result, tuple) else result))
