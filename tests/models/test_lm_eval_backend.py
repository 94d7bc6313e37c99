"""Backends of lm-eval, through the adapter."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from evalkit.config.model_spec import parse_model_spec
from evalkit.errors import InputError, UnknownNameError
from evalkit.models.hf import create as create_hf
from evalkit.models.lm_eval import create
from evalkit.records import Message, Request, Sampling
from tests.models import tiny_model

FOX = tiny_model.TEXT[0]
TURNS = (Message(role="user", content="How many legs has a spider?"),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_model.build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
async def backend(folder):
    query = f"pretrained={folder}&device=cpu&dtype=float32"
    model = create(parse_model_spec(f"lm_eval/hf?{query}"))
    await model.open()
    yield model
    await model.close()


@pytest.fixture
async def own(folder):
    model = create_hf(parse_model_spec(f"hf/{folder}?device=cpu&dtype=float32"))
    await model.open()
    yield model
    await model.close()


@pytest.mark.parametrize(
    "request_",
    [
        Request(kind="loglikelihood", prompt=FOX, continuation=" Answer"),
        Request(kind="rolling", prompt=FOX * 4),
        Request(kind="loglikelihood", prompt=TURNS, continuation="eight"),
    ],
    ids=["loglikelihood", "rolling", "chat"],
)
async def test_its_likelihoods_are_those_of_our_own_adapter(backend, own, request_):
    (theirs,), (ours,) = await backend.ask([request_]), await own.ask([request_])
    assert theirs.logprob == pytest.approx(ours.logprob, rel=1e-4)
    assert theirs.greedy == ours.greedy


@pytest.mark.parametrize("prompt", [FOX, TURNS], ids=["text", "chat"])
@pytest.mark.parametrize("max_tokens", [12, None])
async def test_its_answers_are_those_of_our_own_adapter(backend, own, prompt, max_tokens):
    sampling = Sampling(max_tokens=max_tokens, stop=(" th",))
    request = Request(kind="generate", prompt=prompt, sampling=sampling)
    (theirs,), (ours,) = await backend.ask([request]), await own.ask([request])
    assert theirs.text == ours.text


async def test_it_renders_messages_as_our_own_adapter(backend, own):
    prefilled = (*TURNS, Message(role="assistant", content="It has"))
    assert [backend.render(t) for t in (TURNS, prefilled)] == [
        own.render(t) for t in (TURNS, prefilled)
    ]


@pytest.mark.parametrize("kind", ["generate", "loglikelihood"])
async def test_what_does_not_fit_is_an_error_of_its_own(backend, kind):
    requests = [
        Request(kind=kind, prompt=text, continuation=" A" if kind == "loglikelihood" else "")
        for text in (FOX, "word " * 200)
    ]
    fits, too_long = await backend.ask(requests)
    assert fits.status == "ok"
    assert too_long.status == "error" and "the context holds 96" in too_long.error


async def test_capabilities_come_from_the_backend(backend):
    found = backend.capabilities
    assert (found.chat, found.loglikelihood, found.context_length) == (True, True, 96)


async def test_tokens_are_counted_by_the_backend(backend, own):
    assert backend.count_tokens(FOX) == own.count_tokens(FOX)


async def test_a_backend_without_a_tokenizer_answers_too():
    model = create(parse_model_spec("lm_eval/dummy"))
    await model.open()
    (generated,) = await model.ask([Request(kind="generate", prompt="x")])
    (scored,) = await model.ask([Request(kind="loglikelihood", prompt="x", continuation="y")])
    (rolled,) = await model.ask([Request(kind="rolling", prompt="x")])
    await model.close()
    assert generated.text == "lol"
    assert scored.logprob <= 0 and rolled.logprob <= 0


def test_an_unknown_backend_offers_the_nearest():
    with pytest.raises(UnknownNameError, match="'vllm'"):
        create(parse_model_spec("lm_eval/vlm"))


async def test_wrong_arguments_are_one_clear_sentence(tmp_path):
    model = create(parse_model_spec(f"lm_eval/hf?pretrained={tmp_path}/none&device=cpu"))
    with pytest.raises(InputError, match="does not start"):
        await model.open()


def test_a_key_in_a_spec_is_refused_and_not_repeated():
    with pytest.raises(InputError) as caught:
        create(parse_model_spec("lm_eval/openai-completions?model=x&api_key=sk-secret"))
    assert "sk-secret" not in str(caught.value)


def test_arguments_are_part_of_the_identity():
    one, two = (create(parse_model_spec(f"lm_eval/hf?pretrained={name}")) for name in "ab")
    assert one.identity != two.identity
