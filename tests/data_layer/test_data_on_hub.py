"""Against a fake hub: the real clients of datasets and the hub, in a process of their own.

The clients read the hub's address when they are imported, hence the process.
"""

import io
import json
import os
import subprocess
import sys

import pytest
from data_fake_hub import FakeHub

pytestmark = pytest.mark.slow  # a process that imports datasets and talks to the hub

ROWS = [{"q": "1+1", "day": "2020-01-01", "n": None}, {"q": "2+2", "day": "x", "n": 3}]
CARD = b"""---
license: mit
configs:
- config_name: main
  data_files: [{split: test, path: main/test.parquet}, {split: train, path: main/train.parquet}]
- config_name: other
  data_files: [{split: test, path: main/test.parquet}]
---
"""

PROGRAM = """
import json, sys
from pathlib import Path
from evalkit.data.hub import load
from evalkit.data.inventory import gated_on_hub
from evalkit.data.options import DataOptions
from evalkit.data.pull import DatasetRef, pull
from evalkit.errors import DataError

folder = Path(sys.argv[1])
online = DataOptions(cache=str(folder / "cache"))
offline = DataOptions(cache=online.cache, offline=True)
mirror = DataOptions(cache=online.cache, offline=True, mirror=str(folder / "mirror"))
FILES = {"test": "hf://datasets/acme/sums/data/extra.jsonl"}

def said(*names, options=online, **arguments):
    try:
        loaded = load(*names, options=options, **arguments)
    except DataError as error:
        return str(error)
    return loaded.origin.fingerprint

found = {
    "plain": said("acme/sums", "main"),
    "no config": said("acme/sums"),
    "wrong config": said("acme/sums", "man"),
    "wrong split": said("acme/sums", "main", split="dev"),
    "missing": said("acme/nope"),
    "gated": said("acme/secret"),
    "script": said("acme/old", "main"),
    "script without copy": said("acme/older", "main"),
    "partial copy": said("acme/large", "main"),
    "file": said("json", data_files=FILES),
    "stream": said("acme/sums", "main", split="test", streaming=True),
    "cached": said("acme/sums", "main", options=offline),
    "not cached": said("acme/sums", "other", options=offline),
}
refs = [
    DatasetRef(path="acme/sums", config="main", splits=("train", "test")),
    DatasetRef(path="acme/old", config="main"),
    DatasetRef(path="acme/secret"),
    DatasetRef(path="acme/nope"),
    DatasetRef(path="json", data_files=FILES),
]
found["pulled"] = [result.state for result in pull(refs, folder / "mirror", online)]
found["is gated"] = gated_on_hub("acme/secret")
found["mirrored"] = list(load("acme/sums", "main", options=mirror).data["test"])
found["mirrored script"] = list(load("acme/old", "main", options=mirror).data["test"])
found["mirrored file"] = said("json", data_files=FILES, options=mirror)
print(json.dumps(found))
"""


def parquet(rows: list[dict]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet

    content = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), content)
    return content.getvalue()


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("hub")
    sums = {
        "README.md": CARD,
        "main/test.parquet": parquet(ROWS),
        "main/train.parquet": parquet(ROWS[:1]),
        "data/extra.jsonl": b'{"a": 1}\n',
    }
    branch = "refs/convert/parquet"
    script = {"README.md": b"", "old.py": b"", "older.py": b"", "large.py": b""}
    hub = FakeHub(
        {
            "acme/sums": {"main": sums},
            "acme/old": {"main": script, branch: {"main/test/0000.parquet": parquet(ROWS)}},
            "acme/older": {"main": script},
            "acme/large": {"main": script, branch: {"main/partial-test/0000.parquet": b""}},
            "acme/secret": {"main": {}},
        },
        {"acme/secret"},
    )
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_XET": "1"}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "EVALKIT_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        env={**kept, **settings},
        capture_output=True,
        text=True,
        timeout=120,
    )
    hub.close()
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


MAIN, CONVERTED = FakeHub.commit("main"), FakeHub.commit("refs/convert/parquet")


@pytest.mark.parametrize(
    ("case", "fingerprint"),
    [
        ("plain", f"hub:acme/sums@{MAIN}"),
        ("cached", f"hub:acme/sums@{MAIN}"),
        ("stream", f"hub:acme/sums@{MAIN}"),
        ("script", f"hub:acme/old@{CONVERTED}"),
        ("file", f"hub:hf://datasets/acme/sums@{MAIN}/data/extra.jsonl"),
    ],
)
def test_the_fingerprint_names_the_commit(found, case, fingerprint):
    assert found[case] == fingerprint


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("no config", "needs a config name; it has main, other"),
        ("wrong config", "has no config 'man'; did you mean 'main'?"),
        ("wrong split", "has no such split; it has test, train"),
        ("missing", "is not on the hub, or it is private: check the name, or run: hf auth login"),
        ("gated", "is gated: accept its terms at"),
        ("script without copy", "is a loading script"),
        ("partial copy", "converted only a part of its split 'test'"),
        ("not cached", "with a network, run: evalkit data pull --dataset acme/sums:other"),
    ],
)
def test_a_refusal_is_one_sentence_with_the_next_step(found, case, sentence):
    assert sentence in found[case] and "\n" not in found[case]


def test_pulling_says_what_became_of_each(found):
    assert found["pulled"] == ["fetched", "fetched", "gated", "failed", "fetched"]


def test_the_hub_says_that_a_dataset_is_gated(found):
    assert found["is gated"] is True


@pytest.mark.parametrize("case", ["mirrored", "mirrored script"])
def test_a_mirror_gives_the_rows_of_the_hub(found, case):
    assert found[case] == ROWS


def test_a_mirror_stands_for_a_data_file(found):
    assert found["mirrored file"].startswith("mirror:")
