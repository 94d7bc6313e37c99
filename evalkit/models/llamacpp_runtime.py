"""llama.cpp's own server in this process: how it is set up, started and dropped.

Its CPU kernels for attention come in three kinds, and which one computes a token depends on
how many others are computed with it (64 and more; one alone with 512 and more before it; the
rest), as long as keys and values are both kept in float16. They round differently. With keys of
another type than the values there is one kernel, so that a token's result does not depend on
where a prompt is cut or on who else is being answered
(https://github.com/ggml-org/ggml/blob/master/src/ggml-cpu/ops.cpp, `flash_attn_ext_f16`).
Keys in Q8_0 and values in float16 were the fastest such pair: prompts are read at 0.77 of the
speed of float16 (128 tokens a second for 167, at 900 tokens), answers written at 1.13.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from evalkit.errors import InputError
from evalkit.records import Record

#: The values of a Q8_0 block, which must divide a head's.
_BLOCK = 32
#: What the prompts of earlier requests may take outside the slots, in MiB, where they are kept.
KEPT_MIB = 512
#: The share of a prompt that a slot must hold already for the request to go there unseen. Below
#: it llama.cpp also looks through the prompts kept aside; its own 0.1 is what any two prompts
#: of one chat template have in common.
_ALIKE = 0.5


class Setup(Record, frozen=True, kw_only=True):
    """How llama.cpp is started.

    Args:
        path: The GGUF file.
        n_ctx: The context length of each slot, in tokens.
        slots: Answers written at the same time.
        threads: CPU threads; None takes all cores but one.
        gpu_layers: Layers put on a GPU.
        keep_prompts: Keeps what was computed for earlier prompts, up to `KEPT_MIB`.
        steady: Takes the attention whose results do not depend on the batch, on the CPU.
        head_length: The values of one key of one attention head; 0 where that is not known.
    """

    path: Path
    n_ctx: int
    slots: int
    threads: int | None
    gpu_layers: int
    keep_prompts: bool
    steady: bool
    head_length: int

    @property
    def key_type(self) -> str:
        """What keys are kept as: ggml's name."""
        if not self.steady:
            return "F16"
        whole_blocks = self.head_length > 0 and self.head_length % _BLOCK == 0
        return "Q8_0" if whole_blocks else "BF16"


def start(setup: Setup, key: str) -> Any:
    """llama.cpp's server, loaded and listening on a free loopback port behind `key`.

    Raises:
        InputError: The model cannot be loaded.
    """
    import xllamacpp

    try:
        return xllamacpp.Server(_options(setup, key))
    except (RuntimeError, ValueError, MemoryError) as error:
        raise InputError(f"llama.cpp cannot load {setup.path}: {error}") from error


def drop(server: list[Any]) -> None:
    """Forget the server that the list holds, which stops it; this waits for its threads."""
    server.clear()


def on_cpu(gpu_layers: int) -> bool:
    """Whether the whole model is computed on the CPU."""
    import xllamacpp

    kinds = xllamacpp.ggml_backend_dev_type
    gpus = (kinds.GGML_BACKEND_DEVICE_TYPE_GPU, kinds.GGML_BACKEND_DEVICE_TYPE_IGPU)
    return gpu_layers == 0 or all(
        device["type"] not in gpus for device in xllamacpp.get_device_info()
    )


def _options(setup: Setup, key: str) -> Any:
    import xllamacpp

    options = xllamacpp.CommonParams()
    options.model.path, options.model_alias = str(setup.path), setup.path.name
    # llama.cpp divides the context among its slots
    options.n_parallel, options.n_ctx = setup.slots, setup.n_ctx * setup.slots
    options.hostnames, options.port, options.api_keys = ["127.0.0.1"], 0, [key]
    options.verbosity = -1
    options.warmup = options.ui = options.endpoint_slots = options.fit_params = False
    options.n_gpu_layers = setup.gpu_layers
    options.cache_ram_mib = KEPT_MIB if setup.keep_prompts else 0
    options.slot_prompt_similarity = _ALIKE
    if setup.steady:
        options.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    options.cache_type_k = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{setup.key_type}")
    options.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F16
    threads = setup.threads or max(1, _cores() - 1)
    for pool in (options.cpuparams, options.cpuparams_batch):
        pool.n_threads, pool.poll = threads, 0  # idle threads sleep: other work shares the cores
    return options


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
