"""The tiny definitions, and where their rows come from."""

import shutil
import warnings
from pathlib import Path

import pytest

from evalkit.data.options import DataOptions

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what others' packages say on import is not ours to fix
    pytest.importorskip("lm_eval.tasks")

ROWS = Path(__file__).parents[2] / "data" / "lm_eval"


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    """lm-eval would bootstrap in a pool of processes."""
    monkeypatch.setenv("DISABLE_MULTIPROC", "1")


@pytest.fixture(scope="session")
def definitions(tmp_path_factory):
    """A folder of tiny definitions that read their rows from itself."""
    folder = tmp_path_factory.mktemp("definitions")
    for file in ROWS.iterdir():
        if file.suffix == ".jsonl":
            shutil.copy(file, folder)
        elif file.suffix in (".yaml", ".py"):
            text = file.read_text(encoding="utf-8").replace("DATA/", f"{folder}/")
            (folder / file.name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def data(tmp_path):
    return DataOptions(offline=True, cache=str(tmp_path))
