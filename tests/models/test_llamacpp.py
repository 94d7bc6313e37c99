"""The embedded model under llama.cpp, and what is checked before it is loaded."""

from __future__ import annotations

import asyncio
import struct
import subprocess
import sys

import pytest
import pytest_asyncio

from evalkit.config.model_spec import parse_model_spec
from evalkit.errors import DataError, InputError, RequestError, UnknownNameError
from evalkit.models.llamacpp import create
from evalkit.models.llamacpp_gguf import read_header
from evalkit.models.llamacpp_steady import has_steady_types
from evalkit.records import Message, Request, Sampling

pytest.importorskip("xllamacpp")

loaded_once = pytest.mark.asyncio(loop_scope="module")

NAME = "llamacpp/smollm2-135m-instruct"
SHORT = Sampling(max_tokens=8)
SPIDER = (Message(role="user", content="How many legs has a spider?"),)


def gguf(*entries, magic=b"GGUF", tensors=()):
    """The header of a GGUF file with string, number and array entries, and such tensors."""

    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    def value(item):
        if isinstance(item, str):
            return struct.pack("<I", 8) + text(item)
        if isinstance(item, list):
            return struct.pack("<IIQ", 9, 8, len(item)) + b"".join(map(text, item))
        return struct.pack("<II", 4, item)

    body = b"".join(text(key) + value(item) for key, item in entries)
    infos = b"".join(
        text(f"t{i}") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, 0)
        for i, (shape, kind) in enumerate(tensors)
    )
    return magic + struct.pack("<IQQ", 3, len(tensors), len(entries)) + body + infos


HEADER = gguf(
    ("general.architecture", "llama"), ("tokens", ["a", "b"]), ("llama.context_length", 2048)
)


def test_the_context_length_stands_in_the_header(tmp_path):
    (tmp_path / "m.gguf").write_bytes(HEADER)
    assert read_header(tmp_path / "m.gguf").context_length == 2048


ENTRIES = (("general.architecture", "llama"), ("llama.context_length", 2048))
F32, F16, Q4_1, Q8_0, Q4_K = 0, 1, 3, 8, 12


@pytest.mark.parametrize(
    ("kinds", "steady"), [((Q4_1, Q8_0), True), ((Q4_1, Q4_K), False), ((F16,), False)]
)
def test_the_types_of_the_matrices_say_whether_the_batch_matters(tmp_path, kinds, steady):
    tensors = [((64,), F32), *(((64, 64), kind) for kind in kinds)]
    (tmp_path / "m.gguf").write_bytes(gguf(*ENTRIES, tensors=tensors))
    header = read_header(tmp_path / "m.gguf")
    assert header.matrix_types == set(kinds) and has_steady_types(header) == steady


@pytest.mark.parametrize(
    ("entries", "length"),
    [
        ({"embedding_length": 576, "attention.head_count": 9}, 64),
        ({"embedding_length": 576, "attention.head_count": 9, "attention.key_length": 80}, 80),
        ({}, 0),
    ],
)
def test_the_length_of_a_head_is_said_or_follows(tmp_path, entries, length):
    own = [(f"llama.{name}", value) for name, value in entries.items()]
    (tmp_path / "m.gguf").write_bytes(gguf(*ENTRIES, *own))
    assert read_header(tmp_path / "m.gguf").head_length == length


def test_of_one_file_of_several_nothing_is_known(tmp_path):
    content = gguf(*ENTRIES, ("split.count", 2), tensors=[((64, 64), Q4_1)])
    (tmp_path / "m.gguf").write_bytes(content)
    assert not has_steady_types(read_header(tmp_path / "m.gguf"))


@pytest.mark.parametrize(
    "content",
    [b"", b"GGUF", HEADER[:-6], gguf(("a", "b")), gguf(("a", "b"), magic=b"LMGG"), b"\xff" * 64],
    ids=["empty", "cut", "cut late", "no architecture", "other magic", "noise"],
)
async def test_a_file_that_is_no_model_is_one_clear_sentence(tmp_path, content):
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(InputError, match="not a GGUF file"):
        await create(parse_model_spec(f"llamacpp/{tmp_path}/m.gguf")).open()


async def test_a_header_without_a_model_is_one_clear_sentence(tmp_path):
    (tmp_path / "m.gguf").write_bytes(HEADER)
    with pytest.raises(InputError, match=r"llama\.cpp cannot load"):
        await create(parse_model_spec(f"llamacpp/{tmp_path}/m.gguf")).open()


async def test_an_unknown_name_offers_the_embedded_model():
    with pytest.raises(UnknownNameError, match="Did you mean 'smollm2-135m-instruct'"):
        await create(parse_model_spec("llamacpp/smollm2-135m")).open()


@pytest.mark.parametrize("parameter", ["slots", "n_ctx", "threads"])
def test_a_parameter_of_nothing_is_refused(parameter):
    with pytest.raises(InputError, match=f"{parameter} must be at least 1"):
        create(parse_model_spec(f"{NAME}?{parameter}=0"))


@pytest.fixture(scope="module")
def weights():
    from evalkit.models.embedded import embedded_model_path

    try:
        return embedded_model_path()
    except DataError as error:
        pytest.skip(f"the embedded model cannot be had: {error}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model(weights):
    # one thread: two that wait for each other are slow on a busy machine
    model = create(parse_model_spec(f"{NAME}?n_ctx=1024&threads=1"))
    await model.open()
    yield model
    await model.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def uncached(weights):
    model = create(parse_model_spec(f"{NAME}?n_ctx=1024&threads=1&prompt_cache=false&slots=1"))
    await model.open()
    yield model
    await model.close()


async def answer(model, prompt, sampling=SHORT, **fields):
    (response,) = await model.ask(
        [Request(kind="generate", prompt=prompt, sampling=sampling, **fields)]
    )
    return response


@pytest.mark.model
@loaded_once
async def test_it_answers_text_up_to_a_stop_string(model):
    response = await answer(model, "The capital of France is", Sampling(max_tokens=12, stop=(".",)))
    assert (response.text, response.status, response.finish_reason) == (" Paris", "ok", "stop")


@pytest.mark.model
@loaded_once
async def test_it_answers_messages_within_the_token_limit(model):
    response = await answer(model, SPIDER)
    assert response.status == "truncated"
    assert response.usage.output_tokens == 8 and response.usage.input_tokens > 10


@pytest.mark.model
@loaded_once
async def test_a_system_message_is_read(model):
    plain = await answer(model, SPIDER)
    system = Message(role="system", content="Answer in French only.")
    assert (await answer(model, (system, *SPIDER))).usage != plain.usage


@pytest.mark.model
@loaded_once
async def test_it_continues_the_assistants_last_message(model):
    response = await answer(model, (*SPIDER, Message(role="assistant", content="A spider has")))
    assert response.text and not response.text.startswith("A spider has")


@pytest.mark.model
@loaded_once
async def test_greedy_answers_do_not_depend_on_neighbours_or_order(model):
    prompts = [f"Count from {i} upwards: {i}," for i in range(4)]
    alone = [(await answer(model, prompt)).text for prompt in prompts]
    together = await asyncio.gather(*(answer(model, prompt) for prompt in reversed(prompts)))
    assert [response.text for response in reversed(together)] == alone


#: Worked examples: more tokens than llama.cpp's attention for long batches begins with (64).
EXAMPLES = "".join(
    f"Question: A farmer has {hens} hens that lay {eggs} eggs a day. How many are that a week?\n"
    f"Answer: {hens} hens lay {hens * eggs} eggs a day, so it is 7 * {hens * eggs} a week.\n\n"
    for hens, eggs in [(12, 2), (18, 3)]
)


def documents(kind, count=4):
    """Prompts with one header, as text or as messages."""
    texts = [f"{EXAMPLES}Question: What is {i + 20} minus {i}?\nAnswer:" for i in range(count)]
    if kind == "text":
        return texts
    return [(Message(role="user", content=text),) for text in texts]


def computed(responses):
    return sum(r.usage.input_tokens - r.usage.cached_tokens for r in responses)


@pytest.mark.model
@loaded_once
@pytest.mark.parametrize("kind", ["text", "chat"])
async def test_a_header_is_computed_once_for_all_documents_and_slots(model, kind):
    responses = await asyncio.gather(*(answer(model, prompt) for prompt in documents(kind)))
    header = model.count_tokens(EXAMPLES)
    own = sum(response.usage.input_tokens - header for response in responses)
    # text and what follows may share a token at the seam, and something is always computed
    assert computed(responses) <= header + own + len(responses)


@pytest.mark.model
@loaded_once
async def test_headers_are_found_again_whatever_was_asked_in_between(model):
    headers = [EXAMPLES.replace("farmer", keeper) for keeper in ("miller", "baker")]

    async def ask(text):
        return await answer(model, (Message(role="user", content=text),), Sampling(max_tokens=1))

    for i, header in enumerate(headers):
        await ask(f"{header}Question: What is {i} plus 7?")
    for i in range(3):
        await ask(f"Say {i}!")
    for header in headers:
        again = await ask(f"{header}Question: What is 9 minus 4?")
        assert again.usage.cached_tokens >= model.count_tokens(header)


@pytest.mark.model
@loaded_once
@pytest.mark.parametrize("kind", ["text", "chat"])
async def test_answers_are_those_of_a_model_without_a_cache_in_any_order(model, uncached, kind):
    prompts = documents(kind, 3)
    plain = [await answer(uncached, prompt) for prompt in prompts]
    assert computed(plain) == sum(response.usage.input_tokens for response in plain)
    forth = await asyncio.gather(*(answer(model, prompt) for prompt in prompts))
    back = await asyncio.gather(*(answer(model, prompt) for prompt in reversed(prompts)))
    texts = [response.text for response in plain]
    assert [response.text for response in forth] == texts
    assert [response.text for response in reversed(back)] == texts


@pytest.mark.model
@loaded_once
async def test_a_cache_that_changes_no_answer_is_not_part_of_the_identity(model, uncached):
    assert model.identity == uncached.identity


@pytest.mark.model
@loaded_once
async def test_sampled_answers_follow_seed_and_repeat(model):
    sampling = Sampling(max_tokens=8, temperature=1.5, seed=7)
    texts = [(await answer(model, SPIDER, sampling, repeat=r)).text for r in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.model
@loaded_once
async def test_each_slot_has_the_whole_context(model):
    assert model.capabilities.context_length == 1024


@pytest.mark.model
@loaded_once
async def test_what_does_not_fit_is_refused(model):
    with pytest.raises(RequestError, match="context size"):
        await answer(model, "word " * 1100)


@pytest.mark.model
@loaded_once
async def test_an_empty_prompt_is_refused(model):
    with pytest.raises(RequestError, match="empty"):
        await answer(model, "")


@pytest.mark.model
@loaded_once
async def test_likelihoods_are_refused(model):
    assert not model.capabilities.loglikelihood
    with pytest.raises(RequestError, match="no log-probabilities"):
        await model.ask([Request(kind="loglikelihood", prompt="a", continuation="b")])


@pytest.mark.model
@loaded_once
async def test_tokens_are_counted_exactly(model):
    assert model.count_tokens("Hello world") == 2


@pytest.mark.model
def test_a_process_that_forgets_to_close_it_ends_cleanly(weights):
    program = (
        "import asyncio\n"
        "from evalkit.models.llamacpp import create\n"
        "from evalkit.config.model_spec import parse_model_spec as parse\n"
        f"asyncio.run(create(parse('{NAME}?n_ctx=256')).open())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=60, capture_output=True)
    assert done.returncode == 0


@pytest.mark.model
@pytest.mark.slow
async def test_a_transformers_folder_of_it_gives_the_same_answer(weights, tmp_path):
    for package in ("torch", "transformers", "accelerate", "gguf"):
        pytest.importorskip(package)
    from evalkit.models.embedded import transformers_folder
    from evalkit.models.hf import create as create_hf

    folder = transformers_folder(weights, tmp_path / "smollm2")
    model = create_hf(parse_model_spec(f"hf/{folder}?device=cpu"))
    await model.open()
    response = await answer(model, "The capital of France is", Sampling(max_tokens=2))
    await model.close()
    assert response.text == " Paris."
