import json
import os
from pathlib import Path

import pytest

from evalkit.data.options import DataOptions
from evalkit.errors import DataError
from evalkit.tasks.catalogue import load, select
from evalkit.tasks.protocol import Prompting

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


@pytest.fixture
def write_task(tmp_path):
    """Write a definition (and its rows) to a folder, and give its path."""

    def write(text, rows=(), name="capitals"):
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def make_task(write_task, tmp_path):
    """Load a task from the text of its definition and its rows."""

    def make(text, rows=(), name="capitals", **prompting):
        path = write_task(text, rows, name)
        ref = select([str(path)]).tasks[0]
        return load(ref, Prompting(**prompting), DataOptions(cache=str(tmp_path / "cache")))

    return make


@pytest.fixture(scope="session")
def wheel_data():
    """Options to read data that ships in packages; skips where they are not to be had."""

    def options(name):
        task = select([name]).tasks[0]
        for offline in (True, False):
            data = DataOptions(offline=offline)
            try:
                load(task, Prompting(), data)
            except DataError as error:
                reason = str(error)
            else:
                return data
        pytest.skip(f"the data of {name} is not here: {reason}")

    return options


@pytest.fixture
def golden():
    """Compare a text with the golden file of that name; EVALKIT_UPDATE_GOLDEN=1 writes it."""

    def compare(name, text):
        path = GOLDEN / name
        if os.environ.get("EVALKIT_UPDATE_GOLDEN"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare
