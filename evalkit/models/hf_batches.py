"""Work cut into batches that fit into memory."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Stopped(Exception):
    """Nobody waits for the rest of this work any more."""


class Batches:
    """Cuts work into batches; their size is halved for good when memory runs out.

    Attributes:
        size: How many rows go through the model at once.
        stop: Set from outside, it ends the work in progress after its current step.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.stop = threading.Event()

    def map(
        self, items: Sequence[Item], run: Callable[[Sequence[Item]], Sequence[Result]]
    ) -> list[Result]:
        """The results of `run` over batches of `items`, in order.

        Raises:
            MemoryError: One item alone does not fit.
            Stopped: `stop` was set.
        """
        results: list[Result] = []
        while len(results) < len(items):
            if self.stop.is_set():
                raise Stopped
            batch = items[len(results) : len(results) + self.size]
            try:
                results += run(batch)
                continue
            except Exception as error:
                self._shrink(error, len(batch))
            # outside the except block, whose traceback would keep the batch's tensors alive
            free_memory()
        return results

    def _shrink(self, error: Exception, rows: int) -> None:
        if not is_out_of_memory(error):
            raise error
        if rows == 1:
            raise too_large() from error
        self.size = rows // 2


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had no memory left."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # torch's CPU allocator raises a plain RuntimeError
    return isinstance(error, RuntimeError) and "not enough memory" in str(error)


def too_large() -> MemoryError:
    """The error of a request for which there is no memory even alone."""
    return MemoryError(
        "one request alone does not fit into the device's memory: "
        "set a smaller max_length or dtype, or use a larger device"
    )


def free_memory() -> None:
    """Give unused tensors back to the device."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
