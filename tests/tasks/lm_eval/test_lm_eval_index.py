"""Names, kinds and definitions, found without lm-eval."""

import subprocess
import sys

import pytest

from evalkit.errors import ConfigError, InputError, UnknownNameError
from evalkit.tasks import lm_eval as adapter
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
