"""Names, kinds and definitions, found without lm-eval."""

import os
import subprocess
import sys

import pytest

from evalkit.errors import ConfigError, InputError, UnknownNameError
from evalkit.tasks import lm_eval as adapter
from evalkit.tasks.lm_eval import index
from evalkit.tasks.lm_eval.index import build_index, lm_eval_folder, read_index


def test_it_knows_what_lm_evals_own_index_knows(definitions):
    from lm_eval.tasks import TaskManager

    theirs = TaskManager(include_path=str(definitions), include_defaults=False).task_index
    ours = build_index(definitions)
    assert {n: e.kind.name.removeprefix("PY_").lower() for n, e in theirs.items()} == {
        n: e.kind for n, e in ours.items()
    }


@pytest.mark.slow
def test_it_knows_all_that_lm_eval_ships():
    from lm_eval.tasks import TaskManager

    theirs, ours = TaskManager().task_index, read_index()
    assert set(theirs) == set(ours)
    assert {n: str(e.yaml_path or "") for n, e in theirs.items()} == {
        n: e.path for n, e in ours.items()
    }


def test_reading_it_imports_nothing_heavy(definitions):
    read_index()  # built, if it was not
    code = (
        "import sys\n"
        "from evalkit.tasks.lm_eval import names\n"
        "assert len(names()) > 10000\n"
        "heavy = {'lm_eval', 'datasets', 'torch', 'transformers', 'numpy', 'pandas'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_second_reading_opens_no_definition():
    from evalkit.tasks.lm_eval.index import _cache_file, _read

    read_index()
    opened, watching = [], [True]  # a hook stays for the life of the process

    def watch(event, args):
        if event == "open" and watching:
            opened.append(args[0])

    sys.addaudithook(watch)
    assert _read(_cache_file(lm_eval_folder()))
    watching.clear()
    assert opened
    assert not [path for path in opened if str(path).endswith(".yaml")]


def test_a_half_written_cache_is_built_again(tmp_path, monkeypatch):
    from evalkit.tasks.lm_eval.index import _cache_file, _read

    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path))
    file = _cache_file(lm_eval_folder())
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\x92\x01")
    assert _read(file) is None


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An lm-eval of one task, in a folder of its own; and the names that building it has read."""
    site = tmp_path / "site-packages"
    tasks = site / "lm_eval" / "tasks"
    (tasks / "one").mkdir(parents=True)
    (site / "lm_eval-1.0.dist-info").mkdir()
    (tasks / "__init__.py").touch()
    (tasks / "one" / "one.yaml").write_text("task: one\n")
    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(index, "lm_eval_folder", lambda: tasks)
    monkeypatch.setattr(index, "installed_version", lambda name: "1.0")
    built, build = [], index.build_index

    def counted(root, strict=False):
        built.append(build(root, strict))
        return built[-1]

    monkeypatch.setattr(index, "build_index", counted)
    index._shipped_index.cache_clear()
    yield tasks, built
    index._shipped_index.cache_clear()


def in_a_new_process():
    index._shipped_index.cache_clear()
    return set(read_index())


def test_it_is_built_once_for_an_installation(installed):
    assert [in_a_new_process() for _ in range(3)] == [{"one"}] * 3
    assert len(installed[1]) == 1


@pytest.mark.parametrize("change", ["version", "folder", "reinstalled"])
def test_it_is_built_again_for_another_installation(installed, monkeypatch, change):
    tasks, built = installed
    in_a_new_process()
    (tasks / "one" / "two.yaml").write_text("task: two\n")
    if change == "version":
        monkeypatch.setattr(index, "installed_version", lambda name: "1.1")
    elif change == "folder":
        (tasks / "three").mkdir()
    else:
        os.utime(tasks / "__init__.py", ns=(1, 1))
    assert in_a_new_process() == {"one", "two"}
    assert len(built) == 2


def test_python_writing_its_caches_is_no_change(installed):
    in_a_new_process()
    (installed[0] / "__pycache__").mkdir()
    in_a_new_process()
    assert len(installed[1]) == 1


def test_in_a_checkout_an_edited_definition_is_a_change(installed):
    tasks, built = installed
    (tasks.parents[1] / "lm_eval-1.0.dist-info").rmdir()
    in_a_new_process()
    in_a_new_process()
    assert len(built) == 1
    definition = tasks / "one" / "one.yaml"
    definition.write_text("task: another\n")
    os.utime(definition, ns=(1, 1))
    assert in_a_new_process() == {"another"}


def test_looking_a_name_up_decodes_no_other(installed):
    (installed[0] / "one" / "two.yaml").write_text("task: two\n")
    known = read_index()
    assert (known["two"].kind, set(known._read)) == ("task", {"two"})


def test_a_listing_says_of_every_name_what_its_entry_says(definitions):
    known = read_index([definitions])
    lines = known.lines()
    assert len(lines) == len(known)
    for name in ("mmlu", "gsm8k", "tiny_facts", "tiny_tag"):
        entry, line = known[name], lines[name]
        assert (line.name, line.kind, line.title, line.category) == (
            *(entry.name, entry.kind, entry.title, entry.category),
        )


def test_includes_are_merged_and_the_files_own_keys_win(definitions):
    entry = build_index(definitions)["tiny_mutual"]
    assert (entry.output_type, entry.metrics) == ("multiple_choice", ["acc", "acc_mutual_info"])


def test_the_users_definitions_win(tmp_path):
    (tmp_path / "mine.yaml").write_text("task: arc_easy\noutput_type: generate_until\n")
    assert read_index([tmp_path])["arc_easy"].path == str(tmp_path / "mine.yaml")


def test_a_broken_file_of_the_users_is_named_with_its_line(tmp_path):
    (tmp_path / "mine.yaml").write_text("task: x\nmetric_list: [\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml:3: is not YAML"):
        read_index([tmp_path])


def test_a_file_that_includes_itself_is_refused(tmp_path):
    (tmp_path / "mine.yaml").write_text("task: x\ninclude: mine.yaml\n")
    with pytest.raises(ConfigError, match="includes itself"):
        read_index([tmp_path])


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a folder"):
        read_index([tmp_path / "none"])


def test_what_is_known_of_a_task_without_its_rows():
    known = adapter.info("arc_easy")
    assert (known.modes, known.source) == (("loglikelihood", "letter"), "allenai/ai2_arc")
    assert known.metrics == ("acc", "acc_norm")


def test_a_wrong_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="arc_easy"):
        adapter.info("arc_eazy")
