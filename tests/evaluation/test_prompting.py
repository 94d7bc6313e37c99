import pytest

from evalkit.config.run_config import ModelEntry, RunConfig
from evalkit.errors import UnsupportedError
from evalkit.evaluation.prompting import decide_prompting
from evalkit.models.protocol import Capabilities
from evalkit.tasks.protocol import TaskInfo
from evalkit.tasks.suites import SuiteEntry

CHAT_ONLY = Capabilities(chat=True, text=False, loglikelihood=False)
LOCAL = Capabilities(chat=True, text=True, loglikelihood=True)
BASE = Capabilities(chat=False, text=True, loglikelihood=True)

CHOICE = TaskInfo(name="arc_easy", kind="lm_eval", modes=("loglikelihood", "letter"))
FREE = TaskInfo(name="gsm8k", kind="lm_eval", modes=("generate",))
OWN = TaskInfo(name="needle", kind="generated", modes=("generate",))
ROLLING = TaskInfo(name="wikitext", kind="lm_eval", modes=("perplexity",))
CALLS = TaskInfo(name="bfcl", kind="declarative", modes=("tools", "generate"))


def decide(info, capabilities, model="hf/m", entry=None, suite=None, **config):
    entry = entry or ModelEntry(model=model)
    return decide_prompting(RunConfig(**config), entry, capabilities, info, suite)


def test_multiple_choice_compares_log_likelihoods_where_it_can():
    assert decide(CHOICE, LOCAL).mode == "loglikelihood"


def test_multiple_choice_asks_a_chat_only_model_for_the_letter():
    prompting = decide(CHOICE, CHAT_ONLY, "openai/gpt-4o")
    assert (prompting.mode, prompting.style) == ("letter", "chat")


def test_a_run_can_ask_all_models_for_the_letter():
    assert decide(CHOICE, LOCAL, mode="letter").mode == "letter"


def test_the_wish_for_letters_leaves_other_tasks_alone():
    assert decide(FREE, LOCAL, mode="letter").mode == "generate"


def test_the_wish_for_log_likelihoods_is_not_quietly_dropped():
    with pytest.raises(UnsupportedError, match="log-likelihoods"):
        decide(CHOICE, CHAT_ONLY, "openai/gpt-4o", mode="loglikelihood")


def test_a_perplexity_task_is_refused_for_a_chat_only_model():
    with pytest.raises(
        UnsupportedError, match=r"'wikitext' needs log-likelihoods of whole texts, which openai/m"
    ):
        decide(ROLLING, CHAT_ONLY, "openai/m")


def test_tools_are_used_where_the_provider_has_them():
    assert decide(CALLS, Capabilities(tools=True), "openai/m").mode == "tools"
    assert decide(CALLS, CHAT_ONLY, "openai/m").mode == "generate"


@pytest.mark.parametrize(
    ("info", "capabilities", "model", "style"),
    [
        (FREE, LOCAL, "hf/m", "text"),  # as lm-eval does
        (FREE, LOCAL, "lm_eval/hf", "text"),
        (FREE, LOCAL, "server/m", "chat"),
        (CHOICE, LOCAL, "server/m", "text"),
        (OWN, LOCAL, "hf/m", "chat"),
        (OWN, BASE, "hf/m", "text"),
        (FREE, CHAT_ONLY, "anthropic/m", "chat"),
    ],
)
def test_the_default_style_is_what_the_model_is_meant_for(info, capabilities, model, style):
    assert decide(info, capabilities, model).style == style


def test_the_flag_decides_for_all():
    assert decide(FREE, LOCAL, chat_template=True).style == "chat"
    assert decide(OWN, LOCAL, chat_template=False).style == "text"


def test_a_models_own_setting_wins_over_the_runs():
    entry = ModelEntry(model="hf/m", chat_template=False, temperature=0.7, system="Be brief.")
    prompting = decide(FREE, LOCAL, entry=entry, chat_template=True, temperature=0.1, system="x")
    assert (prompting.style, prompting.system) == ("text", "Be brief.")
    assert prompting.sampling == {"temperature": 0.7}


def test_chat_for_a_base_model_is_refused():
    with pytest.raises(UnsupportedError, match="no chat template"):
        decide(FREE, BASE, chat_template=True)


def test_raw_prompts_for_a_chat_only_model_are_refused():
    with pytest.raises(UnsupportedError, match="chat messages only"):
        decide(FREE, CHAT_ONLY, "openai/m", chat_template=False)


def test_the_runs_settings_win_over_the_suites():
    suite = SuiteEntry(task="gsm8k", num_fewshot=8, sampling={"max_tokens": 9}, repeats=4)
    told = decide(FREE, LOCAL, suite=suite)
    assert (told.num_fewshot, told.sampling, told.repeats) == (8, {"max_tokens": 9}, 4)
    own = decide(FREE, LOCAL, suite=suite, num_fewshot=0, max_tokens=5, repeats=1)
    assert (own.num_fewshot, own.sampling, own.repeats) == (0, {"max_tokens": 5}, 1)


def test_a_perplexity_task_is_refused_for_a_model_that_judges_continuations_alone():
    able = Capabilities(chat=True, text=True, loglikelihood=True, rolling=False)
    assert decide(CHOICE, able).mode == "loglikelihood"
    with pytest.raises(UnsupportedError, match="log-likelihoods of whole texts"):
        decide(ROLLING, able)
