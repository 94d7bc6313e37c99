import pytest

from evalkit.data.options import DataOptions
from evalkit.errors import ConfigError, DataError, SandboxError, UnsupportedError
from evalkit.records import Message, Response, Score
from evalkit.tasks.catalogue import load, select
from evalkit.tasks.protocol import Prompting

ROWS = [
    {"country": "France", "capital": "Paris", "others": ["Rome", "Paris", "Oslo"], "at": 1},
    {"country": "Italy", "capital": "Rome", "others": ["Rome", "Bern"], "at": 0},
    {"country": "Norway", "capital": "Oslo", "others": ["Bern", "Oslo"], "at": 1},
]
OPEN = """
name: capitals
version: "1"
source: {file: rows.jsonl}
system: Answer in one word.
prompt: "What is the capital of {{ country }}?"
target: capital
scorer: {name: exact_match}
sampling: {max_tokens: 8, stop: ["."], text_stop: ["\\n"]}
"""
CHOICE = """
name: capitals
version: "1"
source: {file: rows.jsonl}
prompt: "The capital of {{ country }} is"
choices: others
target: capital
"""


def prompts(task, limit=None):
    return [task.requests(sample, ())[0].prompt for sample in task.samples(limit)]


def test_samples_carry_row_target_and_index(make_task):
    samples = list(make_task(OPEN, ROWS).samples(2))
    assert [(s.id, s.index, s.target, s.doc["country"]) for s in samples] == [
        ("0", 0, "Paris", "France"),
        ("1", 1, "Rome", "Italy"),
    ]


@pytest.mark.parametrize(("limit", "size"), [(None, 3), (2, 2), (9, 3), (0.5, 2)])
def test_a_limit_takes_the_first_samples(make_task, limit, size):
    task = make_task(OPEN, ROWS)
    assert task.size(limit) == size == len(list(task.samples(limit)))


def test_a_chat_prompt_is_messages(make_task):
    assert prompts(make_task(OPEN, ROWS), 1)[0] == (
        Message(role="system", content="Answer in one word."),
        Message(role="user", content="What is the capital of France?"),
    )


def test_the_runs_system_instruction_stands_before_the_tasks(make_task):
    task = make_task(OPEN, ROWS, system="Be kind.")
    assert prompts(task, 1)[0][0].content == "Be kind.\n\nAnswer in one word."


def test_a_text_prompt_is_one_text_with_its_own_stops(make_task):
    task = make_task(OPEN, ROWS, style="text")
    request = task.requests(next(task.samples(1)), ())[0]
    assert request.prompt == "Answer in one word.\n\nWhat is the capital of France?"
    assert request.sampling.stop == (".", "\n")


def test_the_runs_sampling_wins_over_the_tasks(make_task):
    task = make_task(OPEN, ROWS, sampling={"temperature": 0.7})
    sampling = task.requests(next(task.samples(1)), ())[0].sampling
    assert (sampling.temperature, sampling.max_tokens) == (0.7, 8)


def test_repeats_are_requests_told_apart(make_task):
    task = make_task(OPEN, ROWS, repeats=3)
    assert [r.repeat for r in task.requests(next(task.samples(1)), ())] == [0, 1, 2]


def test_an_answered_sample_has_nothing_more_to_ask(make_task):
    task = make_task(OPEN, ROWS)
    assert task.requests(next(task.samples(1)), (Response(text="Paris"),)) == ()


def test_scores_are_averaged_with_their_error(make_task):
    task = make_task(OPEN, ROWS)
    answers = ["Paris", "Milan", "Oslo"]
    scores = [
        task.score(sample, [Response(text=text)])
        for sample, text in zip(task.samples(None), answers, strict=True)
    ]
    (found,) = task.aggregate([*scores, Score(status="error"), Score(status="unscored")])
    assert (found.metric, found.n, found.value) == ("exact_match", 3, pytest.approx(2 / 3))
    assert found.stderr is not None
    assert found.low < found.value < found.high


def test_a_task_without_scored_samples_claims_nothing(make_task):
    assert make_task(OPEN, ROWS).aggregate([Score(status="error")]) == []


def test_worked_examples_are_turns_in_chat(make_task):
    text = OPEN + "fewshot: {count: 2, source: {file: rows.jsonl}}\n"
    assert [(m.role, m.content) for m in prompts(make_task(text, ROWS))[0][1:]] == [
        ("user", "What is the capital of Italy?"),
        ("assistant", "Rome"),
        ("user", "What is the capital of Norway?"),
        ("assistant", "Oslo"),
        ("user", "What is the capital of France?"),
    ]


def test_worked_examples_can_stand_in_one_message(make_task):
    text = OPEN + "fewshot: {count: 1, source: {file: rows.jsonl}}\n"
    prompt = prompts(make_task(text, ROWS, multiturn=False))[1]
    assert [m.role for m in prompt] == ["system", "user"]
    assert prompt[1].content == (
        "What is the capital of France? Paris\n\nWhat is the capital of Italy?"
    )


def test_worked_examples_of_a_text_prompt_carry_their_answers(make_task):
    text = OPEN + "fewshot:\n  count: 1\n  examples: [{country: Peru, capital: Lima}]\n"
    assert prompts(make_task(text, ROWS, style="text"), 1)[0] == (
        "Answer in one word.\n\nWhat is the capital of Peru? Lima\n\nWhat is the capital of France?"
    )


def test_the_run_decides_how_many_examples(make_task):
    text = OPEN + "fewshot: {count: 1, source: {file: rows.jsonl}}\n"
    assert len(prompts(make_task(text, ROWS, num_fewshot=0), 1)[0]) == 2
    assert len(prompts(make_task(text, ROWS, num_fewshot=2), 1)[0]) == 6


def test_drawn_examples_depend_on_the_seed_alone(make_task):
    rows = [{"country": str(i), "capital": str(i)} for i in range(50)]
    text = OPEN + "fewshot: {count: 3, choose: random, source: {file: rows.jsonl}}\n"
    drawn = [prompts(make_task(text, rows, seed=seed), 1) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("more", "says"),
    [("", "has no worked examples"), ("fewshot: {examples: [{}]}", "has 1 worked examples, not 5")],
)
def test_examples_that_are_not_there_are_refused(make_task, more, says):
    with pytest.raises(UnsupportedError, match=says):
        make_task(OPEN + more, ROWS, num_fewshot=5)


def test_choices_are_continuations_of_the_prompt(make_task):
    task = make_task(CHOICE, ROWS, style="text")
    requests = task.requests(next(task.samples(1)), ())
    assert [(r.kind, r.prompt, r.continuation) for r in requests] == [
        ("loglikelihood", "The capital of France is", f" {city}")
        for city in ("Rome", "Paris", "Oslo")
    ]


def test_a_chat_models_continuation_starts_its_turn(make_task):
    task = make_task(CHOICE, ROWS)
    assert task.requests(next(task.samples(1)), ())[0].continuation == "Rome"


def test_the_likeliest_choice_is_the_answer_with_and_without_length(make_task):
    rows = [{"country": "X", "capital": "a", "others": ["a", "a much longer one"]}]
    task = make_task(CHOICE, rows)
    answers = [Response(logprob=-4.0), Response(logprob=-8.0)]
    found = task.score(next(task.samples(1)), answers)
    assert (found.values, found.extracted) == ({"acc": 1.0, "acc_norm": 0.0}, "a")


def test_a_missing_log_likelihood_is_unscored(make_task):
    task = make_task(CHOICE, ROWS)
    assert task.score(next(task.samples(1)), [Response(logprob=-1.0)]).status == "unscored"


@pytest.mark.parametrize("target", ["capital", "at", '"{{ at }}"', "\"{{ 'ABC'[at] }}\""])
def test_the_right_choice_is_named_by_text_place_or_letter(make_task, target):
    task = make_task(CHOICE.replace("target: capital", f"target: {target}"), ROWS)
    assert [sample.target for sample in task.samples(None)] == [1, 0, 1]


def test_a_target_that_is_no_choice_is_named(make_task):
    rows = [{"country": "X", "capital": "Lima", "others": ["a", "b"]}]
    with pytest.raises(DataError, match="the target 'Lima' is none of"):
        list(make_task(CHOICE, rows).samples(None))


def test_letters_list_the_choices_and_read_the_answer(make_task):
    task = make_task(CHOICE, ROWS, mode="letter")
    sample = next(task.samples(1))
    (request,) = task.requests(sample, ())
    assert request.prompt[-1].content == (
        "The capital of France is\n\nA. Rome\nB. Paris\nC. Oslo\n\n"
        "Answer with the letter of the right choice only."
    )
    assert task.score(sample, [Response(text="B")]).values == {"acc": 1.0}
    assert task.score(sample, [Response(text="C")]).values == {"acc": 0.0}
    assert task.score(sample, [Response(text="")]).status == "unparsed"
    assert [a.metric for a in task.aggregate([Score(values={"acc": 1.0})])] == ["acc"]


def test_worked_examples_answer_with_the_letter_too(make_task):
    text = CHOICE + "fewshot: {count: 1, source: {file: rows.jsonl}}\n"
    prompt = prompts(make_task(text, ROWS, mode="letter"), 1)[0]
    assert (prompt[1].role, prompt[1].content) == ("assistant", "A")


def test_more_choices_than_letters_are_refused(make_task):
    rows = [{"country": "X", "capital": "0", "others": [str(i) for i in range(27)]}]
    task = make_task(CHOICE, rows, mode="letter")
    with pytest.raises(DataError, match="more choices than there are letters"):
        prompts(task)


def test_choices_can_be_templates(make_task):
    text = CHOICE.replace("choices: others", "choices: ['{{ capital }}', Moscow]")
    rows = [{**ROWS[0], "Moscow": "Moscow"}]
    task = make_task(text, rows)
    requests = task.requests(next(task.samples(1)), ())
    assert [r.continuation for r in requests] == ["Paris", "Moscow"]


TOOLS = OPEN + "tools: functions\n"
FUNCTIONS = [
    {
        "name": "geo.capital",
        "description": "The capital.",
        "parameters": {
            "type": "dict",
            "properties": {
                "land": {"type": "string"},
                "size": {"type": "float"},
                "more": {"type": "tuple", "items": {"type": "any"}},
            },
            "required": ["land"],
        },
    }
]


def test_tools_are_given_in_the_words_of_json_schema(make_task):
    rows = [{**ROWS[0], "functions": FUNCTIONS}]
    task = make_task(TOOLS, rows, mode="tools")
    ((tool,),) = [r.tools for r in task.requests(next(task.samples(1)), ())]
    assert tool.name == "geo_capital"
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "land": {"type": "string"},
            "size": {"type": "number"},
            "more": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["land"],
    }


def test_a_prompted_task_with_tools_sends_none(make_task):
    task = make_task(TOOLS, [{**ROWS[0], "functions": FUNCTIONS}], mode="generate")
    assert task.requests(next(task.samples(1)), ())[0].tools == ()


def test_prompts_can_differ_by_style_and_mode(make_task):
    text = TOOLS.replace(
        'prompt: "What is the capital of {{ country }}?"',
        "prompt: {default: d, text: t, tools: T}",
    )
    rows = [{**ROWS[0], "functions": FUNCTIONS}]
    found = [
        prompts(make_task(text, rows, style=style, mode=mode), 1)[0]
        for style, mode in (("chat", "generate"), ("text", "generate"), ("chat", "tools"))
    ]
    assert found[0][-1].content == "d"
    assert found[1].endswith("t")
    assert found[2][-1].content == "T"


def test_messages_can_begin_the_answer(make_task):
    text = OPEN.replace(
        'prompt: "What is the capital of {{ country }}?"',
        "messages:\n- {role: user, content: 'Capital of {{ country }}?'}\n"
        "- {role: assistant, content: 'It is '}",
    )
    text += "fewshot: {count: 1, examples: [{country: Peru, capital: Lima}]}\n"
    chat = prompts(make_task(text, ROWS), 1)[0]
    assert [m.content for m in chat[1:]] == [
        "Capital of Peru?",
        "It is Lima",
        "Capital of France?",
        "It is ",
    ]
    assert prompts(make_task(text, ROWS, style="text"), 1)[0].endswith(
        "Capital of Peru? It is Lima\n\nCapital of France? It is "
    )


def test_rows_are_joined_and_filtered(make_task, tmp_path):
    (tmp_path / "more.jsonl").write_text(
        '{"country": "Norway", "king": "Harald"}\n{"country": "Italy", "king": ""}\n'
        '{"country": "France", "king": ""}\n'
    )
    text = OPEN + "join: {source: {file: more.jsonl}, by: country}\nwhere: king\n"
    (sample,) = make_task(text, ROWS).samples(None)
    assert (sample.index, sample.doc["king"], sample.target) == (0, "Harald", "Oslo")


def test_a_join_without_a_partner_is_named(make_task, tmp_path):
    (tmp_path / "more.jsonl").write_text('{"country": "Norway"}\n')
    text = OPEN + "join: {source: {file: more.jsonl}, by: country}\n"
    with pytest.raises(DataError, match="no row whose 'country' is 'France'"):
        list(make_task(text, ROWS).samples(None))


def test_no_row_left_is_an_error(make_task):
    with pytest.raises(DataError, match="no rows for which 'at > 7' holds"):
        make_task(OPEN + "where: at > 7\n", ROWS)


def test_ids_and_clusters_come_from_the_row(make_task):
    text = OPEN + 'id: country\ncluster: "{{ at }}"\n'
    assert [(s.id, s.cluster) for s in make_task(text, ROWS).samples(None)] == [
        ("France", "1"),
        ("Italy", "0"),
        ("Norway", "1"),
    ]


def test_a_field_that_a_row_lacks_is_named(make_task):
    with pytest.raises(DataError, match=r"no field 'capitl'; it has country, capital"):
        list(make_task(OPEN.replace("target: capital", "target: capitl"), ROWS).samples(None))


def test_an_undefined_name_in_a_prompt_is_an_error(make_task):
    task = make_task(OPEN.replace("{{ country }}", "{{ contry }}"), ROWS)
    with pytest.raises(DataError, match="'contry' is undefined"):
        prompts(task)


def test_braces_in_rows_are_data(make_task):
    rows = [{"country": "{{ 7 * 7 }}{% raw %}", "capital": "x"}]
    assert prompts(make_task(OPEN, rows))[0][-1].content == (
        "What is the capital of {{ 7 * 7 }}{% raw %}?"
    )


@pytest.mark.parametrize(
    "expression",
    [
        "''.__class__.__mro__",
        "country.__class__",
        "row.__init__.__globals__",
        "others.append('x')",
        "row.update(x=1)",
        "cycler.__init__.__globals__",
        "'%s' | attr('__class__')",
    ],
)
def test_templates_reach_nothing_private_and_change_nothing(make_task, expression):
    task = make_task(OPEN.replace("{{ country }}", "{{ " + expression + " }}"), ROWS)
    with pytest.raises(DataError, match="cannot be rendered"):
        prompts(task)


@pytest.mark.parametrize(
    ("wrong", "right", "line", "says"),
    [
        ("target: capital", "targt: capital", 7, "unknown key 'targt'; did you mean 'target'"),
        ("target: capital", "", 2, "missing the key 'target'"),
        ("{name: exact_match}", "{name: exact}", 8, "Unknown scorer 'exact'"),
        ("{name: exact_match}", "{name: f1, params: {x: 1}}", 8, "Unknown parameter of scorer"),
        ("scorer: {name: exact_match}", "metrics: [{name: f1}]", 2, "the key 'scorer' is missing"),
        ("{{ country }}", "{{ country", 6, "is not a Jinja template"),
        ("name: capitals", "name: cities", 2, "the file of a task has its name"),
        ("source: {file: rows.jsonl}", "", 2, "either a `source` or a `generator`"),
        ("source: {file: rows.jsonl}", "source: {fil: x}", 4, "unknown key 'fil' in 'source'"),
        ("source: {file: rows.jsonl}", "source: {}", 4, "needs one of hub"),
        ("max_tokens: 8", "max_tokens: many", 9, "'sampling.max_tokens': expected 'int"),
        ("system: Answer", "repeats: 0\nsystem: Answer", 5, "'repeats' must be at least 1"),
        ("system: Answer", "where: a b\nsystem: Answer", 5, "is not a Jinja expression"),
        ("system: Answer", "choices: others\nsystem: Answer", 5, "takes neither `scorer`"),
        ("system: Answer", "messages: []\nprompt: x\nsystem: Answer", 8, "key 'prompt' stands"),
    ],
)
def test_a_wrong_definition_is_named_by_line(write_task, wrong, right, line, says):
    assert wrong in OPEN
    path = write_task(OPEN.replace(wrong, right, 1), ROWS)
    with pytest.raises(ConfigError) as raised:
        select([str(path)])
    assert says in str(raised.value)
    assert raised.value.line == line


def test_a_metric_that_the_scorer_does_not_give_is_named(write_task):
    path = write_task(OPEN + "metrics: [{name: exact_match}, {name: f1}]\n")
    with pytest.raises(ConfigError, match="metric 'f1' is not one that the scorer gives: exact"):
        select([str(path)])


def test_a_mode_that_the_task_lacks_is_refused(make_task):
    with pytest.raises(UnsupportedError, match=r"in the mode 'letter' \(modes: generate\)"):
        make_task(OPEN, ROWS, mode="letter")


def test_the_fingerprint_tells_prompting_and_definition_apart(make_task):
    same = [make_task(OPEN, ROWS).fingerprint for _ in range(2)]
    others = {
        make_task(OPEN, ROWS, style="text").fingerprint,
        make_task(OPEN, ROWS, seed=5).fingerprint,
        make_task(OPEN.replace("What", "Which"), ROWS).fingerprint,
        make_task(OPEN.replace("{name: exact_match}", "{name: contains}"), ROWS).fingerprint,
    }
    assert same[0] == same[1]
    assert len(others | {same[0]}) == 5


def test_the_data_fingerprint_changes_with_the_rows(make_task):
    one, other = make_task(OPEN, ROWS).data_fingerprint(), make_task(OPEN, ROWS[:2])
    assert one != other.data_fingerprint()


def test_code_is_refused_where_there_is_no_sandbox(write_task, monkeypatch, tmp_path):
    from evalkit.scoring import code

    monkeypatch.setattr(code, "available", lambda: "no sandbox here")
    path = write_task(OPEN.replace("{name: exact_match}", "{name: code}"), ROWS)
    ref = select([str(path)]).tasks[0]
    with pytest.raises(SandboxError, match="no sandbox here"):
        load(ref, Prompting(), DataOptions(cache=str(tmp_path)))


def test_more_answers_than_asked_for_pass_at_k_are_refused(make_task):
    from evalkit.errors import InputError

    text = OPEN.replace("{name: exact_match}", "{name: code, params: {k: [10]}}")
    with pytest.raises(InputError, match="set repeats to at least the largest k"):
        make_task(text, ROWS)
