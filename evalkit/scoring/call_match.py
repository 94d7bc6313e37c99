"""Whether function calls are the right ones, by the rules of BFCL's checker for Python.

After the abstract-syntax-tree check of the Berkeley Function Calling Leaderboard (Patil et al.,
2025; bfcl-eval 2026.3.23, eval_checker/ast_eval), in words of our own: a parameter has a list of
accepted values, "" among them makes it optional; texts are compared without case, spaces and
some punctuation; an integer passes for a float, nothing passes for an integer; a value whose
type is that of the accepted values, though not the documented one, stands for a variable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.scoring.call_syntax import Call

_TYPES: dict[str, type] = {
    "string": str,
    "integer": int,
    "float": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
    "any": str,
}
_IGNORED = re.compile(r"[ ,./\-_*^]")

Function = Mapping[str, Any]
Expected = Mapping[str, Mapping[str, Sequence[Any]]]


def mismatch(
    functions: Sequence[Function],
    calls: Sequence[Call],
    expected: Sequence[Expected],
    plain_names: bool = False,
) -> str | None:
    """None if `calls` are the expected ones in any order, else what is wrong.

    Args:
        functions: The documented functions.
        calls: What the model called.
        expected: For each expected call, the function's name with its accepted arguments.
        plain_names: Whether dots in names were replaced by underscores, as a provider's tool
            interface demands.
    """
    if len(calls) != len(expected):
        return f"{len(calls)} calls where {len(expected)} are right"
    left = list(calls)
    for wanted in expected:
        name = next(iter(wanted))
        function = _find(functions, name)
        reasons = [_call_mismatch(function, call, name, wanted[name], plain_names) for call in left]
        if None not in reasons:
            return reasons[0] if len(reasons) == 1 else f"no call matches the expected {name}"
        left.pop(reasons.index(None))
    return None


def plain_name(name: str) -> str:
    """A function's name as a provider's tool interface takes it."""
    return name.replace(".", "_")


def standardised(text: str) -> str:
    """A text as it is compared: no case, no spaces, no `,./-_*^`, one kind of quote."""
    return _IGNORED.sub("", text).lower().replace("'", '"')


def _find(functions: Sequence[Function], name: str) -> Function:
    found = next((function for function in functions if function["name"] == name), None)
    return found if found is not None else functions[0]


def _call_mismatch(
    function: Function,
    call: Call,
    name: str,
    accepted: Mapping[str, Sequence[Any]],
    plain_names: bool,
) -> str | None:
    wanted = plain_name(name) if plain_names else name
    if call.name != wanted:
        return f"calls {call.name!r}, not {wanted!r}"
    documented = function["parameters"]["properties"]
    for required in function["parameters"].get("required", ()):
        if required not in call.arguments:
            return f"lacks the required argument {required!r}"
    for key, value in call.arguments.items():
        if key not in documented or key not in accepted:
            return f"has the unexpected argument {key!r}"
        if not _argument_fits(value, accepted[key], documented[key]):
            return f"argument {key!r} is {value!r}, not one of {accepted[key]!r}"
    for key, values in accepted.items():
        if key not in call.arguments and "" not in values:
            return f"lacks the argument {key!r}"
    return None


def _argument_fits(value: Any, accepted: Sequence[Any], documented: Mapping[str, Any]) -> bool:
    described = documented["type"]
    kind = _TYPES.get(described, str)
    item_kind = None
    if described in ("array", "tuple"):
        item_kind = _TYPES.get(documented.get("items", {}).get("type", ""))
    if described == "tuple" and isinstance(value, tuple):
        value = list(value)
    if described == "float" and type(value) is int:
        value = float(value)
    if not _type_fits(value, accepted, kind, item_kind):
        return False
    if _accepted_type(accepted) not in (None, kind):  # a variable: no rules of its type apply
        return value in accepted
    return _value_fits(value, accepted, kind, item_kind)


def _value_fits(value: Any, accepted: Sequence[Any], kind: type, item_kind: type | None) -> bool:
    if kind is dict:
        return any(_dict_fits(value, one) for one in accepted)
    if kind is list and item_kind is dict:
        return any(_dicts_fit(value, one) for one in accepted)
    if kind is str:
        return standardised(value) in (standardised(a) for a in accepted if isinstance(a, str))
    if kind is list:
        return any(_standard_items(value) == _standard_items(one) for one in accepted)
    return value in accepted


def _type_fits(value: Any, accepted: Any, kind: type, item_kind: type | None) -> bool:
    if type(value) is kind and item_kind is None:
        return True
    if type(value) is kind:
        return any(_items_fit(value, one, item_kind) for one in accepted)
    wanted = _accepted_type(accepted)
    return wanted is not None and type(value) is wanted


def _items_fit(value: Any, accepted: Any, item_kind: Any) -> bool:
    if not isinstance(accepted, list):
        return True
    return all(_type_fits(item, accepted, item_kind, None) for item in value)


def _accepted_type(accepted: Sequence[Any]) -> type | None:
    return next((type(value) for value in accepted if value != ""), None)


def _standard_items(items: Any) -> list[Any] | None:
    """The items of a list with its texts standardised; "" (may be left out) equals no items."""
    if not isinstance(items, (list, tuple, str)):
        return None
    return [standardised(item) if isinstance(item, str) else item for item in items]


def _dict_fits(value: Any, accepted: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(accepted, Mapping):
        return False
    for key, item in value.items():
        if key not in accepted:
            return False
        item = standardised(item) if isinstance(item, str) else item
        if item not in (_standard_items(accepted[key]) or ()):
            return False
    return all(key in value or "" in values for key, values in accepted.items())


def _dicts_fit(value: Any, accepted: Any) -> bool:
    if not isinstance(accepted, (list, str)) or len(value) != len(accepted):
        return False
    return all(map(_dict_fits, value, accepted))
