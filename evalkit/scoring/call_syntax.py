"""Function calls read from an answer: Python syntax in its text, or structured tool calls.

The text is parsed, never evaluated. Read as the Berkeley Function Calling Leaderboard does
(Patil et al., 2025; bfcl-eval 2026.3.23): keyword arguments only, names stand for themselves as
text, a call as an argument becomes a mapping of its own.
"""

from __future__ import annotations

import ast
import json
import operator
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from evalkit.records import Record, ToolCall

#: Longer answers are no list of calls, and deep ones would exhaust the parser.
_MAX_CHARS = 20_000
_MAX_NUMBER = 1e30
_FENCE = re.compile(r"```[\w-]*\n?(.*?)```", re.DOTALL)
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class Call(Record, frozen=True, kw_only=True):
    """A call with its arguments as Python values."""

    name: str
    arguments: dict[str, Any]


def parse_calls(text: str) -> list[Call] | None:
    """The calls that `text` writes as `[f(a=1), g(b="x")]` or `f(a=1)`; None if it writes none.

    A code fence around them, or text before and after a bracketed list, is passed over.
    """
    for candidate in _candidates(text[:_MAX_CHARS]):
        calls = _parse(candidate)
        if calls is not None:
            return calls
    return None


def structured_calls(calls: Sequence[ToolCall]) -> list[Call] | None:
    """The calls of a provider's tool interface; None where arguments are not a JSON object."""
    read = []
    for call in calls:
        try:
            arguments = json.loads(call.arguments or "{}")
        except (ValueError, RecursionError):
            return None
        if not isinstance(arguments, dict):
            return None
        read.append(Call(name=call.name, arguments=arguments))
    return read


def _candidates(text: str) -> list[str]:
    fenced = [match[1] for match in _FENCE.finditer(text)]
    places = [*reversed(fenced), text]
    start, end = text.find("["), text.rfind("]")
    if 0 <= start < end:
        places.append(text[start : end + 1])
    if text.lstrip("`\n ").startswith("["):
        places.append(text.rstrip("`\n ") + "]")  # the list was not closed
    return [place.strip().strip("`").strip() for place in places]


def _parse(text: str) -> list[Call] | None:
    if not text:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the parser thinks of a model's escapes
            body = ast.parse(text, mode="eval").body
        nodes = body.elts if isinstance(body, (ast.List, ast.Tuple)) else [body]
        return [_call(node) for node in nodes]
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        return None


def _call(node: ast.expr) -> Call:
    if not isinstance(node, ast.Call):
        raise ValueError("not a call")
    named = {word.arg: _value(word.value) for word in node.keywords if word.arg is not None}
    return Call(name=_dotted(node.func), arguments=named)


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    if isinstance(node, ast.Name):
        return node.id
    raise ValueError("not a name")


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return _constant(node.value)
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.Dict):
        return _mapping(node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _number(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_number(node.left), _number(node.right))
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Call) and node.keywords:
        inner = _call(node)
        return {inner.name: inner.arguments}
    return ast.unparse(node)


def _mapping(node: ast.Dict) -> dict[Any, Any]:
    if any(key is None for key in node.keys):
        raise ValueError("a mapping is unpacked into another")
    keys = [_value(key) for key in node.keys if key is not None]
    if any(isinstance(key, (list, dict)) for key in keys):
        raise ValueError("a key is not a plain value")
    return dict(zip(keys, map(_value, node.values), strict=True))


def _constant(value: Any) -> Any:
    if value is Ellipsis:
        return "..."
    if isinstance(value, (bytes, complex)):
        raise ValueError("no argument is of this type")
    return value


def _number(node: ast.expr) -> Any:
    """A number, or numbers combined, of a size that arguments have."""
    value = _value(node)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("not a number")
    if not abs(value) < _MAX_NUMBER:
        raise ValueError("larger than any argument")
    return value
