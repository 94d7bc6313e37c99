import gzip
import json
from pathlib import Path

import pytest

from evalkit.data.hub import load_dataset
from evalkit.data.inventory import status, where
from evalkit.data.options import DataOptions
from evalkit.data.pull import DatasetRef, pull
from evalkit.data.upstream import Upstream
from evalkit.errors import DataError

SUMS = DatasetRef(path="acme/sums", config="main", splits=("train", "test"))
ROWS = [{"q": "1+1", "day": "2020-01-01", "n": None}, {"q": "é", "day": "x", "n": 3}]


class Shelf:
    """A source of data sets without a network; `asked` counts the visits."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, ref: DatasetRef, options: DataOptions) -> Upstream:
        self.asked.append(ref.path)
        if ref.path == "acme/secret":
            raise DataError("Dataset 'acme/secret' is gated: accept its terms")
        splits = dict.fromkeys(ref.splits or ("test",), ROWS)
        return Upstream(splits=splits, source=ref.path, commit="c" * 40, licence="mit")


@pytest.fixture
def online(tmp_path) -> DataOptions:
    return DataOptions(cache=str(tmp_path / "cache"))


def offline(mirror: Path, online: DataOptions) -> DataOptions:
    return DataOptions(mirror=str(mirror), offline=True, cache=online.cache)


def test_what_was_pulled_is_loaded_from_the_mirror(tmp_path, online):
    pull([SUMS], tmp_path / "m", online, fetch=Shelf())
    data = load_dataset("acme/sums", "main", options=offline(tmp_path / "m", online))
    assert list(data["test"]) == ROWS


def test_the_manifest_says_source_commit_and_licence(tmp_path, online):
    pull([SUMS], tmp_path, online, fetch=Shelf())
    line = json.loads((tmp_path / "MANIFEST.jsonl").read_text().splitlines()[0])
    assert (line["source_repo"], line["source_commit"], line["license"], line["rows"]) == (
        "acme/sums",
        "c" * 40,
        "mit",
        2,
    )


def test_a_second_pull_fetches_nothing(tmp_path, online):
    shelf = Shelf()
    states = [pull([SUMS], tmp_path, online, fetch=shelf)[0].state for _ in range(2)]
    assert (states, shelf.asked) == (["fetched", "present"], ["acme/sums"])


def test_a_file_that_was_altered_is_fetched_again(tmp_path, online):
    pull([SUMS], tmp_path, online, fetch=Shelf())
    (tmp_path / "hub/acme/sums/main/test.jsonl.gz").write_bytes(gzip.compress(b"{}\n"))
    assert pull([SUMS], tmp_path, online, fetch=Shelf())[0].state == "fetched"
    assert [s.state for s in status([SUMS], tmp_path)] == ["present"]


def test_other_lines_of_the_manifest_are_kept(mirror_root, online):
    before = (mirror_root / "MANIFEST.jsonl").read_text().splitlines()
    pull([DatasetRef(path="acme/new", splits=("test",))], mirror_root, online, fetch=Shelf())
    after = (mirror_root / "MANIFEST.jsonl").read_text().splitlines()
    assert after[: len(before)] == before and len(after) == len(before) + 1


def test_one_that_fails_does_not_stop_the_others(tmp_path, online):
    seen: list[str] = []
    refs = [DatasetRef(path="acme/secret"), SUMS]
    pull(refs, tmp_path, online, lambda result: seen.append(result.state), Shelf())
    assert seen == ["gated", "fetched"]


def test_a_broken_pull_leaves_no_half_file(tmp_path, online):
    def broken(ref: DatasetRef, options: DataOptions) -> Upstream:
        def rows():
            yield ROWS[0]
            raise DataError("the connection broke off")

        return Upstream(splits={"test": rows()}, source=ref.path)

    result = pull([DatasetRef(path="acme/x", splits=("test",))], tmp_path, online, fetch=broken)
    files = [path for path in tmp_path.rglob("*.gz*") if path.is_file()]
    assert (result[0].state, files) == ("failed", [])


def test_pulling_offline_is_refused(tmp_path):
    with pytest.raises(DataError, match="needs the network"):
        pull([SUMS], tmp_path, DataOptions(offline=True))


@pytest.mark.parametrize(
    "ref",
    [
        DatasetRef(path="../../etc", splits=("test",)),
        DatasetRef(path="acme/x", config="..", splits=("test",)),
        DatasetRef(path="acme/x", splits=("../test",)),
        DatasetRef(path="json", data_files={"test": "https://example.org/x.json"}),
    ],
)
def test_a_name_that_fits_no_mirror_fails_before_it_is_fetched(tmp_path, online, ref):
    shelf = Shelf()
    assert (pull([ref], tmp_path, online, fetch=shelf)[0].state, shelf.asked) == ("failed", [])


@pytest.mark.parametrize(
    ("ref", "state"),
    [
        (DatasetRef(path="acme/sums", config="main", splits=("test",)), "present"),
        (DatasetRef(path="other/sums", config="hard"), "present"),
        (SUMS, "partial"),
        (DatasetRef(path="acme/sums", config="main", splits=("dev",)), "missing"),
        (DatasetRef(path="acme/none"), "missing"),
    ],
)
def test_the_status_says_what_is_there(mirror_root, ref, state):
    assert status([ref], mirror_root)[0].state == state


def test_the_status_finds_an_altered_file(mirror_root):
    path = mirror_root / "hub/acme/sums/main/test.jsonl.gz"
    path.write_bytes(path.read_bytes() + b"x")
    found = status([SUMS], mirror_root)[0]
    assert (found.state, found.detail) == ("altered", "test: not what the manifest says")


def test_the_status_says_that_a_file_is_gone(mirror_root):
    (mirror_root / "hub/acme/solo/default/test.jsonl.gz").unlink()
    found = status([DatasetRef(path="acme/solo", splits=("test",))], mirror_root)[0]
    assert found.state == "missing" and "the file is gone" in found.detail


def test_the_status_asks_whether_what_is_missing_is_gated(mirror_root):
    ref = DatasetRef(path="acme/secret")
    assert status([ref], mirror_root, lambda path: True)[0].state == "gated"


@pytest.mark.parametrize(
    ("path", "place"), [("acme/solo", "mirror"), ("acme/none", "nowhere"), ("./x", "local")]
)
def test_where_says_where_rows_come_from(options, path, place):
    assert where(DatasetRef(path=path), options).place == place
