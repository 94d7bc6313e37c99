import datasets
import pytest

from evalkit.data.hub import load, load_dataset
from evalkit.data.mirror import Mirror
from evalkit.data.redirect import redirected
from evalkit.errors import DataError

SUMS = "acme/sums"


def test_all_splits_come_in_a_dataset_dict(options):
    data = load_dataset(SUMS, "main", options=options)
    assert isinstance(data, datasets.DatasetDict)
    assert {name: len(rows) for name, rows in data.items()} == {"train": 4, "test": 10}


@pytest.mark.parametrize(
    ("split", "rows"),
    [("test", 10), ("test[:3]", 3), ("test[50%:]", 5), ("train+test", 14), ("all", 14)],
)
def test_a_split_is_written_as_for_the_hub(options, split, rows):
    assert len(load_dataset(SUMS, "main", split=split, options=options)) == rows


def test_a_list_of_splits_gives_a_list(options):
    data = load_dataset(SUMS, "main", split=["train", "test[:1]"], options=options)
    assert [len(rows) for rows in data] == [4, 1]


def test_streaming_gives_an_iterable(options):
    data = load_dataset(SUMS, "main", split="test", streaming=True, options=options)
    assert next(iter(data))["question"] == "0+0?"


def test_data_files_on_the_hub_are_read_from_the_mirror(options):
    files = {"validation": "hf://datasets/acme/files/data/two_digit.jsonl"}
    assert len(load_dataset("json", data_files=files, options=options)["validation"]) == 5


def test_data_files_of_a_repository_are_read_from_the_mirror(options):
    files = {"validation": "data/two_digit.jsonl"}
    assert len(load_dataset("acme/files", data_files=files, options=options)["validation"]) == 5


def test_the_fingerprint_is_the_checksum_of_the_file(options, mirror_root):
    mirror = Mirror(mirror_root)
    sha256 = mirror.verified(mirror_root / "hub/acme/sums/main/test.jsonl.gz").sha256
    origin = load(SUMS, "main", split="test", options=options).origin
    assert origin.fingerprint == f"mirror:{sha256}"


def test_what_is_not_whole_is_noted(options):
    assert load(SUMS, "main", options=options).origin.notes == ("train: first 4 rows",)


def test_a_split_that_the_mirror_lacks_is_named_when_it_is_read(options):
    data = load_dataset(SUMS, "main", options=options)
    with pytest.raises(DataError, match="no split 'dev' of dataset 'acme/sums': it has train, tes"):
        data["dev"]


@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        (SUMS, {"name": "hrad"}, r"it has the configs hard, main.*--dataset acme/sums:hrad"),
        (SUMS, {"name": "main", "split": "dev"}, "it has the splits train, test"),
        (SUMS, {"name": "main", "split": "test["}, "is not written as"),
        ("acme/none", {}, "evalkit is offline; with a network, run: evalkit data pull"),
        ("json", {"data_files": "https://example.org/x.json"}, "is in no mirror"),
        ("json", {"data_files": "no/such/file.json"}, "There is no data file no/such/file.json"),
        (SUMS, {"name": "../main"}, "not a plain file name"),
    ],
)
def test_what_cannot_be_had_is_said_in_a_sentence(options, path, arguments, message):
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(path, options=options, **arguments)
    assert "\n" not in str(caught.value)


def test_local_files_are_read(options, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    loaded = load("json", data_files=str(tmp_path / "rows.jsonl"), options=options)
    assert loaded.data["train"]["a"][:] == [1, 2]
    assert loaded.origin.fingerprint.startswith("file:")


def test_an_altered_mirror_is_refused_even_when_its_rows_are_cached(options, mirror_root):
    load(SUMS, "hard", options=options)
    path = mirror_root / "hub/acme/sums/hard/test.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(DataError, match="altered"):
        load(SUMS, "hard", options=options)


def test_calls_of_datasets_are_redirected_and_recorded(options):
    with redirected(options) as origins:
        datasets.load_dataset(path=SUMS, name="main", trust_remote_code=True)
        datasets.load_dataset("acme/solo", split="test")
    assert [(o.dataset, o.config, o.split) for o in origins] == [
        (SUMS, "main", ""),
        ("acme/solo", "", "test"),
    ]


def test_other_threads_are_not_redirected(options, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    file = tmp_path / "rows.jsonl"
    file.write_text('{"a": 1}\n')
    with ThreadPoolExecutor(1) as pool, redirected(options) as origins:
        pool.submit(datasets.load_dataset, "json", data_files=str(file)).result()
    assert origins == []


def test_datasets_has_its_own_function_back_afterwards(options):
    before = datasets.load_dataset
    with pytest.raises(DataError), redirected(options), redirected(options):
        datasets.load_dataset("acme/none")
    assert datasets.load_dataset is before


def test_a_function_imported_within_works_afterwards(options, tmp_path):
    with redirected(options):
        from datasets import load_dataset as kept
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n')
    assert len(kept("json", data_files=str(tmp_path / "rows.jsonl"), split="train")) == 1
