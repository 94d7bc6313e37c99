"""How much a device may be given at once, where the spec does not say."""

from __future__ import annotations

from typing import Any

#: Tokens that go through the model at once: enough to fill the device, and no more, because
#: the attention of packed branches grows with the square of their tokens.
_PASS_TOKENS = {"cpu": 512}
_PASS_TOKENS_GPU = 4096
#: Of the memory that is free after loading, what kept prefixes may take, and at most (bytes).
_PREFIX_SHARE, _PREFIX_MOST_CPU = 0.25, 2 * 2**30


def pass_tokens(device: Any) -> int:
    """Tokens that go through a model on `device` at once."""
    return _PASS_TOKENS.get(device.type, _PASS_TOKENS_GPU)


def prefix_bytes(device: Any, wanted_mb: int | None) -> int:
    """Bytes that keys and values of shared prefixes may take on `device`."""
    if wanted_mb is not None:
        return wanted_mb * 2**20
    free = _PREFIX_SHARE * free_bytes(device)
    return int(free if device.type == "cuda" else min(free, _PREFIX_MOST_CPU))


def free_bytes(device: Any) -> int:
    """Memory that a device has left."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)
