"""Batches that shrink when memory runs out."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from evalkit.models.hf_batches import Batches, Stopped


def out_of_memory():
    import torch

    return torch.OutOfMemoryError("CUDA out of memory")


def fits(most):
    """Work that runs out of memory above `most` rows, and notes the sizes that it saw."""
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        if len(batch) > most:
            raise out_of_memory()
        return [item * 10 for item in batch]

    return run, sizes


def test_a_batch_that_does_not_fit_is_halved_and_asked_again():
    run, sizes = fits(most=2)
    assert Batches(8).map(range(5), run) == [0, 10, 20, 30, 40]
    assert sizes == [5, 2, 2, 1]


def test_the_smaller_size_stays():
    batches = Batches(8)
    batches.map(range(8), fits(most=2)[0])
    assert batches.size == 2


def test_one_item_that_does_not_fit_is_an_error():
    with pytest.raises(MemoryError, match="one request alone"):
        Batches(4).map(range(4), fits(most=0)[0])


def test_other_errors_pass_through():
    def run(batch):
        raise ValueError("something else")

    with pytest.raises(ValueError, match="something else"):
        Batches(4).map([1], run)


def test_work_that_nobody_waits_for_ends():
    batches = Batches(1)

    def run(batch):
        batches.stop.set()
        return batch

    with pytest.raises(Stopped):
        batches.map([1, 2], run)
