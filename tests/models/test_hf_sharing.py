"""What rows share is computed once, and the numbers are those of each row alone."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from evalkit.models.hf_batches import Stopped
from evalkit.models.hf_prefix import Prefixes
from evalkit.models.hf_reader import Limits, Reader, Sharing
from evalkit.models.hf_scoring import Scorer
from evalkit.models.hf_sharing import sharing_of
from evalkit.models.hf_wants import row_of
from tests.models import tiny_networks

GB = 2**30


def words(draw, count):
    return [draw.randint(5, tiny_networks.VOCABULARY - 1) for _ in range(count)]


def tasks(*, headers=(40, 60), documents=6, own=9, choices=3, longest=4, seed=1):
    """Pairs as multiple choice makes them: headers, documents below them, choices of each."""
    draw = random.Random(seed)
    pairs = []
    for header in [words(draw, length) for length in headers]:
        for _ in range(documents):
            context = header + words(draw, draw.randint(1, own))
            pairs += [(context, words(draw, draw.randint(1, longest))) for _ in range(choices)]
    return pairs


def alone(model, pairs):
    """Log-probability and greediness of each pair, by a pass of its own over all of it."""
    found = []
    for context, continuation in pairs:
        with torch.inference_mode():
            logits = model(torch.tensor([context + continuation]), use_cache=False).logits[0]
        scored = logits[len(context) - 1 : -1].log_softmax(-1)
        ids = torch.tensor(continuation)
        logprob = float(scored.gather(1, ids[:, None]).sum())
        found.append((pytest.approx(logprob, abs=1e-3), bool((scored.argmax(-1) == ids).all())))
    return found


def scorer(model, *, tokens=64, rows=4, limit=GB, sharing=None):
    sharing = sharing_of(model) if sharing is None else sharing
    return Scorer(Reader(model, sharing, Limits(tokens, rows), Prefixes(limit)))


def unique_tokens(pairs):
    rows = {row_of(pair) for pair in pairs}
    return len({row[: end + 1] for row in rows for end in range(len(row))})


@pytest.fixture(scope="module")
def llama():
    return tiny_networks.build("llama")


@pytest.mark.parametrize("kind", [*tiny_networks.SHARING, *tiny_networks.PLAIN])
def test_likelihoods_are_those_of_each_row_alone(kind):
    model, pairs = tiny_networks.build(kind), tasks()
    assert scorer(model).score(pairs) == alone(model, pairs)


@pytest.mark.parametrize("kind", tiny_networks.SHARING)
def test_each_unique_token_is_computed_once(kind):
    pairs = tasks()
    one = scorer(tiny_networks.build(kind))
    one.score(pairs)
    assert one.reader.tokens_computed == unique_tokens(pairs) < one.tokens_asked / 4


@pytest.mark.parametrize("kind", tiny_networks.PLAIN)
def test_models_that_cannot_share_say_why(kind):
    sharing = sharing_of(tiny_networks.build(kind))
    assert sharing.deepest == 0 and sharing.why


@pytest.mark.parametrize(
    "shape",
    [
        {"headers": (0,), "documents": 12, "own": 30},  # nothing is shared but by choices
        {"headers": (0,) * 8, "documents": 1, "choices": 1, "longest": 60},  # rolling windows
        {"headers": (90,), "documents": 3, "own": 2, "longest": 30},  # contexts of a few documents
        {"headers": (3,), "documents": 20, "own": 1},  # tiny contexts
        {"headers": (150,), "documents": 2, "own": 70},  # rows that are longer than a pass
    ],
)
@pytest.mark.parametrize("tokens", [1, 16, 512])
def test_any_shape_of_work_is_scored_right(llama, shape, tokens):
    pairs = tasks(**shape)
    assert scorer(llama, tokens=tokens).score(pairs) == alone(llama, pairs)


def test_rows_that_begin_other_rows_are_scored_right(llama):
    text = words(random.Random(2), 40)
    pairs = [(text[:cut], text[cut : cut + more]) for cut in (1, 10, 11, 30) for more in (1, 2, 10)]
    assert scorer(llama, tokens=8).score(pairs) == alone(llama, pairs)


def test_the_next_call_does_not_compute_the_header_again(llama):
    pairs = tasks(headers=(60,), documents=8, choices=1)
    one = scorer(llama)
    one.score(pairs[:4])
    before = one.reader.tokens_computed
    assert one.score(pairs[4:]) == alone(llama, pairs[4:])
    assert one.reader.tokens_computed - before == unique_tokens(pairs[4:]) - 60


def test_what_is_wanted_of_a_kept_header_is_computed_again(llama):
    pairs = tasks(headers=(60,), documents=8, choices=1)
    inside = [(pairs[0][0][:30], pairs[0][0][30:50])]
    one = scorer(llama)
    one.score(pairs)
    assert one.score(inside) == alone(llama, inside)


@pytest.mark.parametrize("limit", [0, 40_000, GB])
def test_kept_prefixes_stay_under_their_limit(llama, limit):
    one, pairs = scorer(llama, tokens=32, limit=limit), tasks(headers=(40, 50, 60, 70))
    assert one.score(pairs) == alone(llama, pairs)
    assert one.reader.prefixes.most_bytes <= limit


class Cramped:
    """A network on a device that holds so many tokens (rows times width) a pass."""

    def __init__(self, network, tokens):
        self.network, self.tokens, self.refused = network, tokens, 0
        self.device, self.dtype, self.forward = network.device, network.dtype, network.forward

    def __call__(self, ids, **options):
        if ids.numel() > self.tokens:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.network(ids, **options)


def test_work_goes_on_with_less_after_memory_ran_out(llama):
    network, pairs = Cramped(llama, 70), tasks()
    one = scorer(network, tokens=256, sharing=Sharing(None))
    assert one.score(pairs) == alone(llama, pairs)
    assert network.refused == 2 and one.reader.limits.tokens <= 70


def test_a_row_for_which_there_is_no_memory_even_alone_is_an_error(llama):
    with pytest.raises(MemoryError, match="one request alone"):
        scorer(Cramped(llama, 20), sharing=Sharing(None)).score(tasks(headers=(60,)))


def test_work_that_nobody_waits_for_ends(llama):
    one = scorer(llama)
    one.reader.stop.set()
    with pytest.raises(Stopped):
        one.score(tasks())


def test_rows_beyond_a_large_window_do_not_share():
    model = tiny_networks.build("mistral", sliding_window=2000, max_position_embeddings=4096)
    assert sharing_of(model).deepest == 2000


def test_rotations_that_depend_on_the_length_limit_sharing():
    scaling = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    model = tiny_networks.build("llama", rope_parameters=scaling)
    assert sharing_of(model).deepest == 256


def test_a_model_whose_numbers_change_is_run_row_by_row(llama, monkeypatch):
    right = llama.model.rotary_emb.forward

    def wrong(x, position_ids):  # as a model would that counts positions itself
        return right(x, torch.arange(position_ids.shape[1])[None])

    monkeypatch.setattr(llama.model.rotary_emb, "forward", wrong)
    sharing = sharing_of(llama)
    assert sharing.deepest == 0 and "change its log-probabilities" in sharing.why
