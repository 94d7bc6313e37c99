"""The `hf` adapter against lm-eval's own `hf` backend, on a tiny real model."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from evalkit.config.model_spec import parse_model_spec
from evalkit.errors import InputError, UnknownNameError
from evalkit.models.hf import create
from evalkit.records import Message, Request, Sampling
from tests.models import tiny_model

FOX = tiny_model.TEXT[0]
PAIRS = [
    ("Question: What is the capital of France? Answer:", " Paris"),
    ("Question: What is the capital of France? Answer:", " A"),
    ("Question: What is the capital of France? Answer:", " B"),
    ("Question: What is the capital of France? Answer:", " C"),
    ("Answer: ", "A spider has eight legs."),
    ("The quick brown fox", " jumps over the lazy dog"),
    ("The quick brown fox", " jumps over the lazy fox"),
    ("", "She sells sea shells"),
    ("", "<s>She sells"),
    ("<s>She", " shore"),
    ("émigré naïve 日本", " café"),
]
TEXTS = ["", FOX, " ".join(tiny_model.TEXT) * 2, "A", "<s>" + FOX]
PROMPTS = [FOX, "Question: How many legs has a spider? Answer:", "A", "She sells sea shells by"]


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "adds_bos"])
def folder(request, tmp_path_factory):
    return tiny_model.build(tmp_path_factory.mktemp("tiny"), adds_bos=request.param)


@pytest.fixture(scope="module")
def reference(folder):
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=1)


@pytest.fixture
async def opened(folder):
    models = []

    async def open_model(path=folder, **params):
        query = "&".join(
            f"{k}={v}" for k, v in {"device": "cpu", "dtype": "float32", **params}.items()
        )
        models.append(create(parse_model_spec(f"hf/{path}?{query}")))
        await models[-1].open()
        return models[-1]

    yield open_model
    for model in models:
        await model.close()


def instances(kind, arguments):
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, args, i) for i, args in enumerate(arguments)]


def asked(kind, prompts, **fields):
    return [Request(kind=kind, prompt=prompt, **fields) for prompt in prompts]


@pytest.mark.parametrize("batch_size", [1, 3, 16])
async def test_loglikelihoods_are_lm_evals(opened, reference, batch_size):
    model = await opened(batch_size=batch_size)
    requests = [Request(kind="loglikelihood", prompt=a, continuation=b) for a, b in PAIRS]
    found = await model.ask(requests)
    expected = reference.loglikelihood(instances("loglikelihood", PAIRS), disable_tqdm=True)
    assert [r.logprob for r in found] == pytest.approx([e[0] for e in expected], rel=1e-4)
    assert [r.greedy for r in found] == [e[1] for e in expected]


@pytest.mark.parametrize("batch_size", [1, 4])
async def test_rolling_loglikelihoods_are_lm_evals(opened, reference, batch_size):
    model = await opened(batch_size=batch_size)
    found = await model.ask(asked("rolling", TEXTS))
    expected = reference.loglikelihood_rolling(
        instances("loglikelihood_rolling", [(text,) for text in TEXTS]), disable_tqdm=True
    )
    assert [r.logprob for r in found] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("stop", [(), ("e", " th"), ("</s>", "\n")])
async def test_greedy_answers_are_lm_evals(opened, reference, stop, batch_size):
    model = await opened(batch_size=batch_size)
    found = await model.ask(asked("generate", PROMPTS, sampling=Sampling(max_tokens=20, stop=stop)))
    wishes = {"until": list(stop), "max_gen_toks": 20, "temperature": 0.0, "do_sample": False}
    expected = reference.generate_until(
        instances("generate_until", [(prompt, dict(wishes)) for prompt in PROMPTS]),
        disable_tqdm=True,
    )
    assert [r.text for r in found] == expected


async def test_pairs_that_share_all_but_their_last_token_score_as_if_asked_alone(opened, reference):
    # the same tokens, divided at different places: lm-eval reads the shorter one's
    # log-probability at the wrong position when both are in one call
    pairs = [("", "She sells"), ("<s>She", " sells"), ("<s>She", " shore")]
    model = await opened()
    found = await model.ask(
        [Request(kind="loglikelihood", prompt=a, continuation=b) for a, b in pairs]
    )
    alone = [
        reference.loglikelihood(instances("loglikelihood", [pair]), disable_tqdm=True)[0]
        for pair in pairs
    ]
    assert [(r.logprob, r.greedy) for r in found] == [
        (pytest.approx(logprob, rel=1e-4), greedy) for logprob, greedy in alone
    ]


async def test_answers_stop_row_by_row(opened):
    # lm-eval lets a row run on until all rows of its batch are done
    prompts = asked("generate", PROMPTS, sampling=Sampling(max_tokens=30, stop=("e",)))
    together = await (await opened(batch_size=4)).ask(prompts)
    alone = await (await opened(batch_size=1)).ask(prompts)
    assert together == alone


async def test_an_answer_at_its_token_limit_is_truncated(opened):
    model = await opened()
    (response,) = await model.ask(asked("generate", [FOX], sampling=Sampling(max_tokens=3)))
    assert (response.status, response.finish_reason) == ("truncated", "length")
    assert response.usage.output_tokens == 3


async def test_an_answer_may_fill_what_the_context_leaves(opened):
    model = await opened(batch_size=2)
    responses = await model.ask(asked("generate", [FOX, "A"]))
    assert all(
        r.status == "ok" or r.usage.input_tokens + r.usage.output_tokens == 96 for r in responses
    )


@pytest.mark.parametrize("kind", ["generate", "loglikelihood"])
async def test_a_prompt_that_does_not_fit_is_an_error_of_its_own(opened, kind):
    model = await opened()
    continuation = " Paris" if kind == "loglikelihood" else ""
    requests = asked(
        kind, [FOX, "word " * 200], continuation=continuation, sampling=Sampling(max_tokens=2)
    )
    fits, too_long = await model.ask(requests)
    assert fits.status != "error"
    assert too_long.status == "error" and "the context holds 96" in too_long.error


async def test_a_continuation_that_just_fits_is_scored(opened, reference):
    model = await opened()
    letters = reference.tok_encode("A" * 97, add_special_tokens=False)
    full = reference.tokenizer.decode(letters[:94])
    (response,) = await model.ask([Request(kind="loglikelihood", prompt=full, continuation=" B")])
    assert response.status == "ok"


async def test_an_empty_continuation_is_an_error(opened):
    model = await opened()
    (response,) = await model.ask([Request(kind="loglikelihood", prompt="A")])
    assert response.status == "error"


async def test_a_context_of_white_space_is_part_of_the_continuation(opened):
    # lm-eval fails on it unless the tokenizer adds a BOS token
    model = await opened()
    blank, empty = await model.ask(
        [
            Request(kind="loglikelihood", prompt="\n\n", continuation="eight"),
            Request(kind="loglikelihood", prompt="", continuation="\n\neight"),
        ]
    )
    assert blank == empty


WISHES = ({}, {"add_bos_token": "true"}, {"add_bos_token": "false"})
CONVERSATION = (
    Message(role="system", content="Be brief."),
    Message(role="user", content="How many legs has a spider?"),
)


@pytest.mark.parametrize(
    "turns", [CONVERSATION, (*CONVERSATION, Message(role="assistant", content="It has"))]
)
async def test_messages_are_rendered_as_lm_eval_does(opened, reference, turns):
    model = await opened()
    history = [{"role": m.role, "content": m.content} for m in turns]
    continues = turns[-1].role == "assistant"
    expected = reference.apply_chat_template(history, add_generation_prompt=not continues)
    assert model.render(turns) == expected


async def test_messages_are_scored_as_their_rendered_text(opened):
    model = await opened()
    as_messages = Request(kind="loglikelihood", prompt=CONVERSATION, continuation="eight")
    as_text = Request(kind="loglikelihood", prompt=model.render(CONVERSATION), continuation="eight")
    first, second = await model.ask([as_messages, as_text])
    assert first == second


async def test_a_template_without_system_role_leaves_it_out_and_says_so(opened, tmp_path, caplog):
    model = await opened(tiny_model.build(tmp_path / "m", template=tiny_model.STRICT_TEMPLATE))
    assert model.render(CONVERSATION) == model.render(CONVERSATION[1:])
    assert not model.capabilities.system
    assert model.identity["system_messages"] == "left out"
    assert "system messages are left out" in caplog.text


async def test_without_a_template_messages_are_refused(opened, tmp_path):
    model = await opened(tiny_model.build(tmp_path / "m", template=None))
    assert not model.capabilities.chat
    (response,) = await model.ask([Request(kind="generate", prompt=CONVERSATION)])
    assert response.status == "error" and "no chat template" in response.error


async def test_sampled_answers_do_not_depend_on_the_batch(opened):
    sampling = Sampling(max_tokens=8, temperature=1.0, top_p=0.9, seed=3)
    requests = [
        Request(kind="generate", prompt=p, sampling=sampling, repeat=r)
        for p in PROMPTS
        for r in (0, 1)
    ]
    together = await (await opened(batch_size=8)).ask(requests)
    alone = await (await opened(batch_size=1)).ask(requests)
    assert together == alone


async def test_repeats_and_seeds_draw_different_answers(opened):
    model = await opened()
    requests = [
        Request(
            kind="generate",
            prompt=FOX,
            sampling=Sampling(max_tokens=16, temperature=2.0, seed=seed),
            repeat=repeat,
        )
        for seed in (1, 2)
        for repeat in (0, 1)
    ]
    responses = await model.ask(requests)
    assert len({response.text for response in responses}) == 4


async def test_identity_names_the_weights_not_the_place(opened, folder, tmp_path):
    import shutil

    other = tmp_path / "elsewhere"
    shutil.copytree(folder, other)
    first, second = await opened(), await opened(other)
    assert first.identity["version"] == second.identity["version"]


async def test_identity_tells_weights_apart(opened, tmp_path):
    one = await opened(tiny_model.build(tmp_path / "one", seed=1))
    two = await opened(tiny_model.build(tmp_path / "two", seed=2))
    assert one.identity["version"] != two.identity["version"]


async def test_identity_tells_whether_bos_is_forced(opened):
    found = {(await opened(**wish)).identity.get("add_bos_token", "") for wish in WISHES}
    assert len(found) == 3


async def test_a_missing_folder_is_one_clear_sentence():
    with pytest.raises(InputError, match=r"no model folder './nowhere'"):
        await create(parse_model_spec("hf/./nowhere")).open()


async def test_a_folder_without_a_model_is_one_clear_sentence(tmp_path):
    with pytest.raises(InputError, match="cannot be loaded"):
        await create(parse_model_spec(f"hf/{tmp_path}")).open()


def test_an_unknown_parameter_offers_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'dtype'"):
        create(parse_model_spec("hf/gpt2?dtyp=float32"))


async def test_an_unknown_dtype_is_refused(folder):
    with pytest.raises(InputError, match="float8"):
        await create(parse_model_spec(f"hf/{folder}?dtype=float8")).open()


async def test_close_ends_an_answer_in_progress(opened):
    model = await opened(max_length=4096)
    task = asyncio.create_task(
        model.ask(asked("generate", [FOX], sampling=Sampling(max_tokens=4000, temperature=3.0)))
    )
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(model.close(), timeout=10)


async def test_several_devices_share_the_work(opened):
    model, requests = await opened(device="cpu,cpu"), asked("rolling", TEXTS)
    assert model.concurrency == 2
    halves = await asyncio.gather(model.ask(requests[:3]), model.ask(requests[3:]))
    alone = await (await opened()).ask(requests)
    found = [response.logprob for half in halves for response in half]
    assert found == pytest.approx([response.logprob for response in alone], rel=1e-4)


async def test_calls_in_flight_at_once_have_a_copy_each(opened):
    model = await opened(device="cpu,cpu")
    await asyncio.gather(*[model.ask(asked("rolling", [FOX] * 20)) for _ in range(6)])
    computed = [replica.scorer.reader.passes for replica in model.replicas]
    assert all(computed)


async def test_what_shares_no_prefixes_is_said(opened, caplog):
    plain = await opened(share_prefixes="false")
    shared = await opened()
    requests = [Request(kind="loglikelihood", prompt=a, continuation=b) for a, b in PAIRS]
    logprobs = [[r.logprob for r in await model.ask(requests)] for model in (plain, shared)]
    assert logprobs[0] == pytest.approx(logprobs[1], rel=1e-4)
    assert "shares no prefixes at all" in caplog.text


@pytest.mark.parametrize("wrong", ["batch=0", "batch_size=0", "batch_tokens=0", "prefix_mb=-1"])
def test_sizes_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError, match="must be at least"):
        create(parse_model_spec(f"hf/gpt2?{wrong}"))
