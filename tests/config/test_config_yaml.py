from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.config.yaml import Definition, parse_document, read_yaml
from evalkit.errors import ConfigError


class Inner(Definition, frozen=True, kw_only=True):
    limit: int = 0
    names: tuple[str, ...] = ()


class Outer(Definition, frozen=True, kw_only=True):
    name: str
    inner: Inner = Inner()
    items: tuple[Inner, ...] = ()
    table: dict[str, Inner] = {}
    either: str | Inner | None = None


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "it.yaml"
        path.write_text(text)
        return read_yaml(path, Outer)

    return read


def test_reads_a_file_into_a_record(read):
    assert read("name: a\ninner: {limit: 3}") == Outer(name="a", inner=Inner(limit=3))


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("name: a\nitms: []", 2, "unknown key 'itms'; did you mean 'items'?"),
        ("name: a\ninner:\n  limt: 3", 3, "unknown key 'limt' in 'inner'; did you mean 'limit'?"),
        (
            "name: a\nitems:\n- limit: 1\n- nmes: []",
            4,
            "'nmes' in 'items[1]'; did you mean 'names'",
        ),
        ("name: a\ntable:\n  k: {limt: 1}", 2, "unknown key 'limt' in 'table'; did you mean 'lim"),
        ("name: a\neither:\n  qqqqqq: 1", 3, "unknown key 'qqqqqq' in 'either'; known keys: limi"),
        ("name: a\nitems:\n- limit: 1\n- limit: x", 4, "'items[1].limit': expected 'int'"),
        ("inner: {}", 1, "missing the key 'name'"),
        ("name: a\nname: b", 2, "key 'name' stands twice (first on line 1)"),
        ("name: a\ninner:\n  limit: 1\n  limit: 2", 4, "key 'limit' stands twice"),
        ("name: a\nitems: ]", 2, "is not valid YAML"),
        ("name: 'a", 1, "is not valid YAML"),
        ("- a", 1, "must be a mapping"),
        ("", 1, "is empty"),
        ("name: &a [*a]", 1, "an alias holds itself"),
        ("name: !!python/object:os.system x", 1, "could not determine a constructor"),
        ("name: a\nother: 2024-13-45", 0, "is not valid YAML: month must be in 1..12"),
    ],
)
def test_wrong_yaml_is_named_by_line_and_key(read, text, line, says):
    with pytest.raises(ConfigError) as raised:
        read(text)
    assert says in str(raised.value)
    assert raised.value.line == line
    assert raised.value.path.endswith("it.yaml")


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        read_yaml(tmp_path / "none.yaml", Outer)


def test_a_file_that_is_not_text_is_one_sentence(tmp_path):
    (tmp_path / "it.yaml").write_bytes(b"name: \xff")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_yaml(tmp_path / "it.yaml", Outer)


def test_merged_anchors_are_read(read):
    text = "name: a\ninner: &base {limit: 4}\nitems:\n- {<<: *base}\n- {<<: *base, limit: 5}"
    assert [item.limit for item in read(text).items] == [4, 5]


@given(st.text())
def test_any_text_is_read_or_refused(text):
    with suppress(ConfigError):
        parse_document(text)
