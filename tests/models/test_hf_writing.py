"""Answers written in slots are those of the library's own `generate`."""

from __future__ import annotations

import random
import threading

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from evalkit.models.hf_batches import Batches, Stopped
from evalkit.models.hf_ends import Prompt
from evalkit.models.hf_generation import generate
from evalkit.models.hf_prefix import Prefixes
from evalkit.models.hf_reader import Limits, Reader, Sharing
from evalkit.models.hf_sharing import sharing_of
from evalkit.records import Sampling
from tests.models import tiny_networks
from tests.models.test_hf_sharing import GB, Cramped, words

GREEDY = Sampling(temperature=0.0)


class Numbers:
    """A tokenizer whose texts are numbers."""

    eos_token_id, pad_token_id, unk_token_id = 2, 0, None

    def encode(self, text, add_special_tokens=True):
        return [int(word) for word in text.split()]

    def decode(self, ids, skip_special_tokens=False):
        ids = [ids] if isinstance(ids, int) else ids
        return "".join(f" {i} " for i in ids if not (skip_special_tokens and i == 2))


def prompts(*, header=40, count=9, room=12, sampling=GREEDY, seed=3):
    draw = random.Random(seed)
    shared = words(draw, header)
    return [
        Prompt(shared + words(draw, draw.randint(1, 9)), draw.randint(1, room), sampling, seed + n)
        for n in range(count)
    ]


def reader(model, *, rows=4, limit=GB, sharing=None):
    sharing = sharing_of(model) if sharing is None else sharing
    return Reader(model, sharing, Limits(64, rows), Prefixes(limit))


def written(model, asked, **options):
    return generate(reader(model, **options), Numbers(), asked, Batches(4))


def by_the_library(model, asked):
    """Each prompt alone through `generate`."""
    texts = []
    for prompt in asked:
        with torch.inference_mode():
            ids = model.generate(
                torch.tensor([prompt.ids]),
                attention_mask=torch.ones(1, len(prompt.ids), dtype=torch.long),
                max_new_tokens=prompt.room,
                do_sample=False,
            )
        texts.append(Numbers().decode(ids[0, len(prompt.ids) :].tolist(), skip_special_tokens=True))
    return texts


@pytest.fixture(scope="module")
def llama():
    return tiny_networks.build("llama")


@pytest.mark.parametrize("kind", [*tiny_networks.SHARING, *tiny_networks.PLAIN])
def test_greedy_answers_are_the_librarys(kind):
    model, asked = tiny_networks.build(kind), prompts()
    assert [answer.text for answer in written(model, asked)] == by_the_library(model, asked)


def test_answers_that_outgrow_their_first_block_are_the_librarys(llama):
    asked = prompts(header=3, count=3, room=150)
    assert [answer.text for answer in written(llama, asked)] == by_the_library(llama, asked)


def test_the_header_of_prompts_is_read_once(llama):
    asked = prompts(header=60, count=8, room=1)
    one = reader(llama)
    generate(one, Numbers(), asked, Batches(4))
    assert one.tokens_computed == 60 + sum(len(prompt.ids) - 60 for prompt in asked)


def test_a_row_that_is_done_makes_room_for_the_next(llama):
    asked = prompts(count=8, room=1) + prompts(count=1, room=40, seed=7)
    one = reader(llama, rows=2)
    assert len(generate(one, Numbers(), asked, Batches(4))) == 9


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_drawn_answers_do_not_depend_on_their_neighbours(llama, rows):
    asked = prompts(sampling=Sampling(temperature=1.0, top_p=0.9))
    assert written(llama, asked, rows=rows) == written(llama, asked, rows=4)


def test_drawn_answers_are_those_of_the_other_way(llama):
    asked = prompts(sampling=Sampling(temperature=1.0, top_k=20))
    assert written(llama, asked) == written(llama, asked, sharing=Sharing(0))


def test_a_stop_string_ends_a_row(llama):
    free = written(llama, prompts(room=12))
    stop = next(answer.text.split()[2] for answer in free if answer.tokens > 5)
    stopped = written(llama, prompts(sampling=Sampling(temperature=0.0, stop=(f" {stop} ",))))
    assert [a.text for a in stopped] == [a.text.split(f" {stop} ")[0] for a in free]


def test_penalties_of_the_models_own_are_left_to_the_library():
    model, asked = tiny_networks.build("llama"), prompts()
    model.generation_config.repetition_penalty = 1.7
    assert [answer.text for answer in written(model, asked)] == by_the_library(model, asked)


def test_writing_goes_on_with_fewer_rows_after_memory_ran_out(llama):
    class Narrow(Cramped):
        generation_config = llama.generation_config

        def __call__(self, ids, **options):
            if len(ids) > 3:
                self.refused += 1
                raise torch.OutOfMemoryError("CUDA out of memory")
            return self.network(ids, **options)

    network = Narrow(llama, 0)
    found = written(network, prompts(), rows=8, sharing=Sharing(None))
    assert found == written(llama, prompts()) and network.refused == 1


def test_prompts_are_read_in_smaller_passes_after_memory_ran_out(llama):
    class Small(Cramped):
        generation_config = llama.generation_config

    network, asked = Small(llama, 42), prompts(count=20)
    found = written(network, asked, sharing=Sharing(None))
    assert found == written(llama, asked) and network.refused >= 1


def test_rows_in_progress_stay_under_the_limit(llama):
    widest = []

    class Watched(Cramped):
        generation_config = llama.generation_config

        def __call__(self, ids, **options):
            widest.append(len(ids))
            return self.network(ids, **options)

    network = Watched(llama, 0)
    each = reader(llama).bytes_per_token() * 130
    found = written(network, prompts(), rows=8, limit=2 * each, sharing=Sharing(None))
    assert found == written(llama, prompts()) and max(widest) == 2


def test_writing_that_nobody_waits_for_ends(llama):
    one = reader(llama)
    one.stop = threading.Event()
    one.stop.set()
    with pytest.raises(Stopped):
        generate(one, Numbers(), prompts(), Batches(4))


def test_a_model_that_cannot_write_in_slots_is_left_to_the_library(llama, monkeypatch):
    right = llama.model.rotary_emb.forward

    def wrong(x, position_ids):  # as a model would whose single tokens all stand at one place
        return right(x, position_ids if position_ids.shape[1] > 1 else position_ids * 0 + 11)

    monkeypatch.setattr(llama.model.rotary_emb, "forward", wrong)
    sharing = sharing_of(llama)
    assert sharing.deepest is None and not sharing.writes
