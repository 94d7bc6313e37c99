import pytest

from evalkit.errors import ConfigError, UnknownNameError
from evalkit.tasks.catalogue import select
from evalkit.tasks.suites import Suite, SuiteEntry, load_suite, suite_names


@pytest.mark.parametrize("name", suite_names())
def test_every_task_of_every_suite_exists(name):
    for entry in load_suite(name).tasks:
        assert select([entry.task]).tasks


def test_the_quick_suite_is_quick():
    suite = load_suite("quick")
    assert sum(entry.limit for entry in suite.tasks) <= 60
    assert all(entry.sampling["max_tokens"] <= 200 for entry in suite.tasks)


def test_an_unknown_suite_offers_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'quick'"):
        load_suite("quik")


@pytest.fixture
def write_suite(tmp_path):
    def write(text):
        (tmp_path / "suites").mkdir()
        (tmp_path / "suites" / "mine.yaml").write_text(text)
        return [tmp_path]

    return write


def test_entries_are_names_or_settings(write_suite):
    text = "name: mine\ntasks: [needle, {task: mmlu, limit: 0.1, num_fewshot: 5}]\n"
    assert load_suite("mine", write_suite(text)) == Suite(
        name="mine",
        tasks=(SuiteEntry(task="needle"), SuiteEntry(task="mmlu", limit=0.1, num_fewshot=5)),
    )


def test_a_users_suites_are_listed_with_ours(write_suite):
    assert {"mine", "quick"} <= set(suite_names(write_suite("name: mine\ntasks: [needle]\n")))


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("name: mine\ntasks:\n- {task: needle, limt: 3}", 3, "unknown key 'limt'"),
        ("name: mine\ntasks:\n- {task: needle, limit: 0}", 3, "'limit' must be a whole number"),
        ("name: mine\ntasks:\n- {task: needle, limit: 1.5}", 3, "not 1.5"),
        ("name: mine\ntasks: []", 2, "'tasks' names no task"),
        ("name: other\ntasks: [needle]", 1, "the file of a suite has its name"),
        ("name: mine", 1, "missing the key 'tasks'"),
    ],
)
def test_a_wrong_suite_is_named_by_line(write_suite, text, line, says):
    with pytest.raises(ConfigError) as raised:
        load_suite("mine", write_suite(text))
    assert says in str(raised.value)
    assert raised.value.line == line
