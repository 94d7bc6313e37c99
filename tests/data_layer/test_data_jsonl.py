import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.data.arrow import arrow_dataset
from evalkit.data.jsonl import read_jsonl, write_jsonl_gz
from evalkit.errors import DataError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def loaded(tmp_path, rows, features=None):
    path = tmp_path / "rows.jsonl.gz"
    write_jsonl_gz(path, rows)
    key = str(abs(hash(json.dumps(rows))))
    return arrow_dataset(path, key, tmp_path / "cache", "test", features)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.dictionaries(TEXT, JSON, max_size=4), max_size=6))
def test_rows_come_back_from_a_file_as_they_were(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl.gz"
    write_jsonl_gz(path, rows)
    assert list(read_jsonl(path)) == rows


@settings(max_examples=60, deadline=None)
@given(values=st.lists(JSON, min_size=1, max_size=6))
def test_any_column_can_be_loaded(tmp_path_factory, values):
    rows = [{"value": value} for value in values]
    assert len(loaded(tmp_path_factory.mktemp("rows"), rows)[:]["value"]) == len(values)


@pytest.mark.parametrize(
    "values",
    [
        ["2020-01-01", "2021-02-03T04:05:06Z"],
        ["1", "2"],
        [1, None, 3],
        [None, None],
        [[["a"], []], [[]]],
        ["日本語", "\u2028", ""],
        [True, False, None],
        [{"a": 1, "b": [1.5]}, {"a": 2, "b": []}],
    ],
)
def test_a_column_keeps_its_values(tmp_path, values):
    assert loaded(tmp_path, [{"value": v} for v in values])["value"][:] == values


@pytest.mark.parametrize(
    "values",
    [[1, "a", None], ["1", 1], [True, 1], [[1], "a"], [{"a": 1}, {"a": "x"}], ['"x"', [1], "null"]],
)
def test_a_column_of_mixed_types_keeps_its_values(tmp_path, values):
    assert loaded(tmp_path, [{"value": v} for v in values])["value"][:] == values


def test_whole_numbers_among_fractions_become_fractions(tmp_path):
    assert loaded(tmp_path, [{"v": 1}, {"v": 2.5}])["v"][:] == [1.0, 2.5]


def test_a_column_that_starts_late_is_none_before(tmp_path):
    rows = [{"a": 1}] * 6000 + [{"a": 2.5, "late": "x"}]
    data = loaded(tmp_path, rows)
    assert (data[0], data[6000]) == ({"a": 1.0, "late": None}, {"a": 2.5, "late": "x"})


def test_declared_types_are_given_back(tmp_path):
    import datasets

    features = datasets.Features(
        {"day": datasets.Value("timestamp[s]"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    source = datasets.Dataset.from_list([{"day": "2020-01-02", "label": 1}]).cast(features)
    data = loaded(tmp_path, [{"day": "2020-01-02T00:00:00", "label": 1}], features.to_dict())
    assert (data[0], data.features) == (source[0], features)


def test_the_same_rows_are_the_same_bytes(tmp_path):
    for name in ("a.gz", "b.gz"):
        write_jsonl_gz(tmp_path / name, [{"a": 1}])
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_a_line_that_is_no_object_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n[1]\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:3: not a JSON object"):
        list(read_jsonl(path))


def test_a_file_that_broke_off_is_refused(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n' * 1000)[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        list(read_jsonl(path))
