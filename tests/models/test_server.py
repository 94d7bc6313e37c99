import asyncio

import pytest

from benchmarks.answers import Answer
from benchmarks.faults import Faults
from benchmarks.server_settings import TextAbilities
from evalkit.config.model_spec import parse_model_spec
from evalkit.errors import (
    AccessError,
    InputError,
    MissingKeyError,
    RequestError,
    TransientError,
    UnknownNameError,
    UnreachableError,
    UnsupportedError,
)
from evalkit.models.registry import create_model
from evalkit.records import Message, Request, Sampling, ToolCall
from tests.models.http_fixtures import (
    KEY,
    WEATHER,
    HuggingFaceTokens,
    ask,
    chat,
    keys,
    opened,
    pair,
    serve,
    server_spec,
    text,
    tokenizer_folder,
    unused_port,
)

__all__ = ["keys", "serve", "tokenizer_folder"]

NO_TOKENIZE = TextAbilities(tokenize=False)


class TestGenerating:
    async def test_messages_go_to_chat_and_text_to_completions(self, serve):
        server = serve(answer=lambda a: a.path, log_bodies=True)
        async with opened(server_spec(server)) as model:
            by_chat = await ask(model, chat(("user", "hi"), max_tokens=50))
            by_text = await ask(model, text("hi", max_tokens=50))
        assert (by_chat.text, by_text.text) == ("/v1/chat/completions", "/v1/completions")

    async def test_usage_and_served_model_are_kept(self, serve):
        server = serve(answer=lambda a: Answer(text="x" * 40, cached_tokens=3, reasoning_tokens=2))
        async with opened(server_spec(server)) as model:
            response = await ask(model, chat(("user", "y" * 400)))
        assert response.served_model == "local-model"
        assert (response.usage.input_tokens, response.usage.output_tokens) == (100, 12)
        assert (response.usage.cached_tokens, response.usage.reasoning_tokens) == (3, 2)

    async def test_sampling_is_sent_as_asked(self, serve):
        server = serve(log_bodies=True)
        async with opened(server_spec(server)) as model:
            await ask(model, chat(("user", "x"), max_tokens=7, top_p=0.5, seed=1, stop=("a",)))
        sent = server.stats.log[-1]
        assert sent["max_tokens"] == 7
        assert (sent["temperature"], sent["top_p"], sent["seed"]) == (0.0, 0.5, 1)
        assert sent["stop"] == ["a"]

    async def test_fixed_parameters_override_the_requests(self, serve):
        server = serve(log_bodies=True)
        extra = '{"min_p":0.1}'
        asked = server_spec(server, max_tokens=9, temperature=0.7, top_k=4, extra_body=extra)
        async with opened(asked) as model:
            await ask(model, chat(("user", "x"), max_tokens=7))
        sent = server.stats.log[-1]
        assert (sent["max_tokens"], sent["temperature"], sent["top_k"]) == (9, 0.7, 4)
        assert sent["min_p"] == 0.1

    async def test_an_answer_at_the_limit_is_truncated(self, serve):
        async with opened(server_spec(serve(answer=lambda a: "one two three"))) as model:
            response = await ask(model, chat(("user", "x"), max_tokens=2))
        assert (response.status, response.finish_reason) == ("truncated", "length")

    async def test_a_filtered_answer_is_filtered(self, serve):
        server = serve(answer=lambda a: Answer(finish_reason="content_filter"))
        async with opened(server_spec(server)) as model:
            assert (await ask(model, chat(("user", "x")))).status == "filtered"

    async def test_a_refusal_is_refused_and_its_words_kept(self, serve):
        async with opened(
            server_spec(serve(answer=lambda a: Answer(refusal="I must not")))
        ) as model:
            response = await ask(model, chat(("user", "x")))
        assert (response.status, response.text) == ("refused", "I must not")

    async def test_reasoning_is_kept_apart(self, serve):
        server = serve(answer=lambda a: Answer(text="4", reasoning="2 and 2"))
        async with opened(server_spec(server)) as model:
            response = await ask(model, chat(("user", "x")))
        assert (response.text, response.reasoning) == ("4", "2 and 2")

    async def test_tools_are_sent_and_calls_come_back(self, serve):
        called = Answer(tool_calls=(("weather", '{"place": "Rome"}'),))
        server = serve(answer=lambda a: called, log_bodies=True)
        async with opened(server_spec(server)) as model:
            request = Request(
                kind="generate", prompt=(Message(role="user", content="x"),), tools=(WEATHER,)
            )
            response = await ask(model, request)
        [call] = response.tool_calls
        assert call == ToolCall(name="weather", arguments='{"place": "Rome"}', id="call_0")
        assert server.stats.log[-1]["tools"][0]["function"]["name"] == "weather"

    async def test_a_last_assistant_turn_is_continued(self, serve):
        server = serve(log_bodies=True)
        async with opened(server_spec(server)) as model:
            await ask(model, chat(("user", "x"), ("assistant", "It is")))
        sent = server.stats.log[-1]
        assert sent["continue_final_message"] and not sent["add_generation_prompt"]

    async def test_text_becomes_one_user_message_with_api_chat(self, serve):
        server = serve(log_bodies=True)
        async with opened(server_spec(server, api="chat")) as model:
            await ask(model, text("hello"))
        assert server.stats.log[-1]["messages"] == [{"role": "user", "content": "hello"}]

    async def test_a_text_without_limit_may_use_what_the_context_leaves(self, serve):
        server = serve(log_bodies=True, abilities=TextAbilities(max_model_len=100))
        async with opened(server_spec(server, tokenizer="server")) as model:
            await ask(model, text("abcd" * 10))
        assert server.stats.log[-1]["max_tokens"] == 100 - 11

    async def test_messages_are_rendered_by_a_local_tokenizer(self, serve, tokenizer_folder):
        from transformers import AutoTokenizer

        tokens = HuggingFaceTokens(AutoTokenizer.from_pretrained(tokenizer_folder))
        server = serve(answer=lambda a: a.prompt, tokenizer=tokens)
        asked = server_spec(server, api="completions", tokenizer=tokenizer_folder)
        async with opened(asked) as model:
            response = await ask(model, chat(("user", "the sky"), max_tokens=99))
        assert response.text == "<s>[user]the sky[assistant]"

    async def test_messages_without_a_tokenizer_are_refused_with_api_completions(self, serve):
        async with opened(server_spec(serve(), api="completions")) as model:
            with pytest.raises(RequestError, match="tokenizer="):
                await ask(model, chat(("user", "x"), max_tokens=5))


class TestFailures:
    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            ("rate_limited", TransientError),
            ("server_error", TransientError),
            ("dropped", TransientError),
            ("malformed", TransientError),
        ],
    )
    async def test_passing_failures_are_transient_and_pass(self, serve, fault, error):
        server = serve(faults=Faults(**{fault: 1.0}))
        async with opened(server_spec(server, loglikelihood="off")) as model:
            with pytest.raises(error):
                await ask(model, chat(("user", "x")))
            assert (await ask(model, chat(("user", "x")))).status == "ok"

    async def test_retry_after_is_read_and_the_limit_told(self, serve):
        server = serve(faults=Faults(rate_limited=1.0, retry_after_s=2.5))
        async with opened(server_spec(server, loglikelihood="off")) as model:
            with pytest.raises(TransientError) as caught:
                await ask(model, chat(("user", "x")))
        assert (caught.value.retry_after_s, caught.value.rate_limited) == (2.5, True)

    async def test_a_hanging_server_is_given_up_after_timeout_s(self, serve):
        server = serve(faults=Faults(hanging=1.0))
        async with opened(server_spec(server, loglikelihood="off", timeout_s=0.1)) as model:
            with pytest.raises(TransientError, match=r"within 0\.1 s"):
                await ask(model, chat(("user", "x")))

    async def test_a_prompt_that_does_not_fit_is_a_request_error(self, serve):
        server = serve(abilities=TextAbilities(max_model_len=20))
        async with opened(server_spec(server, loglikelihood="off")) as model:
            with pytest.raises(RequestError, match="maximum context length is 20 tokens"):
                await ask(model, text("word " * 50, max_tokens=5))

    async def test_an_answer_without_choices_is_transient(self, serve):
        server = serve(answer=lambda a: Answer(raw=b'{"choices": []}'))
        async with opened(server_spec(server)) as model:
            with pytest.raises(TransientError, match="no choices"):
                await ask(model, chat(("user", "x")))

    async def test_rate_limit_headers_are_shown_to_the_engine(self, serve):
        async with opened(server_spec(serve(requests_per_minute=9), loglikelihood="off")) as model:
            await ask(model, chat(("user", "x")))
            assert model.rate_headers["x-ratelimit-remaining-requests"] == "8"

    async def test_a_wrong_key_midway_is_an_access_error_without_the_key(self, serve, keys):
        server = serve(key="another")
        model = create_model(parse_model_spec(server_spec(server, api_key_env="OPENAI_API_KEY")))
        await model._client.open()
        with pytest.raises(AccessError) as caught:
            await ask(model, chat(("user", "x")))
        await model.close()
        assert KEY not in str(caught.value)


class TestOpening:
    async def test_no_server_is_one_clear_sentence(self):
        url = f"http://127.0.0.1:{unused_port()}/v1"
        with pytest.raises(UnreachableError) as caught:
            async with opened(f"server/x?base_url={url}"):
                pass
        assert str(caught.value) == (
            f"No server answers at {url} (connection refused). Start it, or correct base_url."
        )

    async def test_an_unknown_model_offers_those_that_are_served(self, serve):
        with pytest.raises(UnknownNameError, match="Did you mean 'local-model'"):
            async with opened(server_spec(serve(), name="local-modle")):
                pass

    async def test_auto_takes_the_only_model(self, serve):
        async with opened(server_spec(serve(models=("the-one",)), name="auto")) as model:
            assert model.identity["model"] == "the-one"

    async def test_auto_among_several_is_refused(self, serve):
        with pytest.raises(InputError, match="lists 2 models: a, b"):
            async with opened(server_spec(serve(models=("a", "b")), name="auto")):
                pass

    async def test_a_refused_key_is_told_without_the_key(self, serve, keys):
        with pytest.raises(InputError, match="refuses the key") as caught:
            async with opened(server_spec(serve(key="another"), api_key_env="OPENAI_API_KEY")):
                pass
        assert KEY not in str(caught.value)

    def test_a_missing_key_names_its_variable(self, monkeypatch):
        monkeypatch.delenv("MY_SERVER_KEY", raising=False)
        asked = "server/x?base_url=http://127.0.0.1:1/v1&api_key_env=MY_SERVER_KEY"
        with pytest.raises(MissingKeyError, match="MY_SERVER_KEY"):
            create_model(parse_model_spec(asked))

    def test_server_needs_a_base_url(self):
        with pytest.raises(InputError, match="needs base_url"):
            create_model(parse_model_spec("server/x"))

    def test_an_unknown_parameter_offers_the_nearest(self):
        with pytest.raises(UnknownNameError, match="'base_url'"):
            create_model(parse_model_spec("server/x?base_ur=http://a/v1"))

    async def test_the_context_length_comes_from_the_server(self, serve):
        server = serve(abilities=TextAbilities(max_model_len=777))
        async with opened(server_spec(server)) as model:
            assert model.capabilities.context_length == 777

    async def test_a_server_that_ignores_echo_gives_no_loglikelihoods(self, serve):
        plain = TextAbilities(echo=False, prompt_logprobs=False)
        async with opened(server_spec(serve(abilities=plain, owner="llamacpp"))) as model:
            assert not model.capabilities.loglikelihood
            with pytest.raises(RequestError):
                await ask(model, pair("a", "b"))

    @pytest.mark.parametrize("fault", ["rate_limited", "server_error", "dropped"])
    async def test_a_passing_failure_does_not_pass_for_a_missing_ability(self, serve, fault):
        async with opened(server_spec(serve(faults=Faults(**{fault: 1.0})))) as model:
            assert model.capabilities.loglikelihood

    async def test_a_server_that_never_lets_itself_be_asked_is_not_believed(self, serve):
        never = Faults(rate_limited=1.0, max_per_body=99, retry_after_s=0.001)
        with pytest.raises(UnreachableError, match="cannot be asked what it can do"):
            async with opened(server_spec(serve(faults=never))):
                pass

    async def test_a_password_in_base_url_is_refused_and_not_shown(self):
        with pytest.raises(InputError, match="no password") as caught:
            create_model(parse_model_spec("server/x?base_url=http://me:secret@host/v1"))
        assert "secret" not in str(caught.value)

    async def test_insisting_on_loglikelihoods_is_refused_where_there_are_none(self, serve):
        plain = TextAbilities(echo=False, prompt_logprobs=False)
        with pytest.raises(UnsupportedError, match="prompt_logprobs"):
            async with opened(server_spec(serve(abilities=plain), loglikelihood="on")):
                pass

    async def test_asking_before_opening_is_a_plain_mistake(self, serve):
        model = create_model(parse_model_spec(server_spec(serve())))
        with pytest.raises(RuntimeError, match="before it was opened"):
            await ask(model, chat(("user", "x")))


async def test_connections_are_kept_alive(serve):
    server = serve(latency_s=0.005)
    async with opened(server_spec(server, loglikelihood="off")) as model:
        for turn in range(10):
            await asyncio.gather(*(ask(model, chat(("user", f"{turn} {n}"))) for n in range(4)))
    assert server.stats.received == 40
    assert server.stats.connections <= 5


async def test_identity_tells_what_changes_answers_and_no_key(serve, keys):
    asked = server_spec(serve(), temperature=0.5, concurrency=9, api_key_env="OPENAI_API_KEY")
    model = create_model(parse_model_spec(asked))
    assert model.identity["temperature"] == "0.5"
    assert not {"concurrency", "api_key_env"} & set(model.identity)
    assert KEY not in str(model.identity)


def test_sampling_left_to_the_server_is_not_sent(serve):
    model = create_model(parse_model_spec(server_spec(serve())))
    request = Request(kind="generate", prompt="x", sampling=Sampling(temperature=None))
    assert set(model._sampling(request, None)) == set()


async def test_only_a_server_without_a_key_is_suspected_of_losing_requests(serve, monkeypatch):
    server = serve()
    monkeypatch.setenv("A_KEY", "secret")
    assert create_model(parse_model_spec(server_spec(server))).suspect_after_s == 30
    assert (
        create_model(parse_model_spec(server_spec(server, api_key_env="A_KEY"))).suspect_after_s
        is None
    )
