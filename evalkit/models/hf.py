"""Models of `transformers`, in this process, on GPUs or the CPU.

Spec: `hf/NAME?dtype=float32&device=cpu&batch_size=8&…` where NAME is a folder (`./my-model`,
`/models/my-model`) or an id on the Hugging Face hub; `HFParams` lists the parameters.

Prompts, log-likelihoods and greedy answers are those of lm-eval's `hf` backend (0.4.13), with
one difference: what does not fit into the context is an error of that sample, never cut. An
answer may be as long as the context leaves room for, also where the request allows more; one
that ends there has the status `truncated`.

What prompts share is computed once, within a call and from one call to the next.
"""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from evalkit.config.model_spec import ModelSpec, read_params
from evalkit.errors import InputError, RequestError
from evalkit.models.hf_loading import HFParams, load
from evalkit.models.hf_replica import Replica
from evalkit.models.protocol import Capabilities
from evalkit.records import Message, Request, Response


def create(spec: ModelSpec) -> HFModel:
    """The model that `spec` names; nothing is loaded yet.

    Raises:
        InputError: A parameter is unknown or wrong.
        ModuleNotFoundError: torch or transformers is not installed.
    """
    params = read_params(spec, HFParams)
    sizes = (
        params.batch,
        params.batch_size,
        1 if params.batch_tokens is None else params.batch_tokens,
    )
    if min(sizes) < 1:
        raise InputError(
            f"Model {spec.label!r}: batch, batch_size and batch_tokens must be at least 1"
        )
    if params.prefix_mb is not None and params.prefix_mb < 0:
        raise InputError(f"Model {spec.label!r}: prefix_mb must be at least 0")
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return HFModel(spec.name, params, name=spec.label)


class HFModel:
    """A causal language model of `transformers`, with a copy and a thread for each device.

    `identity` and `capabilities` are final after `open`.

    Attributes:
        concurrency: One call for each copy.
    """

    provider = "hf"
    #: Work in this process cannot be taken back, and asking again would only repeat it.
    deadline_s = None
    in_process = True

    def __init__(self, source: str, params: HFParams, *, name: str = "") -> None:
        self.source, self.params, self.name = source, params, name or f"hf/{source}"
        self.batch = params.batch
        self.identity = {"provider": "hf", "name": source}
        self.devices = [device.strip() for device in params.device.split(",")]
        self.concurrency = len(self.devices)
        self.replicas: list[Replica] = []
        self._free: SimpleQueue[Replica] = SimpleQueue()
        self._workers = ThreadPoolExecutor(self.concurrency, thread_name_prefix="evalkit-hf")
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; messages only where the tokenizer has a chat template."""
        first = self.replicas[0] if self.replicas else None
        return Capabilities(
            chat=first is not None and first.chat.exists,
            text=True,
            loglikelihood=True,
            system=first is not None and first.chat.takes_system,
            context_length=first.loaded.context_length if first else None,
        )

    async def open(self) -> None:
        """Load the model.

        Raises:
            InputError: It cannot be had, or is not a causal language model.
        """
        if not self.replicas:
            await asyncio.get_running_loop().run_in_executor(self._workers, self._load)

    async def ask(self, requests: Sequence[Request]) -> list[Response]:
        """Answer requests of one kind; what does not fit the context is answered by an error.

        Raises:
            RequestError: The model's own code failed on them.
        """
        stop = threading.Event()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._workers, self._answer, requests, stop)
        finally:
            stop.set()  # where the caller was cancelled, the thread must not go on

    def render(self, prompt: str | tuple[Message, ...]) -> str:
        """The exact text that the model reads for a prompt.

        Raises:
            ValueError: The tokenizer has no chat template, or it refuses the messages.
        """
        return self._first.render(prompt)

    def count_tokens(self, text: str) -> int:
        """Tokens in `text`, without special tokens."""
        return len(self._first.tokens.encode_plain(text))

    async def close(self) -> None:
        """Stop what is running and give the memory back."""
        if self._closed:
            return
        self._closed = True
        for replica in self.replicas:
            replica.stop()
        await asyncio.to_thread(self._workers.shutdown)
        replicas, self.replicas = self.replicas, []
        while replicas:
            replicas.pop().release()

    @property
    def _first(self) -> Replica:
        assert self.replicas, "open() comes first"
        return self.replicas[0]

    def _load(self) -> None:
        replicas = [
            Replica(load(self.source, self.params, device), self.params, self.name)
            for device in self.devices
        ]
        for replica in replicas:
            self._free.put(replica)
        self.replicas = replicas
        self.identity |= self._details()

    def _details(self) -> dict[str, str]:
        loaded, chat = self._first.loaded, self._first.chat
        bos = self.params.add_bos_token
        details = {
            "version": loaded.version,
            "dtype": str(loaded.model.dtype).removeprefix("torch."),
            "device": loaded.model.device.type,
            "context_length": str(loaded.context_length),
            "chat_template": chat.fingerprint(),
            "system_messages": "" if chat.takes_system else "left out",
            "tokenizer": self.params.tokenizer,
            "add_bos_token": "" if bos is None else str(bos),
            "attention": self.params.attn,
            "seed": str(self.params.seed or ""),
        }
        return {key: value for key, value in details.items() if value}

    def _answer(self, requests: Sequence[Request], stop: threading.Event) -> list[Response]:
        """The work of a call, in a worker thread: there is a free copy for each of them."""
        replica = self._free.get()
        try:
            return replica.answer(requests, stop)
        except (RuntimeError, IndexError, ValueError) as error:
            raise RequestError(f"{self.name} failed: {error}") from error
        finally:
            self._free.put(replica)
