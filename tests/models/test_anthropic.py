import pytest

from benchmarks.answers import Answer
from benchmarks.faults import Faults
from evalkit.errors import (
    AccessError,
    InputError,
    MissingKeyError,
    RequestError,
    TransientError,
    UnreachableError,
)
from evalkit.models.anthropic import version_of
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


def spec(server, name="claude-haiku-4-5", **params) -> str:
    query = "".join(f"&{key}={value}" for key, value in params.items())
    return f"anthropic/{name}?base_url={server.origin}{query}"


async def sent_for(serve, request, name="claude-haiku-4-5", **params):
    """The body that a request becomes."""
    server = serve(log_bodies=True)
    async with opened(spec(server, name, **params)) as model:
        await ask(model, request)
    return server.stats.log[-1]


class TestAnswers:
    async def test_a_plain_answer_with_its_usage(self, serve):
        said = Answer(text="four", cached_tokens=6, cache_write_tokens=4)
        async with opened(spec(serve(answer=lambda a: said))) as model:
            response = await ask(model, chat(("user", "x" * 39)))
        assert (response.status, response.text, response.finish_reason) == (
            "ok",
            "four",
            "end_turn",
        )
        usage = response.usage
        # the whole input: plain, read from the cache, written to it
        assert (usage.input_tokens, usage.cached_tokens, usage.cache_write_tokens) == (14, 6, 4)
        assert response.served_model == "claude-haiku-4-5"

    @pytest.mark.parametrize("max_tokens", [2, 20_000])
    @pytest.mark.parametrize(
        ("said", "status"),
        [
            (Answer(refusal="I will not"), "refused"),
            (Answer(text="x", finish_reason="model_context_window_exceeded"), "truncated"),
            (Answer(text="x", finish_reason="max_tokens"), "truncated"),
            (Answer(text="x"), "ok"),
        ],
    )
    async def test_every_way_to_end_has_its_status_plain_and_streamed(
        self, serve, said, status, max_tokens
    ):
        async with opened(spec(serve(answer=lambda a: said))) as model:
            response = await ask(model, chat(("user", "x"), max_tokens=max_tokens))
        assert response.status == status

    @pytest.mark.parametrize("max_tokens", [100, 20_000])
    async def test_tool_calls_and_thinking_come_back_plain_and_streamed(self, serve, max_tokens):
        said = Answer(text="Looking", tool_calls=(("weather", '{"place":"Oslo"}'),), reasoning="hm")
        async with opened(spec(serve(answer=lambda a: said))) as model:
            request = chat(("user", "x"), max_tokens=max_tokens)
            response = await ask(model, Request(**_fields(request), tools=(WEATHER,)))
        assert (response.status, response.finish_reason) == ("ok", "tool_use")
        assert (response.text, response.reasoning) == ("Looking", "hm")
        assert response.tool_calls == (
            ToolCall(name="weather", arguments='{"place":"Oslo"}', id="toolu_0"),
        )

    async def test_long_answers_are_streamed(self, serve):
        assert (await sent_for(serve, chat(("user", "x"), max_tokens=20_000)))["stream"] is True

    async def test_loglikelihoods_are_refused(self, serve):
        async with opened(spec(serve())) as model:
            with pytest.raises(RequestError, match="no log-likelihoods"):
                await ask(model, Request(kind="loglikelihood", prompt="a", continuation="b"))


def _fields(request: Request) -> dict:
    return {"kind": request.kind, "prompt": request.prompt, "sampling": request.sampling}


class TestConversations:
    async def test_system_messages_stand_apart(self, serve):
        sent = await sent_for(serve, chat(("system", "a"), ("user", "x")))
        assert sent["system"] == [{"type": "text", "text": "a"}]
        assert [m["role"] for m in sent["messages"]] == ["user"]

    async def test_neighbours_of_one_role_become_one_turn(self, serve):
        sent = await sent_for(serve, chat(("user", "a"), ("user", "b")))
        [turn] = sent["messages"]
        assert [block["text"] for block in turn["content"]] == ["a", "b"]

    async def test_tool_results_go_back_in_a_user_turn(self, serve):
        call = ToolCall(name="weather", arguments='{"place":"Oslo"}', id="t1")
        turns = (
            Message(role="user", content="x"),
            Message(role="assistant", tool_calls=(call,)),
            Message(role="tool", content="rain", tool_call_id="t1"),
        )
        sent = await sent_for(serve, Request(kind="generate", prompt=turns, tools=(WEATHER,)))
        assert sent["messages"][1]["content"][0]["input"] == {"place": "Oslo"}
        assert sent["messages"][2] == {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "rain"}],
        }
        assert sent["tools"][0]["input_schema"] == WEATHER.parameters

    async def test_a_prefill_is_continued_without_its_trailing_space(self, serve):
        sent = await sent_for(serve, chat(("user", "x"), ("assistant", "It is ")))
        assert sent["messages"][-1]["content"] == [{"type": "text", "text": "It is"}]

    async def test_models_that_continue_no_turn_are_not_asked_to(self, serve):
        server = serve()
        async with opened(spec(server, "claude-opus-4-7")) as model:
            with pytest.raises(RequestError, match="continues no assistant turn"):
                await ask(model, chat(("user", "x"), ("assistant", "It is")))
        assert server.stats.received == 0

    async def test_nothing_to_answer_is_a_request_error(self, serve):
        async with opened(spec(serve())) as model:
            with pytest.raises(RequestError, match="no user message"):
                await ask(model, chat(("system", "only")))

    async def test_text_goes_as_one_user_message(self, serve):
        sent = await sent_for(serve, text("hello"))
        assert sent["messages"] == [
            {"role": "user", "content": [{"type": "text", "text": "hello"}]}
        ]


class TestSampling:
    async def test_without_a_limit_it_is_the_models_longest_answer(self, serve):
        assert (await sent_for(serve, chat(("user", "x"))))["max_tokens"] == 64_000

    async def test_an_unknown_model_needs_a_limit(self, serve):
        async with opened(spec(serve(), "my-model")) as model:
            with pytest.raises(RequestError, match="max_tokens=N"):
                await ask(model, chat(("user", "x")))

    async def test_blank_stop_sequences_are_cut_at_here(self, serve):
        server = serve(answer=lambda a: "keep\n\ndrop END", log_bodies=True)
        async with opened(spec(server)) as model:
            response = await ask(model, chat(("user", "x"), stop=("\n\n", "END"), max_tokens=99))
        assert server.stats.log[-1]["stop_sequences"] == ["END"]
        assert (response.text, response.finish_reason) == ("keep", "stop (cut by evalkit)")

    @pytest.mark.parametrize("name", ["claude-opus-4-7", "claude-sonnet-5", "claude-fable-5-1"])
    async def test_models_that_refuse_temperature_are_not_sent_it(self, serve, name):
        assert "temperature" not in await sent_for(serve, chat(("user", "x")), name)

    async def test_others_are_sent_it(self, serve):
        assert (await sent_for(serve, chat(("user", "x"))))["temperature"] == 0

    async def test_a_fixed_top_p_takes_the_place_of_temperature(self, serve):
        sent = await sent_for(serve, chat(("user", "x")), top_p=0.9)
        assert sent["top_p"] == 0.9
        assert "temperature" not in sent

    async def test_thinking_raises_the_limit_and_drops_temperature(self, serve):
        request = chat(("user", "x"), max_tokens=100)
        sent = await sent_for(serve, request, thinking="2048", effort="low")
        assert sent["thinking"] == {"type": "enabled", "budget_tokens": 2048}
        assert sent["output_config"] == {"effort": "low"}
        assert sent["max_tokens"] == 2148
        assert "temperature" not in sent

    async def test_a_wrong_thinking_is_told(self, serve):
        with pytest.raises(InputError, match="adaptive, off, or at least 1024"):
            async with opened(spec(serve(), thinking="much")):
                pass

    @pytest.mark.parametrize(
        ("name", "version"),
        [
            ("claude-opus-4-5-20251101", (4, 5)),
            ("claude-sonnet-4-20250514", (4, 0)),
            ("claude-3-5-sonnet-20241022", (3, 5)),
            ("claude-3-haiku-20240307", (3, 0)),
            ("claude-sonnet-5", (5, 0)),
            ("claude-haiku-5-5", (5, 5)),
            ("my-model", None),
        ],
    )
    def test_the_version_is_read_from_the_name(self, name, version):
        assert version_of(name) == version


class TestCaching:
    LONG = "A long instruction. " * 1000

    async def test_a_long_system_prompt_is_marked_when_it_comes_again(self, serve):
        server = serve(log_bodies=True)
        async with opened(spec(server)) as model:
            for question in "ab":
                await ask(model, chat(("system", self.LONG), ("user", question)))
        first, second = (body["system"][-1] for body in server.stats.log)
        assert "cache_control" not in first
        assert second["cache_control"] == {"type": "ephemeral"}

    async def test_long_worked_examples_are_marked_before_the_last_turn(self, serve):
        server = serve(log_bodies=True)
        examples = (("user", self.LONG), ("assistant", "yes"))
        async with opened(spec(server)) as model:
            for question in "abc":
                await ask(model, chat(*examples, ("user", question)))
        for body in server.stats.log[1:]:
            assert "cache_control" in body["messages"][1]["content"][-1]
            assert "cache_control" not in body["messages"][2]["content"][-1]

    async def test_short_prefixes_are_not_marked(self, serve):
        server = serve(log_bodies=True)
        async with opened(spec(server)) as model:
            for _ in range(2):
                await ask(model, chat(("system", "short"), ("user", "x")))
        assert "cache_control" not in str(server.stats.log)

    async def test_it_can_be_turned_off(self, serve):
        server = serve(log_bodies=True)
        async with opened(spec(server, cache="off")) as model:
            for _ in range(2):
                await ask(model, chat(("system", self.LONG), ("user", "x")))
        assert "cache_control" not in str(server.stats.log)


class TestFailures:
    @pytest.mark.parametrize("max_tokens", [10, 20_000])
    @pytest.mark.parametrize("fault", ["rate_limited", "server_error", "dropped", "malformed"])
    async def test_passing_failures_are_transient_and_are_not_retried_here(
        self, serve, fault, max_tokens
    ):
        server = serve(faults=Faults(**{fault: 1.0}))
        async with opened(spec(server)) as model:
            with pytest.raises(TransientError):
                await ask(model, chat(("user", "x"), max_tokens=max_tokens))
            assert server.stats.received == 1
            response = await ask(model, chat(("user", "x"), max_tokens=max_tokens))
        assert response.status in ("ok", "truncated")

    async def test_retry_after_is_read(self, serve):
        server = serve(faults=Faults(rate_limited=1.0, retry_after_s=1.5))
        async with opened(spec(server)) as model:
            with pytest.raises(TransientError) as caught:
                await ask(model, chat(("user", "x")))
        assert (caught.value.retry_after_s, caught.value.rate_limited) == (1.5, True)

    async def test_overloaded_means_slower(self, serve):
        body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
        server = serve(answer=lambda a: Answer(status=529, raw=body))
        async with opened(spec(server)) as model:
            with pytest.raises(TransientError) as caught:
                await ask(model, chat(("user", "x"), max_tokens=5))
        assert (caught.value.status_code, caught.value.rate_limited) == (529, True)

    async def test_spent_credit_is_an_access_error(self, serve):
        body = b'{"type":"error","error":{"message":"Your credit balance is too low"}}'
        server = serve(answer=lambda a: Answer(status=400, raw=body))
        async with opened(spec(server)) as model:
            with pytest.raises(AccessError):
                await ask(model, chat(("user", "x"), max_tokens=5))

    async def test_an_error_inside_a_stream_keeps_its_meaning(self, serve):
        event = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
        stream = b"event: error\ndata: " + event + b"\n\n"
        said = Answer(raw=stream, headers={"content-type": "text/event-stream"})
        async with opened(spec(serve(answer=lambda a: said))) as model:
            with pytest.raises(TransientError) as caught:
                await ask(model, chat(("user", "x"), max_tokens=20_000))
        assert (caught.value.status_code, caught.value.rate_limited) == (529, True)

    async def test_a_stream_that_ends_early_is_transient(self, serve):
        start = b'{"type":"message_start","message":{"id":"m","type":"message","role":"assistant",'
        start += b'"model":"x","content":[],"stop_reason":null,"stop_sequence":null,'
        start += b'"usage":{"input_tokens":1,"output_tokens":1}}}'
        stream = b"event: message_start\ndata: " + start + b"\n\n"
        said = Answer(raw=stream, headers={"content-type": "text/event-stream"})
        async with opened(spec(serve(answer=lambda a: said))) as model:
            with pytest.raises(TransientError, match="ended before"):
                await ask(model, chat(("user", "x"), max_tokens=20_000))

    async def test_a_hanging_server_is_given_up(self, serve):
        async with opened(spec(serve(faults=Faults(hanging=1.0)), timeout_s=0.2)) as model:
            with pytest.raises(TransientError, match="did not answer within"):
                await ask(model, chat(("user", "x"), max_tokens=5))

    async def test_rate_limit_headers_are_shown_to_the_engine(self, serve):
        async with opened(spec(serve(requests_per_minute=5))) as model:
            await ask(model, chat(("user", "x"), max_tokens=5))
            assert model.rate_headers["anthropic-ratelimit-requests-remaining"] == "4"


class TestOpening:
    async def test_a_missing_key_names_its_variable(self, monkeypatch):
        monkeypatch.delenv("ANTHROPIC_API_KEY")
        with pytest.raises(MissingKeyError, match="ANTHROPIC_API_KEY"):
            async with opened("anthropic/claude-haiku-4-5"):
                pass

    async def test_no_server_at_base_url_is_one_sentence(self):
        url = f"http://127.0.0.1:{unused_port()}"
        with pytest.raises(UnreachableError, match=f"No server answers at {url}"):
            async with opened(f"anthropic/x?base_url={url}"):
                pass

    async def test_a_refused_key_is_never_shown(self, serve):
        with pytest.raises(InputError, match="refuses the key in ANTHROPIC_API_KEY") as caught:
            async with opened(spec(serve(key="another"))):
                pass
        assert KEY not in str(caught.value)

    async def test_limits_come_from_the_price_list(self):
        async with opened("anthropic/claude-3-5-sonnet-latest") as model:
            assert model.capabilities.context_length == 200_000
            assert model.capabilities.max_output_tokens == 8192
