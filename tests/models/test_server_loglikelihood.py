"""Log-likelihoods of a server, by each of the ways in which servers give them."""

import asyncio

import pytest

from benchmarks.server_settings import TextAbilities
from benchmarks.toy_language import BOS, TOY_LANGUAGE, language_of, score
from evalkit.errors import (
    InputError,
    RequestError,
)
from evalkit.models.tokens import rolling_windows
from evalkit.records import Message, Request
from tests.models.http_fixtures import (
    TOY,
    HuggingFaceTokens,
    ask,
    expected,
    keys,
    opened,
    pair,
    serve,
    server_spec,
    tokenizer_folder,
)

__all__ = ["keys", "serve", "tokenizer_folder"]

NO_TOKENIZE = TextAbilities(tokenize=False)


ROUTES = {
    "vllm, its tokenizer": ("vllm", TextAbilities()),
    "echo, its tokenizer": ("other", TextAbilities(prompt_logprobs=False)),
    "echo, at least one token": (
        "other",
        TextAbilities(prompt_logprobs=False, zero_max_tokens=False),
    ),
    "echo, no tokenizer": ("other", TextAbilities(prompt_logprobs=False, tokenize=False)),
}


class TestLoglikelihood:
    @pytest.mark.parametrize("route", ROUTES)
    async def test_it_is_the_sum_over_the_continuations_tokens(self, serve, route):
        owner, abilities = ROUTES[route]
        async with opened(server_spec(serve(owner=owner, abilities=abilities))) as model:
            response = await ask(model, pair("The sky, they say, is", " blue"))
        logprob, greedy = expected("The sky, they say, is", " blue")
        assert response.logprob == pytest.approx(logprob)
        assert response.greedy is greedy

    @pytest.mark.parametrize("route", ROUTES)
    async def test_greedy_is_told_right_both_ways(self, serve, route):
        owner, abilities = ROUTES[route]
        likeliest = TOY.decode([TOY_LANGUAGE.favourite([BOS, *TOY.encode("Say:")])])
        words = [" a", " sky", likeliest, " b", "?"]
        async with opened(server_spec(serve(owner=owner, abilities=abilities))) as model:
            told = [(await ask(model, pair("Say:", word))).greedy for word in words]
        assert told == [expected("Say:", word)[1] for word in words]
        assert set(told) == {True, False}

    async def test_trailing_white_space_counts_to_the_continuation(self, serve):
        async with opened(server_spec(serve())) as model:
            response = await ask(model, pair("The sky is ", "blue"))
        assert response.logprob == pytest.approx(expected("The sky is", " blue")[0])

    async def test_an_empty_context_is_the_beginning_of_text(self, serve):
        async with opened(server_spec(serve())) as model:
            response = await ask(model, pair("", "blue"))
        assert response.logprob == pytest.approx(score([BOS], TOY.encode("blue"))[0])

    async def test_a_local_tokenizer_gives_the_same_as_the_servers(self, serve, tokenizer_folder):
        from transformers import AutoTokenizer

        tokens = HuggingFaceTokens(AutoTokenizer.from_pretrained(tokenizer_folder))
        server = serve(tokenizer=tokens)
        request = pair("the grass is", " green")
        async with opened(server_spec(server, tokenizer=tokenizer_folder)) as model:
            local = await ask(model, request)
        async with opened(server_spec(server, tokenizer="server")) as model:
            remote = await ask(model, request)
        assert local.logprob == pytest.approx(remote.logprob)
        before = [tokens.bos, *tokens.encode("the grass is")]
        assert local.logprob == pytest.approx(
            language_of(tokens).score(before, tokens.encode(" green"))[0]
        )

    async def test_messages_are_rendered_by_a_local_tokenizer(self, serve, tokenizer_folder):
        from transformers import AutoTokenizer

        tokens = HuggingFaceTokens(AutoTokenizer.from_pretrained(tokenizer_folder))
        asked = Request(
            kind="loglikelihood",
            prompt=(Message(role="user", content="the sky"),),
            continuation=" blue",
        )
        async with opened(
            server_spec(serve(tokenizer=tokens), tokenizer=tokenizer_folder)
        ) as model:
            response = await ask(model, asked)
        before = tokens.encode("<s>[user]the sky[assistant]")
        assert response.logprob == pytest.approx(
            language_of(tokens).score(before, tokens.encode(" blue"))[0]
        )

    async def test_messages_without_a_local_tokenizer_are_refused(self, serve):
        asked = Request(
            kind="loglikelihood", prompt=(Message(role="user", content="x"),), continuation="y"
        )
        async with opened(server_spec(serve())) as model:
            with pytest.raises(RequestError, match="chat template"):
                await ask(model, asked)

    async def test_what_does_not_fit_is_refused_with_numbers_and_not_sent(self, serve):
        server = serve(abilities=TextAbilities(max_model_len=30))
        async with opened(server_spec(server)) as model:
            received = server.stats.received
            with pytest.raises(RequestError, match=r"51 tokens of prompt and 1 .* context of 30"):
                await ask(model, pair("word " * 49 + "word", " x"))
        assert server.stats.received == received

    async def test_a_tokenizer_that_does_not_load_is_told_before_anything_is_sent(self, serve):
        pytest.importorskip("transformers")
        with pytest.raises(InputError, match="No tokenizer could be loaded"):
            async with opened(server_spec(serve(), tokenizer="/no/such/folder")):
                pass

    async def test_a_server_without_tokenize_is_told_where_it_is_insisted_on(self, serve):
        with pytest.raises(InputError, match="no /tokenize"):
            async with opened(server_spec(serve(abilities=NO_TOKENIZE), tokenizer="server")):
                pass


class TestRolling:
    async def test_a_short_text_is_scored_after_the_prefix(self, serve):
        async with opened(server_spec(serve())) as model:
            response = await ask(model, Request(kind="rolling", prompt="some words"))
        tokens = [BOS, *TOY.encode("some words")]
        assert response.logprob == pytest.approx(score([BOS], tokens)[0])

    async def test_a_long_text_is_scored_in_windows_that_fit(self, serve):
        server = serve(abilities=TextAbilities(max_model_len=20))
        passage = "all of these are words " * 9
        async with opened(server_spec(server, loglikelihood="on")) as model:
            response = await ask(model, Request(kind="rolling", prompt=passage))
        windows = rolling_windows([BOS, *TOY.encode(passage)], BOS, 18)
        assert len(windows) > 2
        assert response.logprob == pytest.approx(sum(score(a, b)[0] for a, b in windows))

    async def test_without_tokens_it_is_refused(self, serve):
        server = serve(owner="x", abilities=TextAbilities(prompt_logprobs=False, tokenize=False))
        async with opened(server_spec(server)) as model:
            with pytest.raises(RequestError, match="tokenizer"):
                await ask(model, Request(kind="rolling", prompt="x"))


@pytest.mark.slow
async def test_it_agrees_with_lm_evals_own_client(serve, tokenizer_folder, tmp_path):
    import tokenizers
    from lm_eval.api.instance import Instance
    from lm_eval.models.openai_completions import LocalCompletionsAPI
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    # lm-eval's client adds no special tokens, so neither may the tokenizer
    tokenizer.backend_tokenizer.post_processor = tokenizers.processors.ByteLevel()
    tokenizer.save_pretrained(tmp_path)
    server = serve(
        tokenizer=HuggingFaceTokens(tokenizer), abilities=TextAbilities(max_model_len=64)
    )
    pairs = [("the sky is", " blue"), ("the grass is ", "green"), ("", "the sky")]
    passage = "the sky is blue and the grass is green, they say. " * 4

    def theirs() -> list:
        peer = LocalCompletionsAPI(
            model="local-model",
            base_url=f"{server.base_url}/completions",
            tokenizer=str(tmp_path),
            max_length=64,
        )
        asked = [Instance("loglikelihood", {}, p, i) for i, p in enumerate(pairs)]
        rolling = Instance("loglikelihood_rolling", {}, (passage,), 0)
        [whole] = peer.loglikelihood_rolling([rolling], disable_tqdm=True)
        return [*peer.loglikelihood(asked, disable_tqdm=True), whole]

    *told, told_whole = await asyncio.to_thread(theirs)
    async with opened(server_spec(server, tokenizer=str(tmp_path))) as model:
        ours = await model.ask([pair(*p) for p in pairs])
        whole = await ask(model, Request(kind="rolling", prompt=passage))
    assert [(pytest.approx(r.logprob), r.greedy) for r in ours] == told
    assert whole.logprob == pytest.approx(told_whole)
