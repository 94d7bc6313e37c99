"""What follows where a request, an adapter or a provider fails."""

import asyncio

import pytest
from engine_world import Failing, SmallModel, asker_with, question, too_fast

from evalkit.engine.asking import Asker
from evalkit.engine.settings import EngineSettings
from evalkit.errors import AccessError, RequestError, StoppedError, TransientError
from evalkit.records import Request, Response

# --- failures


async def test_a_passing_failure_is_asked_again(asker):
    model = SmallModel(Failing(TransientError("reset"), TransientError("reset")))
    answer = await asker.ask(model, question("hi"))
    assert (answer.text, answer.attempts) == ("HI", 3)


async def test_attempts_end(journal, time):
    model = SmallModel(Failing(*[TransientError("oops", status_code=500)] * 99))
    answer = await asker_with(journal, time, max_attempts=4).ask(model, question("hi"))
    assert (len(model.calls), answer.status, answer.attempts) == (4, "error", 4)


async def test_an_error_says_its_kind(journal, time):
    model = SmallModel(Failing(*[TransientError("oops", status_code=500)] * 99))
    answer = await asker_with(journal, time, max_attempts=1).ask(model, question("hi"))
    assert answer.error == "server_error: oops"


async def test_an_error_is_not_journaled(journal, time):
    model = SmallModel(Failing(TransientError("oops")))
    asker = asker_with(journal, time, max_attempts=1)
    await asker.ask(model, question("hi"))
    assert (await asker.ask(model, question("hi"))).text == "HI"


async def test_a_request_that_cannot_succeed_is_asked_once(asker):
    model = SmallModel(Failing(*[RequestError("context overflow", status_code=400)] * 9))
    answer = await asker.ask(model, question("hi"))
    assert (len(model.calls), answer.error) == (1, "bad_request: context overflow")


async def test_every_failed_attempt_is_journaled(asker, journal):
    model = SmallModel(Failing(TransientError("x", status_code=503), ConnectionResetError("y")))
    await asker.ask(model, question("hi"))
    journal.flush()
    assert journal.failure_counts() == {"small": {"server_error": 1, "dropped": 1}}


async def test_recovered_and_lost_requests_are_told_apart(journal, time):
    model = SmallModel(Failing(TransientError("x", status_code=500), only="a"))
    lost = SmallModel(Failing(*[TransientError("x", status_code=500)] * 3), name="lost")
    asker = asker_with(journal, time, max_attempts=2)
    await asker.ask_all(model, [question("a"), question("b")])
    await asker.ask(lost, question("a"))
    assert asker.tallies["small"].recovered == 1
    assert asker.tallies["lost"].lost == {"server_error": 1}


async def test_keys_are_kept_out_of_what_is_journaled(asker, journal):
    model = SmallModel(Failing(TransientError("Incorrect key: sk-abcdefghijkl1234")))
    await asker.ask(model, question("hi"))
    journal.flush()
    row = journal._reading.execute("SELECT message FROM failures").fetchone()
    assert row == ("Incorrect key: [key]",)


# --- adapters that misbehave


class Short(SmallModel):
    async def ask(self, requests):
        return []


class Strange(SmallModel):
    async def ask(self, requests):
        return ["text"] * len(requests)


class Nothing(SmallModel):
    async def ask(self, requests):
        return None


@pytest.mark.parametrize(
    ("kind", "said"),
    [(Short, "0 responses for 1 requests"), (Strange, "returned str"), (Nothing, "NoneType")],
)
async def test_a_malformed_result_is_an_error_and_no_hang(asker, kind, said):
    answer = await asyncio.wait_for(asker.ask(kind(), question("hi")), 5)
    assert answer.status == "error"
    assert said in answer.error


async def test_a_mistake_in_an_adapter_is_an_error_of_that_request(asker):
    answer = await asker.ask(SmallModel(Failing(KeyError("choices"))), question("hi"))
    assert answer.error == "unexpected: KeyError: 'choices'"


@pytest.mark.parametrize("number", [float("nan"), float("-inf")])
async def test_a_log_likelihood_that_is_no_number_is_an_error(asker, number):
    model = SmallModel(lambda request: Response(logprob=number))
    answer = await asker.ask(model, question("hi"))
    assert answer.error.startswith("malformed: the log-likelihood is")


async def test_a_hanging_call_ends_at_its_deadline(journal):
    forever = SmallModel(pause=asyncio.Event().wait)
    asker = Asker(journal, EngineSettings(deadline_s=0.02, max_attempts=1))
    answer = await asyncio.wait_for(asker.ask(forever, question("hi")), 5)
    assert answer.error == "timeout: no answer within the deadline of 0.02 s"


async def test_an_adapter_that_ignores_cancellation_does_not_hold_the_engine(journal):
    release = asyncio.Event()

    class Stubborn(SmallModel):
        async def ask(self, requests):
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue
            return []

    asker = Asker(journal, EngineSettings(deadline_s=0.02, max_attempts=1))
    answer = await asyncio.wait_for(asker.ask(Stubborn(), question("hi")), 5)
    release.set()
    assert answer.error.startswith("timeout")


async def test_a_model_may_have_no_deadline(journal, time):
    model = SmallModel()
    model.deadline_s = None
    assert asker_with(journal, time)._lane(model)._attempts._deadline_s is None


# --- no access


async def test_without_access_nothing_more_is_asked(asker):
    model = SmallModel(Failing(*[AccessError("no such key", status_code=401)] * 9), concurrency=1)
    asking = [asyncio.create_task(asker.ask(model, question(f"q{n}"))) for n in range(30)]
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert len(model.calls) == 1
    assert {str(result) for result in results} == {"small: no such key"}
    assert all(isinstance(result, StoppedError) for result in results)


async def test_without_access_to_one_model_the_others_go_on(asker):
    dead = SmallModel(Failing(*[AccessError("no such key")] * 9), name="dead")
    with pytest.raises(StoppedError, match="no such key"):
        await asker.ask(dead, question("hi"))
    assert (await asker.ask(SmallModel(), question("hi"))).text == "HI"
    assert asker.model_failures == {"dead": "dead: no such key"}


async def test_a_stopped_model_still_serves_its_journal(asker):
    model = SmallModel(Failing(AccessError("no credit"), only="second"))
    await asker.ask(model, question("first"))
    with pytest.raises(StoppedError):
        await asker.ask(model, question("second"))
    assert (await asker.ask(model, question("first"))).text == "FIRST"


# --- refusals for asking too fast


async def test_retry_after_is_honoured(asker, time):
    sent = []
    refusals = Failing(too_fast(7.5), only="hi")

    def answer(request: Request) -> Response:
        sent.append(time.now)
        return refusals(request)

    await asker.ask(SmallModel(answer), question("hi"))
    assert sent[1] - sent[0] >= 7.5


async def test_retry_after_pauses_the_provider(asker, time):
    refused, other = SmallModel(Failing(too_fast(7.5))), SmallModel(name="other")
    asking = asyncio.create_task(asker.ask(refused, question("hi")))
    while not refused.calls:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asker.ask(other, question("hi"))
    assert time.now >= 7.5
    await asking


async def test_other_providers_do_not_wait(asker, time):
    refused, other = SmallModel(Failing(too_fast(7.5))), SmallModel(provider="there")
    asking = asyncio.create_task(asker.ask(refused, question("hi")))
    while not refused.calls:
        await asyncio.sleep(0)
    await asker.ask(other, question("hi"))
    assert time.now < 7.5
    await asking


async def test_refusals_use_up_no_attempts(journal, time):
    model = SmallModel(Failing(*[too_fast(1.0)] * 20))
    answer = await asker_with(journal, time, max_attempts=2).ask(model, question("hi"))
    assert (answer.text, answer.attempts) == ("HI", 21)


async def test_patience_ends_where_the_model_answers_nobody(journal, time):
    model = SmallModel(Failing(*[too_fast(1.0)] * 999))
    with pytest.raises(StoppedError, match="refused for more than 30 s"):
        await asker_with(journal, time, patience_s=30).ask(model, question("hi"))
    assert 30 <= time.now <= 90  # the last pause may outlast it


async def test_a_wait_longer_than_patience_stops_the_model_at_once(journal, time):
    model = SmallModel(Failing(too_fast(86_400.0)))
    with pytest.raises(StoppedError, match="asks to wait 86400 s"):
        await asker_with(journal, time).ask(model, question("hi"))
    assert time.now == 0


async def test_retry_after_of_an_overloaded_server_is_honoured(asker, time):
    model = SmallModel(Failing(TransientError("busy", status_code=503, retry_after_s=9.0)))
    await asker.ask(model, question("hi"))
    assert time.now >= 9.0


async def test_requests_a_minute_are_kept(journal, time):
    model = SmallModel(concurrency=100)
    asker = asker_with(journal, time, requests_per_minute=60)
    await asker.ask_all(model, [question(f"q{n}") for n in range(61)])
    assert time.now == pytest.approx(60.0)


async def test_tokens_a_minute_are_kept(journal, time):
    model = SmallModel(concurrency=1)  # 12 tokens an answer, by its usage
    asker = asker_with(journal, time, tokens_per_minute=60)
    await asker.ask_all(model, [question(f"q{n}") for n in range(21)])
    assert time.now == pytest.approx(20 * 12, rel=0.15)
