"""What adapters of API models share: reading their parameters, saying who they are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import msgspec

from evalkit.config.model_spec import ModelSpec
from evalkit.errors import InputError, MissingKeyError
from evalkit.records import Record


def json_object(value: str | dict[str, Any], label: str, name: str) -> dict[str, Any]:
    """A parameter that is a JSON object, written as such or as its text; empty if unset.

    Raises:
        InputError: It is neither.
    """
    if isinstance(value, dict):
        return value
    if not value:
        return {}
    try:
        return msgspec.json.decode(value, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise InputError(
            f"Model {label!r}: {name} must be a JSON object such as "
            f'{{"top_k": 5}}, not {value!r} ({error})'
        ) from None


def read_key(variable: str, label: str) -> str:
    """The key in the environment variable `variable`.

    Raises:
        MissingKeyError: It is not set.
    """
    key = os.environ.get(variable, "").strip()
    if not key:
        raise MissingKeyError(
            f"Model {label!r} needs a key in the environment variable {variable}: "
            f"export {variable}=..."
        )
    return key


def identity_of(
    spec: ModelSpec, params: Record, *, base_url: str = "", leave_out: Sequence[str] = ()
) -> dict[str, str]:
    """Everything of a spec that can change an answer, as texts.

    Args:
        spec: The model's spec.
        params: Its typed parameters; those at their defaults say nothing.
        base_url: The address, where it is not the provider's own.
        leave_out: Parameters that cannot change an answer.
    """
    identity = {"provider": spec.provider, "model": spec.name}
    if base_url:
        identity["base_url"] = base_url
    for name, value in msgspec.to_builtins(params).items():
        if name not in leave_out:
            identity[name] = (
                value if isinstance(value, str) else msgspec.json.encode(value).decode()
            )
    return identity


def estimate_tokens(text: str) -> int:
    """About how many tokens `text` has: four bytes of UTF-8 each, rounded up."""
    return (len(text.encode()) + 3) // 4
