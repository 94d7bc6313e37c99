import pytest

from benchmarks.answers import Answer
from benchmarks.faults import Faults
from evalkit.config.model_spec import parse_model_spec
from evalkit.errors import (
    AccessError,
    InputError,
    MissingKeyError,
    RequestError,
    TransientError,
    UnreachableError,
)
from evalkit.models.registry import create_model
from evalkit.records import Message, Request, ToolCall
from tests.models.http_fixtures import (
    KEY,
    WEATHER,
    ask,
    chat,
    keys,
    opened,
    serve,
    text,
    unused_port,
)

__all__ = ["serve"]

pytestmark = pytest.mark.usefixtures(keys.__name__)

MODELS = ("gpt-4o", "o3", "gpt-5", "gpt-6.2-sol", "gpt-5-chat-latest")


def spec(server, name="gpt-4o", **params) -> str:
    query = "".join(f"&{key}={value}" for key, value in params.items())
    return f"openai/{name}?base_url={server.base_url}{query}"


class TestAnswers:
    async def test_a_plain_answer_with_its_usage(self, serve):
        said = Answer(text="four", cached_tokens=5)
        async with opened(spec(serve(models=MODELS, answer=lambda a: said))) as model:
            response = await ask(model, chat(("system", "s" * 38), ("user", "x")))
        assert (response.status, response.text, response.finish_reason) == ("ok", "four", "stop")
        assert (response.usage.input_tokens, response.usage.cached_tokens) == (10, 5)
        assert response.served_model == "gpt-4o"
        assert response.latency_s > 0

    @pytest.mark.parametrize(
        ("said", "status"),
        [
            (Answer(text="one two three"), "truncated"),
            (Answer(text="x", finish_reason="content_filter"), "filtered"),
            (Answer(refusal="I cannot help"), "refused"),
            (Answer(text="x"), "ok"),
        ],
    )
    async def test_every_way_to_end_has_its_status(self, serve, said, status):
        async with opened(spec(serve(models=MODELS, answer=lambda a: said))) as model:
            assert (await ask(model, chat(("user", "x"), max_tokens=2))).status == status

    async def test_tool_calls_come_back_and_go_back(self, serve):
        called = Answer(tool_calls=(("weather", '{"place":"Oslo"}'),))
        server = serve(models=MODELS, answer=lambda a: called, log_bodies=True)
        call = ToolCall(name="weather", arguments='{"place":"Oslo"}', id="call_0")
        turns = (
            Message(role="user", content="x"),
            Message(role="assistant", tool_calls=(call,)),
            Message(role="tool", content="rain", tool_call_id="call_0"),
        )
        async with opened(spec(server)) as model:
            request = Request(kind="generate", prompt=turns, tools=(WEATHER,))
            response = await ask(model, request)
        assert response.tool_calls == (call,)
        sent = server.stats.log[-1]
        assert sent["messages"][1]["tool_calls"][0]["id"] == "call_0"
        assert sent["messages"][2] == {
            "role": "tool",
            "content": "rain",
            "tool_call_id": "call_0",
        }
        assert sent["tools"][0]["function"]["parameters"] == WEATHER.parameters

    async def test_text_goes_as_one_user_message(self, serve):
        server = serve(models=MODELS, log_bodies=True)
        async with opened(spec(server)) as model:
            await ask(model, text("hello"))
        assert server.stats.log[-1]["messages"] == [{"role": "user", "content": "hello"}]

    async def test_logprobs_give_the_answers_log_probability(self, serve):
        async with opened(spec(serve(models=MODELS), logprobs="true")) as model:
            response = await ask(model, chat(("user", "x")))
        assert response.logprob is not None
        assert response.logprob < 0

    async def test_loglikelihoods_are_refused(self, serve):
        async with opened(spec(serve(models=MODELS))) as model:
            with pytest.raises(RequestError, match="no log-likelihoods"):
                await ask(model, Request(kind="loglikelihood", prompt="a", continuation="b"))


class TestStopSequences:
    async def test_four_are_sent_and_the_text_is_cut_at_the_fifth(self, serve):
        server = serve(models=MODELS, answer=lambda a: "keep5drop", log_bodies=True)
        async with opened(spec(server)) as model:
            response = await ask(model, chat(("user", "x"), stop=("1", "2", "3", "4", "5")))
        assert server.stats.log[-1]["stop"] == ["1", "2", "3", "4"]
        assert (response.text, response.finish_reason) == ("keep", "stop (cut by evalkit)")

    async def test_reasoning_models_get_none_and_the_text_is_cut_here(self, serve):
        server = serve(models=MODELS, answer=lambda a: "keep\nQ: drop", log_bodies=True)
        async with opened(spec(server, "o3")) as model:
            response = await ask(model, chat(("user", "x"), stop=("\nQ:",)))
        assert "stop" not in server.stats.log[-1]
        assert response.text == "keep"

    async def test_an_answer_cut_at_a_stop_is_not_truncated_though_it_hit_the_limit(self, serve):
        server = serve(models=MODELS, answer=lambda a: Answer(text="a\nb", finish_reason="length"))
        async with opened(spec(server, "o3")) as model:
            assert (await ask(model, chat(("user", "x"), stop=("\n",)))).status == "ok"


class TestReasoningModels:
    @pytest.mark.parametrize("name", ["o3", "gpt-5", "gpt-6.2-sol"])
    async def test_they_are_asked_in_their_own_way(self, serve, name):
        server = serve(models=MODELS, log_bodies=True)
        async with opened(spec(server, name, reasoning_effort="low")) as model:
            await ask(model, chat(("system", "s"), ("user", "x"), max_tokens=9))
            assert model.identity["not_sent"] == "temperature, top_p, stop"
        sent = server.stats.log[-1]
        assert [m["role"] for m in sent["messages"]] == ["developer", "user"]
        assert (sent["max_completion_tokens"], sent["reasoning_effort"]) == (9, "low")
        assert not {"temperature", "max_tokens"} & set(sent)

    async def test_chat_variants_are_asked_like_others(self, serve):
        server = serve(models=MODELS, log_bodies=True)
        async with opened(spec(server, "gpt-5-chat-latest")) as model:
            await ask(model, chat(("user", "x"), max_tokens=9))
        assert (server.stats.log[-1]["max_tokens"], server.stats.log[-1]["temperature"]) == (9, 0)

    async def test_without_effort_temperature_is_sent(self, serve):
        server = serve(models=MODELS, log_bodies=True)
        async with opened(spec(server, "gpt-5", reasoning_effort="none")) as model:
            await ask(model, chat(("user", "x")))
        assert server.stats.log[-1]["temperature"] == 0


async def test_fixed_parameters_override_the_requests(serve):
    server = serve(models=MODELS, log_bodies=True)
    extra = '{"prediction":null,"user":"me"}'
    asked = spec(server, max_tokens=3, top_p=0.9, seed=5, service_tier="flex", extra_body=extra)
    async with opened(asked) as model:
        await ask(model, chat(("user", "x"), max_tokens=100))
    sent = server.stats.log[-1]
    assert (sent["max_tokens"], sent["top_p"], sent["seed"]) == (3, 0.9, 5)
    assert (sent["service_tier"], sent["user"]) == ("flex", "me")


class TestFailures:
    @pytest.mark.parametrize("fault", ["rate_limited", "server_error", "dropped", "malformed"])
    async def test_passing_failures_are_transient_and_are_not_retried_here(self, serve, fault):
        server = serve(models=MODELS, faults=Faults(**{fault: 1.0}))
        async with opened(spec(server)) as model:
            with pytest.raises(TransientError):
                await ask(model, chat(("user", "x")))
            assert server.stats.received == 1
            assert (await ask(model, chat(("user", "x")))).status == "ok"

    async def test_retry_after_is_read(self, serve):
        server = serve(models=MODELS, faults=Faults(rate_limited=1.0, retry_after_s=3.5))
        async with opened(spec(server)) as model:
            with pytest.raises(TransientError) as caught:
                await ask(model, chat(("user", "x")))
        assert (caught.value.retry_after_s, caught.value.rate_limited) == (3.5, True)

    async def test_a_hanging_server_is_given_up(self, serve):
        server = serve(models=MODELS, faults=Faults(hanging=1.0))
        async with opened(spec(server, timeout_s=0.2)) as model:
            with pytest.raises(TransientError, match="did not answer within"):
                await ask(model, chat(("user", "x")))

    async def test_spent_credit_is_an_access_error(self, serve):
        body = b'{"error":{"message":"You exceeded","type":"x","code":"insufficient_quota"}}'
        server = serve(models=MODELS, answer=lambda a: Answer(status=429, raw=body))
        async with opened(spec(server)) as model:
            with pytest.raises(AccessError):
                await ask(model, chat(("user", "x")))

    async def test_an_unknown_model_is_an_access_error(self, serve):
        async with opened(spec(serve(models=("other",)))) as model:
            with pytest.raises(AccessError, match="does not exist"):
                await ask(model, chat(("user", "x")))

    async def test_a_context_overflow_is_a_request_error(self, serve):
        body = b'{"error":{"message":"too long","code":"context_length_exceeded"}}'
        server = serve(models=MODELS, answer=lambda a: Answer(status=400, raw=body))
        async with opened(spec(server)) as model:
            with pytest.raises(RequestError, match="too long"):
                await ask(model, chat(("user", "x")))

    async def test_rate_limit_headers_are_shown_to_the_engine(self, serve):
        async with opened(spec(serve(models=MODELS, requests_per_minute=7))) as model:
            await ask(model, chat(("user", "x")))
            assert model.rate_headers["x-ratelimit-remaining-requests"] == "6"


class TestOpening:
    def test_creating_needs_neither_key_nor_network(self, monkeypatch):
        monkeypatch.delenv("OPENAI_API_KEY")
        assert create_model(parse_model_spec("openai/gpt-4o")).name == "openai/gpt-4o"

    async def test_a_missing_key_names_its_variable(self, monkeypatch):
        monkeypatch.delenv("OPENAI_API_KEY")
        with pytest.raises(MissingKeyError, match="OPENAI_API_KEY"):
            async with opened("openai/gpt-4o"):
                pass

    async def test_another_variable_can_hold_the_key(self, serve, monkeypatch):
        monkeypatch.setenv("OTHER_KEY", "right")
        server = serve(models=MODELS, key="right")
        async with opened(spec(server, api_key_env="OTHER_KEY")) as model:
            assert (await ask(model, chat(("user", "x")))).status == "ok"

    async def test_openai_itself_is_not_contacted(self):
        async with opened("openai/gpt-4o") as model:
            assert model.capabilities.context_length == 128_000

    async def test_no_server_at_base_url_is_one_sentence(self):
        url = f"http://127.0.0.1:{unused_port()}/v1"
        with pytest.raises(UnreachableError, match=f"No server answers at {url}"):
            async with opened(f"openai/x?base_url={url}"):
                pass

    async def test_a_refused_key_is_never_shown(self, serve):
        with pytest.raises(InputError, match="refuses the key in OPENAI_API_KEY") as caught:
            async with opened(spec(serve(models=MODELS, key="another"))):
                pass
        assert KEY not in str(caught.value)
        assert caught.value.__cause__ is None

    async def test_the_key_is_in_no_identity_and_no_error(self, serve):
        echo = Answer(status=400, raw=f'{{"error":{{"message":"bad {KEY}"}}}}'.encode())
        async with opened(spec(serve(models=MODELS, answer=lambda a: echo))) as model:
            with pytest.raises(RequestError) as caught:
                await ask(model, chat(("user", "x")))
            assert KEY not in f"{caught.value!r} {model.identity} {model!r}"
