"""YAML files read into typed records, with errors that name file, line and key.

`read_yaml(path, into)` gives a record of the class `into`, a subclass of `Definition`, whose
unknown keys are errors. A key that stands twice is an error too: plain YAML would keep the last.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml
from msgspec import inspect as types

from evalkit.errors import ConfigError
from evalkit.records import Record

#: A place in a document: keys of mappings and positions in lists, from the root.
KeyPath = tuple[str | int, ...]

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"
_UNKNOWN_FIELD = re.compile(r"unknown field `(?P<key>[^`]*)`")
_PLACE = re.compile(r" - at (?:`key` in )?`(?P<place>\$[^`]*)`$")
_STEP = re.compile(r"\.(?P<key>[^.\[\]]+)|\[(?P<index>\d+)\]")


class Definition(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all records that are read from YAML: a key it does not know is an error."""


T = TypeVar("T")


class Document(Record, frozen=True, kw_only=True):
    """A YAML document as plain values, and the line that each key stands on."""

    path: str
    value: Any
    lines: dict[KeyPath, int]

    def line(self, place: KeyPath) -> int:
        """The line of `place`, or of the nearest thing around it that is in the file."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def error(self, message: str, *place: str | int) -> ConfigError:
        """The error that says `message` of `place`."""
        return ConfigError(message, path=self.path, line=self.line(place))


def read_yaml(path: str | Path, into: type[T]) -> T:
    """The file at `path` as a record of the class `into`.

    Raises:
        ConfigError: The file cannot be read, is not YAML, or does not fit `into`.
    """
    return convert(read_document(path), into)


def read_document(path: str | Path) -> Document:
    """The file at `path` as plain values with their lines.

    Raises:
        ConfigError: The file cannot be read or is not YAML.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"cannot be read: {reason}", path=str(path)) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 text: {error.reason}", path=str(path)) from None
    return parse_document(text, str(path))


def parse_document(text: str, path: str = "") -> Document:
    """`text` as plain values with their lines; `path` is what errors call it.

    Raises:
        ConfigError: It is not YAML, has a key twice, or holds itself.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines = {} if node is None else _line_numbers(node, path)
        value = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, path) from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise ConfigError(f"is not valid YAML: {_one_line(error)}", path=path) from None
    except RecursionError:
        raise ConfigError("is not valid YAML: nested too deeply", path=path) from None
    finally:
        loader.dispose()
    return Document(path=path, value=value, lines=lines)


def convert(document: Document, into: type[T]) -> T:
    """The values of `document` as a record of the class `into`.

    Raises:
        ConfigError: They do not fit; names line and key, and for an unknown key the nearest one.
    """
    if document.value is None:
        raise document.error("is empty")
    if not isinstance(document.value, dict):
        raise document.error("must be a mapping of keys to values at its top level")
    try:
        return msgspec.convert(document.value, into)
    except msgspec.ValidationError as error:
        raise _explained(document, str(error), into) from None


def _line_numbers(root: yaml.Node, path: str) -> dict[KeyPath, int]:
    """The line of every key and list item, refusing repeated keys and aliases of themselves."""
    lines: dict[KeyPath, int] = {}
    seen: set[int] = set()

    def walk(node: yaml.Node, place: KeyPath, around: frozenset[int]) -> None:
        if id(node) in around:
            raise ConfigError("an alias holds itself", path=path, line=lines[place])
        if id(node) in seen:  # an alias: its lines are where its anchor stands
            return
        seen.add(id(node))
        for key, line, child in _children(node, path):
            lines[(*place, key)] = line
            walk(child, (*place, key), around | {id(node)})

    lines[()] = root.start_mark.line + 1
    walk(root, (), frozenset())
    return lines


def _children(node: yaml.Node, path: str) -> Iterator[tuple[str | int, int, yaml.Node]]:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield index, item.start_mark.line + 1, item
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            line, name = key.start_mark.line + 1, str(key.value)
            if name in first and key.tag != _MERGE:
                message = f"key {name!r} stands twice (first on line {first[name]})"
                raise ConfigError(message, path=path, line=line)
            first[name] = line
            yield name, line, value


def _syntax_error(error: yaml.MarkedYAMLError, path: str) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    what = ", ".join(part for part in (error.context, error.problem) if part)
    message = f"is not valid YAML: {what or _one_line(error)}"
    return ConfigError(message, path=path, line=mark.line + 1 if mark else 0)


def _explained(document: Document, message: str, into: Any) -> ConfigError:
    """What msgspec found wrong, in words that name the key, and the nearest known one."""
    found = _PLACE.search(message)
    place = _key_path(found["place"]) if found else ()
    what = message[: found.start()] if found else message
    if unknown := _UNKNOWN_FIELD.search(what):
        return _unknown_key(document, place, unknown["key"], into)
    what = what.replace("Object missing required field", "missing the key").replace("`", "'")
    where = f"{_spelled(place)}: " if place else ""
    return document.error(f"{where}{what[0].lower()}{what[1:]}", *place)


def _unknown_key(document: Document, place: KeyPath, key: str, into: Any) -> ConfigError:
    known = sorted(_known_keys(types.type_info(into), place))
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    advice = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
    where = f" in {_spelled(place)}" if place else ""
    return document.error(f"unknown key {key!r}{where}; {advice}", *place, key)


def _known_keys(kind: types.Type, place: KeyPath) -> set[str]:
    """The keys that a record at `place` inside `kind` may have."""
    if isinstance(kind, types.UnionType):
        return set().union(*(_known_keys(member, place) for member in kind.types))
    if isinstance(kind, types.StructType):
        fields = {field.encode_name: field.type for field in kind.fields}
        if not place:
            return set(fields)
        inner = fields.get(str(place[0]))
        return _known_keys(inner, place[1:]) if inner else set()
    if isinstance(kind, types.DictType) and place:
        return _known_keys(kind.value_type, place[1:])
    if isinstance(kind, types.DictType):
        return _known_keys(kind.value_type, ())
    if isinstance(kind, (types.ListType, types.VarTupleType)) and place:
        return _known_keys(kind.item_type, place[1:])
    return set()


def _key_path(place: str) -> KeyPath:
    """`$.a[1].b` as ('a', 1, 'b'); what lies under the unnamed key of a mapping is left out."""
    named = place.partition("[...]")[0]
    return tuple(step["key"] or int(step["index"]) for step in _STEP.finditer(named))


def _spelled(place: KeyPath) -> str:
    parts = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return repr("".join(parts).lstrip("."))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
