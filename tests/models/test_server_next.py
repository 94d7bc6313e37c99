"""Log-likelihoods by lists of next tokens: fewer requests, the same numbers."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.faults import Faults
from benchmarks.local_server import LocalServer
from benchmarks.server_settings import Settings, TextAbilities
from benchmarks.toy_language import BOS, TOY_LANGUAGE, language_of
from evalkit.engine.asking import Asker
from evalkit.engine.journal import Journal
from evalkit.engine.settings import EngineSettings
from evalkit.errors import LeftOutError, ModelError, RequestError
from evalkit.models.server_next import NextRoute
from evalkit.models.server_scoring import Scorer
from evalkit.models.server_ways import NextTokens, hosts_of
from evalkit.records import Message, Request, Response
from tests.models.http_fixtures import (
    TOY,
    HuggingFaceTokens,
    ask,
    expected,
    opened,
    pair,
    serve,
    server_spec,
    tokenizer_folder,
)

__all__ = ["serve", "tokenizer_folder"]

LETTERS = (" A", " B", " C", " D")
CONTEXT = "Question: which?\nAnswer:"
LLAMA = TextAbilities(echo=False, prompt_logprobs=False, entries=True, max_logprobs=None)


def choices(context: str, continuations=LETTERS) -> list[Request]:
    return [pair(context, continuation) for continuation in continuations]


def told(responses) -> list:
    return [(pytest.approx(one.logprob), one.greedy) for one in responses]


async def asked(model, server, requests):
    """The answers to one call, and how many requests the server received for it."""
    before = server.stats.received
    responses = await model.ask(requests)
    return responses, server.stats.received - before


class TestOneRequestADocument:
    async def test_all_letters_of_a_question_take_one_request(self, serve):
        server = serve()
        async with opened(server_spec(server)) as model:
            responses, sent = await asked(model, server, choices(CONTEXT))
        assert sent == 1
        assert [expected(CONTEXT, letter) for letter in LETTERS] == told(responses)

    async def test_many_documents_through_the_engine_take_a_request_each(self, serve, tmp_path):
        server = serve()
        documents = [f"Question: {n}?\nAnswer:" for n in range(50)]
        with Journal(tmp_path / "j") as journal:
            async with opened(server_spec(server)) as model:
                before = server.stats.received
                asker = Asker(journal, EngineSettings())
                per_document = [asker.ask_all(model, choices(d)) for d in documents]
                answers = await asyncio.gather(*per_document)
                sent = server.stats.received - before
        unlisted = [
            document
            for document in documents
            for letter in LETTERS
            if TOY.encode(letter)[0]
            not in [t for _, t in TOY_LANGUAGE.top(TOY.encode(document), 20)]
        ]
        assert sent == 50 + len(set(unlisted))
        assert [expected(d, c) for d in documents for c in LETTERS] == [
            (pytest.approx(one.logprob), one.greedy) for each in answers for one in each
        ]

    async def test_the_request_is_counted_and_paid_once(self, serve):
        server = serve()
        async with opened(server_spec(server)) as model:
            responses, _ = await asked(model, server, choices(CONTEXT))
        tokens = len([BOS, *TOY.encode(CONTEXT)])
        assert [one.usage.input_tokens for one in responses] == [tokens, 0, 0, 0]

    async def test_a_letter_that_is_not_listed_is_judged_in_a_prompt(self, serve):
        server = serve(abilities=TextAbilities(max_logprobs=5))
        odd = [*LETTERS, " zebr", "%", " Q"]
        async with opened(server_spec(server)) as model:
            responses, sent = await asked(model, server, choices(CONTEXT, odd))
        assert sent == 2
        assert [expected(CONTEXT, one) for one in odd] == told(responses)

    async def test_longer_choices_take_one_request_with_several_prompts(self, serve):
        server = serve()
        longer = [" the first", " the second", " a", " none of them"]
        async with opened(server_spec(server)) as model:
            responses, sent = await asked(model, server, choices(CONTEXT, longer))
        assert sent == 1
        assert [expected(CONTEXT, one) for one in longer] == told(responses)

    async def test_a_choice_that_begins_another_shares_its_prompt(self, serve):
        server = serve(log_bodies=True)
        nested = [" no", " no, never", " no, never ever"]
        async with opened(server_spec(server)) as model:
            responses, _ = await asked(model, server, choices(CONTEXT, nested))
        assert server.stats.log[-1]["prompt"] == [
            BOS,
            *TOY.encode(CONTEXT + " no, never ever"),
        ]
        assert [expected(CONTEXT, one) for one in nested] == told(responses)

    async def test_texts_without_a_tokenizer_go_several_a_request(self, serve):
        texts = TextAbilities(prompt_logprobs=False, tokenize=False)
        server = serve(owner="x", abilities=texts)
        longer = [" the first", " a", " none of them"]
        async with opened(server_spec(server)) as model:
            responses, sent = await asked(model, server, choices(CONTEXT, longer))
        assert sent == 1
        assert [expected(CONTEXT, one) for one in longer] == told(responses)

    async def test_a_server_of_one_prompt_a_request_answers_the_rest_later(self, serve):
        server = serve(abilities=TextAbilities(several_prompts=False))
        longer = [" the first", " the second", " none of them"]
        async with opened(server_spec(server)) as model:
            responses, sent = await asked(model, server, choices(CONTEXT, longer))
        assert sent == 1
        assert isinstance(responses[0], Response)
        assert {type(one) for one in responses[1:]} == {LeftOutError}

    async def test_the_engine_asks_that_server_once_a_choice(self, serve, tmp_path):
        server = serve(abilities=TextAbilities(several_prompts=False))
        longer = [" the first", " the second", " none of them"]
        with Journal(tmp_path / "j") as journal:
            async with opened(server_spec(server)) as model:
                before = server.stats.received
                asker = Asker(journal, EngineSettings())
                answers = await asker.ask_all(model, choices(CONTEXT, longer))
                sent = server.stats.received - before
        assert sent == 3
        assert [expected(CONTEXT, one) for one in longer] == told(answers)

    async def test_messages_are_rendered_once_and_judged_together(self, serve, tokenizer_folder):
        from transformers import AutoTokenizer

        tokens = HuggingFaceTokens(AutoTokenizer.from_pretrained(tokenizer_folder))
        server = serve(tokenizer=tokens)
        prompt = (Message(role="user", content="the sky"),)
        requests = [Request(kind="loglikelihood", prompt=prompt, continuation=c) for c in "ABC"]
        async with opened(server_spec(server, tokenizer=tokenizer_folder)) as model:
            responses, sent = await asked(model, server, requests)
        before = tokens.encode("<s>[user]the sky[assistant]")
        assert sent == 1
        assert [language_of(tokens).score(before, tokens.encode(c)) for c in "ABC"] == told(
            responses
        )


class TestFailures:
    async def test_a_choice_without_tokens_fails_alone(self, serve):
        async with opened(server_spec(serve())) as model:
            responses = await model.ask(choices(CONTEXT, (" A", "", " B")))
        assert [isinstance(one, RequestError) for one in responses] == [False, True, False]

    async def test_a_choice_that_does_not_fit_fails_alone(self, serve):
        room = len([BOS, *TOY.encode(CONTEXT)]) + 4
        server = serve(abilities=TextAbilities(max_model_len=room))
        async with opened(server_spec(server)) as model:
            responses = await model.ask(choices(CONTEXT, (" A b", " A" + " word" * 9)))
        assert responses[0].logprob == pytest.approx(expected(CONTEXT, " A b")[0])
        assert isinstance(responses[1], RequestError)

    async def test_a_context_that_does_not_fit_is_told_to_each_and_not_sent(self, serve):
        server = serve(abilities=TextAbilities(max_model_len=30))
        async with opened(server_spec(server)) as model:
            responses, sent = await asked(model, server, choices("word " * 49 + "word"))
        assert sent == 0
        assert all(isinstance(one, RequestError) for one in responses)

    @pytest.mark.parametrize("fault", ["rate_limited", "server_error", "dropped", "malformed"])
    async def test_a_group_recovers_from_passing_failures(self, serve, tmp_path, fault):
        server = serve(faults=Faults(**{fault: 0.4}, retry_after_s=0.01, seed=5))
        documents = [f"Question: {n}?\nAnswer:" for n in range(12)]
        with Journal(tmp_path / "j") as journal:
            async with opened(server_spec(server)) as model:
                asker = Asker(journal, EngineSettings(), sleep=lambda s: asyncio.sleep(0))
                per_document = [asker.ask_all(model, choices(d)) for d in documents]
                answers = await asyncio.gather(*per_document)
        assert server.stats.faults[fault] > 0
        assert [expected(d, c) for d in documents for c in LETTERS] == [
            (pytest.approx(one.logprob), one.greedy) for each in answers for one in each
        ]

    async def test_what_is_listed_is_kept_where_the_rest_fails(self, serve, monkeypatch):
        server = serve(abilities=TextAbilities(max_logprobs=5))
        async with opened(server_spec(server)) as model:

            async def broken(pairs):
                raise ModelError("gone")

            monkeypatch.setattr(model._scorer._prompts, "judge", broken)
            responses = await model.ask(choices(CONTEXT, (*LETTERS, " zebr")))
        assert isinstance(responses[-1], ModelError)
        assert any(isinstance(one, Response) for one in responses)

    async def test_a_run_that_was_cut_off_asks_only_for_what_is_missing(self, serve, tmp_path):
        server = serve(log_bodies=True)
        longer = [" the first", " the second", " none of them"]
        for part in (longer[:1], longer):
            with Journal(tmp_path / "j") as journal:
                async with opened(server_spec(server)) as model:
                    asker = Asker(journal, EngineSettings())
                    answers = await asker.ask_all(model, choices(CONTEXT, part))
        assert len(server.stats.log[-1]["prompt"]) == 2
        assert [expected(CONTEXT, one) for one in longer] == told(answers)


class TestOpening:
    @pytest.mark.parametrize(("cap", "most"), [(None, 64), (20, 20), (5, 5)])
    async def test_lists_are_as_long_as_the_server_lets_them(self, serve, cap, most):
        async with opened(server_spec(serve(abilities=TextAbilities(max_logprobs=cap)))) as model:
            assert model._scorer._next._route == NextRoute(naming="ids", most=most)

    async def test_lists_that_differ_from_prompts_are_not_used(self, serve, caplog):
        server = serve(abilities=TextAbilities(sharpened=0.7))
        with caplog.at_level(logging.WARNING):
            async with opened(server_spec(server)) as model:
                assert model._scorer._next is None
                responses, sent = await asked(model, server, choices(CONTEXT))
        assert "prompts are asked" in caplog.text
        assert sent == 1
        assert [expected(CONTEXT, letter) for letter in LETTERS] == told(responses)

    async def test_lists_by_text_need_a_local_tokenizer(self, serve):
        async with opened(server_spec(serve(abilities=TextAbilities(token_ids=False)))) as model:
            assert model._scorer._next is None

    async def test_lists_by_text_are_read_with_one(self, serve, tokenizer_folder):
        from transformers import AutoTokenizer

        tokens = HuggingFaceTokens(AutoTokenizer.from_pretrained(tokenizer_folder))
        server = serve(tokenizer=tokens, abilities=TextAbilities(token_ids=False, strict=True))
        async with opened(server_spec(server, tokenizer=tokenizer_folder)) as model:
            assert model._scorer._next._route.naming == "texts"
            responses, sent = await asked(model, server, choices("the sky is:", "ABC"))
        before = [tokens.bos, *tokens.encode("the sky is:")]
        assert sent == 1
        assert [language_of(tokens).score(before, tokens.encode(c)) for c in "ABC"] == told(
            responses
        )

    async def test_finding_out_takes_five_requests_of_a_server_like_vllm(self, serve):
        server = serve()
        async with opened(server_spec(server)):
            assert server.stats.received == 5

    async def test_no_loglikelihoods_asked_for_no_lists_probed(self, serve):
        server = serve()
        async with opened(server_spec(server, loglikelihood="off")):
            pass
        assert server.stats.received == 0


class TestTokenByToken:
    """llama.cpp lists next tokens by id, and tells nothing of its prompts."""

    async def test_it_gives_loglikelihoods_but_not_of_whole_texts(self, serve):
        async with opened(server_spec(serve(owner="llamacpp", abilities=LLAMA))) as model:
            assert model.capabilities.loglikelihood
            assert not model.capabilities.rolling
            with pytest.raises(RequestError, match="a request a token"):
                await ask(model, Request(kind="rolling", prompt="some text"))

    async def test_letters_take_one_request(self, serve):
        server = serve(owner="llamacpp", abilities=LLAMA)
        async with opened(server_spec(server)) as model:
            responses, sent = await asked(model, server, choices(CONTEXT, (" A", " B")))
        assert sent == 1
        assert [expected(CONTEXT, letter) for letter in (" A", " B")] == told(responses)

    async def test_longer_choices_take_a_request_a_token_and_share_the_first(self, serve):
        server = serve(owner="llamacpp", abilities=LLAMA)
        longer = [" A b c", " A b d", " B"]
        async with opened(server_spec(server)) as model:
            responses, sent = await asked(model, server, choices(CONTEXT, longer))
        assert sent <= 6
        assert [expected(CONTEXT, one) for one in longer] == told(responses)

    async def test_a_token_not_listed_is_looked_for_in_longer_lists(self, serve):
        server = serve(owner="llamacpp", abilities=LLAMA)
        async with opened(server_spec(server)) as model:
            model._scorer._next._route = NextRoute(naming="entries", most=2)
            responses, sent = await asked(model, server, choices(CONTEXT))
        assert sent > 1
        assert [expected(CONTEXT, letter) for letter in LETTERS] == told(responses)

    async def test_a_token_in_no_list_is_an_error_and_no_guess(self, serve):
        server = serve(owner="llamacpp", abilities=LLAMA)
        async with opened(server_spec(server)) as model:
            responses = await model.ask(choices(CONTEXT, (" A", " zebr")))
        assert responses[0].logprob == pytest.approx(expected(CONTEXT, " A")[0])
        assert isinstance(responses[1], RequestError)

    async def test_lists_after_the_temperature_are_not_believed(self, serve):
        warm = replace(LLAMA, warms=True)
        async with opened(server_spec(serve(owner="llamacpp", abilities=warm))) as model:
            assert not model.capabilities.loglikelihood


# --- any vocabulary


class Twins:
    """The toy tokenizer, and for each token of its vocabulary a twin that prints alike."""

    bos = BOS
    APART = 1 << 80
    listed = tuple(token + (1 << 80) for token in TOY_LANGUAGE.vocabulary[::2])

    def encode(self, text):
        return TOY.encode(text)

    def decode(self, tokens):
        return TOY.decode([token % self.APART for token in tokens])


class Given:
    """Tokens that a test says; texts are their numbers."""

    def __init__(self, before, continuations) -> None:
        self.before, self.continuations = before, continuations

    async def pairs(self, context, continuations):
        return [(self.before, self.continuations[int(text)]) for text in continuations]

    def names(self):
        alike = {TOY.decode([token % Twins.APART]) for token in Twins.listed}
        every = {TOY.decode([token]): token for token in TOY_LANGUAGE.vocabulary}
        return {text: token for text, token in every.items() if text not in alike}


@pytest.fixture(scope="module")
def twins():
    with LocalServer(Settings(tokenizer=Twins(), count_bodies=False)) as server:
        yield server


vocabulary = st.sampled_from([*TOY_LANGUAGE.vocabulary, *Twins.listed, *range(3000, 3010)])
continuation = st.lists(vocabulary, min_size=1, max_size=3)


@pytest.mark.parametrize("naming", ["ids", "texts"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    before=st.lists(vocabulary, min_size=2, max_size=4),
    some=st.one_of(
        st.lists(st.lists(vocabulary, min_size=1, max_size=1), min_size=1, max_size=6),
        st.lists(continuation, min_size=1, max_size=6),
    ),
    most=st.integers(1, 20),
)
def test_lists_and_prompts_give_the_same_whatever_the_tokens(twins, naming, before, some, most):
    tokens = Given(before, some)
    names = tokens.names() if naming == "texts" else {}

    async def both():
        async with opened(server_spec(twins)) as model:
            prompts, place = model._scorer._prompts, model._scorer._prompts._place
            lists = NextTokens(place, NextRoute(naming=naming, most=most, names=names))
            texts = [str(n) for n in range(len(some))]
            return [
                await Scorer(
                    prompts=prompts, next_tokens=way, tokens=tokens, label=""
                ).continuations("", texts)
                for way in (lists, None)
            ]

    by_lists, by_prompts = asyncio.run(both())
    language = language_of(twins.settings.tokenizer)
    for scored, plain, after in zip(by_lists, by_prompts, some, strict=True):
        logprob, greedy = language.score(before, after)
        assert scored.judged.logprob == pytest.approx(logprob)
        assert plain.judged.logprob == pytest.approx(logprob)
        assert scored.judged.greedy == plain.judged.greedy == greedy


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5).map(tuple), max_size=8))
def test_every_prompt_is_sent_within_one_that_begins_with_it(prompts):
    hosts = hosts_of(prompts)
    assert set(hosts) == set(prompts)
    for prompt, host in hosts.items():
        assert host[: len(prompt)] == prompt
        assert hosts[host] == host
