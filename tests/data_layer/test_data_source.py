import gzip
import hashlib
import json

import msgspec
import pytest

from evalkit.data import formats
from evalkit.data.source import RowSource, load_rows
from evalkit.errors import DataError

ROWS = [{"day": "2020-01-01", "mixed": [1, "a", None], "n": 1}, {"day": "x", "mixed": 2, "n": 2.5}]


def source(**block) -> RowSource:
    return msgspec.convert(block, RowSource)


def write(folder, name, content: bytes) -> None:
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


@pytest.mark.parametrize(
    ("name", "content", "block"),
    [
        ("rows.jsonl", LINES, {}),
        ("rows.jsonl.gz", LINES, {}),
        ("rows.txt", LINES, {"format": "jsonl"}),
        ("rows.json", json.dumps(ROWS).encode(), {}),
        ("rows.json", json.dumps({"data": {"items": ROWS}}).encode(), {"records": "data.items"}),
    ],
)
def test_rows_keep_their_types(tmp_path, options, name, content, block):
    write(tmp_path, name, content)
    assert list(load_rows(source(file=name, **block), options, tmp_path)) == ROWS


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_long_files_are_read_row_by_row(tmp_path, options, name, monkeypatch):
    monkeypatch.setattr(formats, "_IN_MEMORY_BYTES", {"plain": 0, "packed": 0})
    write(tmp_path, name, LINES + b"\n")
    rows = load_rows(source(file=name), options, tmp_path)
    assert (list(rows), rows[-1], rows[:1], len(rows)) == (ROWS, ROWS[1], ROWS[:1], 2)


def test_an_object_of_objects_is_rows_with_ids(tmp_path, options):
    write(tmp_path, "rows.json", b'{"a": {"x": 1}, "b": {"x": 2, "id": 7}}')
    rows = load_rows(source(file="rows.json"), options, tmp_path)
    assert list(rows) == [{"id": "a", "x": 1}, {"id": 7, "x": 2}]


def test_csv_fields_are_text(tmp_path, options):
    write(tmp_path, "rows.csv", '\ufeffa,b\n1,"x\ny"\n'.encode())
    assert list(load_rows(source(file="rows.csv"), options, tmp_path)) == [{"a": "1", "b": "x\ny"}]


def test_parquet_is_read(tmp_path, options):
    import datasets

    datasets.Dataset.from_list([{"a": 1}, {"a": 2}]).to_parquet(tmp_path / "rows.parquet")
    rows = load_rows(source(file="rows.parquet"), options, tmp_path)
    assert [row["a"] for row in rows] == [1, 2]


def test_hub_rows_come_with_what_is_to_be_known(options, tmp_path):
    block = {"hub": "acme/sums", "config": "main", "split": "train[:2]"}
    rows = load_rows(source(**block), options, tmp_path)
    assert (len(rows), rows.notes, rows[-1]["answer"]) == (2, ("train: first 4 rows",), "2")


def test_raw_rows_keep_mixed_types(options, tmp_path):
    rows = load_rows(source(mirror_raw="riddles", file="all"), options, tmp_path)
    assert rows[0] == {"riddle": "?", "mixed": [1, "a", None]}


def test_rows_at_a_url_are_read(site, options, tmp_path):
    sha256 = hashlib.sha256(b'[{"a": 1}]').hexdigest()
    block = {"url": {"url": f"{site.url}/rows.json", "sha256": sha256}}
    online = msgspec.structs.replace(options, offline=False)
    rows = load_rows(source(**block), online, tmp_path)
    assert (list(rows), rows.fingerprint) == ([{"a": 1}], f"url:{sha256}")


def test_a_row_beyond_the_end_is_an_index_error(tmp_path, options):
    write(tmp_path, "rows.jsonl", LINES)
    with pytest.raises(IndexError):
        load_rows(source(file="rows.jsonl"), options, tmp_path)[2]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({}, "needs one of hub, mirror_raw, wheel, url or file"),
        ({"hub": "a/b", "split": "x", "file": "y"}, "this one has hub and file"),
        ({"hub": "a/b"}, "needs a split"),
        ({"mirror_raw": "a"}, "needs a file"),
        ({"hubb": "a"}, "unknown field `hubb`"),
        ({"file": "a", "format": "xml"}, "Invalid enum value 'xml'"),
    ],
)
def test_a_block_that_is_wrong_is_refused(block, message):
    with pytest.raises(msgspec.ValidationError, match=message):
        source(**block)


@pytest.mark.parametrize(
    ("name", "content", "block", "message"),
    [
        ("rows.json", b'{"data": {}}', {"records": "data.items"}, "no 'items'"),
        ("rows.json", b'{"data": 3}', {"records": "data"}, "is not a list of objects"),
        ("rows.json", b"{", {}, "is not a JSON file"),
        ("rows.jsonl", b"[1]\n", {}, r"rows\.jsonl:1"),
        ("rows.csv", b"a,b\n1\n", {}, r"rows\.csv:2"),
        ("rows.txt", b"", {}, "add `format:`"),
        ("rows.jsonl", b"", {"records": "x"}, "for JSON files only"),
        ("rows.parquet", b"x", {}, "is not a Parquet file"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path, options, name, content, block, message):
    write(tmp_path, name, content)
    with pytest.raises(DataError, match=message):
        load_rows(source(file=name, **block), options, tmp_path)


def test_raw_rows_need_a_mirror(options, tmp_path):
    bare = msgspec.structs.replace(options, mirror="")
    with pytest.raises(DataError, match="in mirrors only"):
        load_rows(source(mirror_raw="riddles", file="all"), bare, tmp_path)
