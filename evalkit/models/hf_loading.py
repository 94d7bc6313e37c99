"""A causal language model and its tokenizer, from a local folder or the Hugging Face hub."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import InputError, UnsupportedError
from evalkit.models.hf_identity import folder_fingerprint
from evalkit.records import Record

#: Where a configuration says how long a context may be, in the order in which lm-eval looks.
_LENGTH_KEYS = ("n_positions", "max_position_embeddings", "n_ctx")
#: What a tokenizer says where it knows no limit is far above this.
_NO_LIMIT = 10**12


class HFParams(Record, frozen=True, kw_only=True):
    """What a spec may set.

    Args:
        dtype: `auto` (the model's own), `float32`, `bfloat16` or `float16`.
        device: `cpu`, `cuda`, `cuda:1`, `mps`; empty takes the best there is. Several
            (`cuda:0,cuda:1`) get a copy of the model each and share the work.
        device_map: Spreads a large model over devices (`auto`); replaces `device`.
        revision: Branch, tag or commit on the hub.
        tokenizer: Another folder or hub id for the tokenizer.
        batch: Requests that one call takes; they are planned together, and their answers are
            lost where the process is killed before all of them are known.
        batch_size: Rows that go through the model at once at most; halved when memory runs out.
        batch_tokens: Tokens that are scored at once at most (a single longer row goes alone);
            None takes 512 on a CPU and 4096 on a GPU. Halved when memory runs out.
        prefix_mb: Memory for keys and values of shared prefixes, and as much again for those
            of answers in progress; None takes a quarter of what is free on the device after
            loading, and 2048 on a CPU at most.
        share_prefixes: Whether what rows share is computed once, where the model allows it.
        max_length: The context length; None takes the model's own.
        add_bos_token: Whether texts get a BOS token; None leaves it to the tokenizer.
        attn: The attention implementation (`sdpa`, `eager`, `flash_attention_2`).
        trust_remote_code: Runs Python code that comes with the model. Only for models you trust.
        seed: For sampled answers whose request sets none.
    """

    dtype: str = "auto"
    device: str = ""
    device_map: str = ""
    revision: str = ""
    tokenizer: str = ""
    batch: int = 256
    batch_size: int = 32
    batch_tokens: int | None = None
    prefix_mb: int | None = None
    share_prefixes: bool = True
    max_length: int | None = None
    add_bos_token: bool | None = None
    attn: str = ""
    trust_remote_code: bool = False
    seed: int = 0


class Loaded(NamedTuple):
    """A model that is ready to be asked."""

    model: Any
    tokenizer: Any
    context_length: int
    version: str  # the hub commit, or the fingerprint of the folder


def local_folder(name: str) -> Path | None:
    """The folder that `name` means, or None where it is a hub id.

    Raises:
        InputError: It is written as a path, and no such folder exists.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if name.startswith((".", "/", "~")):
        raise InputError(f"There is no model folder {name!r}")
    return None


def load(name: str, params: HFParams, device: str = "") -> Loaded:
    """The model `name`, on `device`; an empty one is the best there is.

    Raises:
        InputError: It cannot be had or does not fit what `params` ask for.
        UnsupportedError: It is not a causal language model.
    """
    import torch

    if params.dtype != "auto" and not isinstance(getattr(torch, params.dtype, None), torch.dtype):
        raise InputError(
            f"dtype {params.dtype!r} of hf/{name} is none of auto, float32, bfloat16, float16"
        )
    folder = local_folder(name)
    source = str(folder) if folder else name
    with quiet(), _explained(name):
        config, tokenizer = _config_and_tokenizer(source, params)
        _check_kind(name, config)
        model = _model(source, params, device)
    version = folder_fingerprint(folder) if folder else getattr(config, "_commit_hash", None) or ""
    return Loaded(model, tokenizer, params.max_length or context_length(config, tokenizer), version)


def context_length(config: Any, tokenizer: Any) -> int:
    """How many tokens a model reads at once: its configuration's word, else its tokenizer's.

    Raises:
        InputError: Neither says.
    """
    inner = getattr(config, "text_config", None) or config
    for key in _LENGTH_KEYS:
        if (value := getattr(inner, key, None)) is not None:
            return int(value)
    if tokenizer.model_max_length and tokenizer.model_max_length < _NO_LIMIT:
        return int(tokenizer.model_max_length)
    raise InputError(
        "Neither the model nor its tokenizer says how long its context is: set max_length"
    )


def best_device() -> str:
    """The fastest kind of device of this machine."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _config_and_tokenizer(source: str, params: HFParams) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoTokenizer

    options: dict[str, Any] = {"trust_remote_code": params.trust_remote_code}
    if params.revision:
        options["revision"] = params.revision
    config = AutoConfig.from_pretrained(source, **options)
    if params.tokenizer:
        options.pop("revision", None)
    if params.add_bos_token is not None:
        options["add_bos_token"] = params.add_bos_token
    return config, AutoTokenizer.from_pretrained(params.tokenizer or source, **options)


def _check_kind(name: str, config: Any) -> None:
    if getattr(config, "is_encoder_decoder", False):
        raise UnsupportedError(
            f"hf/{name} is an encoder-decoder model; ask it through lm_eval/hf?pretrained={name}"
        )


def _model(source: str, params: HFParams, device: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {"trust_remote_code": params.trust_remote_code}
    options["dtype"] = "auto" if params.dtype == "auto" else getattr(torch, params.dtype)
    for option, value in (
        ("revision", params.revision),
        ("attn_implementation", params.attn),
        ("device_map", params.device_map),
    ):
        if value:
            options[option] = value
    model = AutoModelForCausalLM.from_pretrained(source, **options).eval()
    return model if params.device_map else model.to(device or best_device())


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Puts the libraries' exceptions into one sentence."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if lines else type(error).__name__
        hint = ""
        if "trust_remote_code" in str(error):
            hint = "; it brings its own Python code: set trust_remote_code=true if you trust it"
        raise InputError(f"Model hf/{name} cannot be loaded: {reason.rstrip('.')}{hint}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without progress bars and advice on the terminal, which belongs to the run's own display."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
