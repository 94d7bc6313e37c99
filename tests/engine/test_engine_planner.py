import pytest
from engine_world import SmallModel, SmallTask

from evalkit.engine.asking import Asker
from evalkit.engine.jobs import Job
from evalkit.engine.journal import Journal, JournalReader
from evalkit.engine.planner import estimate, total_cost
from evalkit.engine.settings import EngineSettings
from evalkit.models.protocol import Capabilities
from evalkit.records import Request, Sampling


class Limited(SmallTask):
    """Its answers have at most 50 tokens."""

    def requests(self, sample, answers):
        return [
            Request(kind="generate", prompt=request.prompt, sampling=Sampling(max_tokens=50))
            for request in super().requests(sample, answers)
        ]


def price(model, usage):
    return usage.input_tokens * 1e-3 + usage.output_tokens * 1e-2


def job(task, model=None, limit=None):
    return Job(model=model or SmallModel(), load=lambda: task, limit=limit, name=task.info.name)


def test_it_counts_without_asking():
    model = SmallModel()
    [plan] = estimate([job(Limited(10, each=2), model)])
    assert (plan.samples, plan.requests, plan.journaled, plan.duplicates) == (10, 20, 0, 0)
    assert model.calls == []


def test_it_names_task_model_and_mode():
    [plan] = estimate([job(Limited(1))])
    assert (plan.task, plan.model, plan.mode) == ("small", "small", "generate")


def test_tokens_are_those_of_the_model():
    [plan] = estimate([job(Limited(10))])  # "small q N 0": four words
    assert (plan.input_tokens, plan.output_tokens) == (40, 500)


def test_costs_follow_the_price():
    [plan] = estimate([job(Limited(10))], price=price)
    assert plan.cost_usd == pytest.approx(0.04 + 5.0)


def test_without_a_price_there_is_no_cost():
    plans = estimate([job(Limited(10))], price=lambda model, usage: None)
    assert (plans[0].cost_usd, total_cost(plans)) == (None, None)


def test_a_limit_is_kept():
    [plan] = estimate([job(Limited(10), limit=3)])
    assert plan.samples == 3


def test_answers_without_a_limit_are_said_to_be_unbounded():
    [plan] = estimate([job(SmallTask(1))])
    assert (plan.bounded, plan.output_tokens) == (False, 256)


def test_the_longest_answer_of_the_model_is_a_limit():
    model = SmallModel()
    model.capabilities = Capabilities(max_output_tokens=7)
    [plan] = estimate([job(SmallTask(1), model)])
    assert (plan.bounded, plan.output_tokens) == (True, 7)


def test_log_likelihoods_answer_with_no_tokens():
    class Choices(SmallTask):
        def requests(self, sample, answers):
            return [Request(kind="loglikelihood", prompt="a b", continuation=" c")]

    [plan] = estimate([job(Choices(1))])
    assert (plan.input_tokens, plan.output_tokens, plan.bounded) == (3, 0, True)


def test_identical_requests_are_counted_once_over_all_jobs():
    plans = estimate([job(Limited(10)), job(Limited(15))])
    assert [plan.duplicates for plan in plans] == [0, 10]
    assert plans[1].input_tokens == 20


async def test_what_the_journal_holds_costs_nothing(tmp_path):
    model, task = SmallModel(), Limited(10)
    with Journal(tmp_path / "j") as journal:
        asker = Asker(journal, EngineSettings())
        for sample in task.samples(4):
            await asker.ask_all(model, task.requests(sample, ()))
    with JournalReader(tmp_path / "j") as reader:
        [plan] = estimate([job(task, model)], journal=reader)
    assert (plan.requests, plan.journaled, plan.input_tokens) == (10, 4, 24)


async def test_earlier_answers_say_how_long_the_next_will_be(tmp_path):
    model, task = SmallModel(), SmallTask(10)
    with Journal(tmp_path / "j") as journal:
        asker = Asker(journal, EngineSettings())
        for sample in task.samples(4):
            await asker.ask_all(model, task.requests(sample, ()))
        [plan] = estimate([job(task, model)], journal=journal)
    assert plan.expected_output_tokens == 12


async def test_later_turns_are_counted_as_far_as_they_are_known(tmp_path):
    class Turns(Limited):
        def requests(self, sample, answers):
            if len(answers) == 3:
                return []
            return [Request(kind="generate", prompt=f"{sample.id} turn {len(answers)}")]

    model, task = SmallModel(), Turns(2)
    with Journal(tmp_path / "j") as journal:
        first = estimate([job(task, model)], journal=journal)[0]
        asker = Asker(journal, EngineSettings())
        for sample in task.samples(None):
            await asker.ask_all(model, task.requests(sample, ()))
        second = estimate([job(task, model)], journal=journal)[0]
    assert (first.requests, first.multi_turn) == (2, False)
    assert (second.requests, second.journaled, second.multi_turn) == (4, 2, True)


def test_each_plan_is_told_as_soon_as_it_is_known():
    told = []
    plans = estimate([job(Limited(1)), job(Limited(2))], on_plan=told.append)
    assert told == plans


@pytest.mark.parametrize(("draws", "prompts"), [(4, 1), (128, 1), (129, 2)])
def test_a_prompt_that_one_call_sends_for_several_answers_is_likely_paid_once(draws, prompts):
    class Together(SmallModel):
        def together(self, request):
            return request.prompt

    class Draws(SmallTask):
        def requests(self, sample, answers):
            sampling = Sampling(max_tokens=5, temperature=1.0)
            return [
                Request(kind="generate", prompt="a b c", sampling=sampling, repeat=number)
                for number in range(draws)
            ]

    def price(model, usage):
        return float(usage.input_tokens)

    [plan] = estimate([job(Draws(1), Together())], price=price)
    assert (plan.cost_usd, plan.expected_cost_usd) == (3 * draws, 3 * prompts)
