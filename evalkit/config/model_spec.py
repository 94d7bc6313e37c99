"""How a model is named: `provider/name?key=value&key=value`, or an alias from a config file.

Examples: `openai/gpt-4o`, `anthropic/claude-3-5-sonnet-latest?max_tokens=4096`,
`vllm/meta-llama/Llama-3.1-8B-Instruct?base_url=http://localhost:8000/v1`,
`hf/./my-model?dtype=bfloat16`, `llamacpp/smollm2-135m-instruct`.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote

import msgspec

from evalkit.errors import InputError, UnknownNameError
from evalkit.records import Record


class ModelSpec(Record, frozen=True, kw_only=True):
    """What a user wrote to name a model; `name` may hold slashes; `alias` is what tables show."""

    provider: str
    name: str
    params: dict[str, Any] = {}
    alias: str = ""

    @property
    def label(self) -> str:
        """The name that tables and folders show; of a local path only its last part."""
        if self.alias:
            return self.alias
        is_path = self.name.startswith(("/", "./", "../", "~"))
        return f"{self.provider}/{PurePath(self.name).name if is_path else self.name}"


Params = TypeVar("Params", bound=Record)


def parse_model_spec(text: str) -> ModelSpec:
    """The spec that `text` writes.

    Raises:
        InputError: There is no provider, no name, or a parameter without a value.
    """
    path, _, query = text.strip().partition("?")
    provider, slash, name = path.partition("/")
    if not provider or not slash or not name:
        raise InputError(
            f"Model {text!r} is not of the form provider/name, for example "
            "openai/gpt-4o or vllm/my-model?base_url=http://localhost:8000/v1"
        )
    return ModelSpec(provider=provider, name=unquote(name), params=_parse_query(text, query))


def _parse_query(text: str, query: str) -> dict[str, str]:
    if not query:
        return {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise InputError(
            f"Model {text!r}: what follows '?' must be key=value pairs joined by '&'"
        ) from None
    for key in {key for key, _ in pairs if [k for k, _ in pairs].count(key) > 1}:
        raise InputError(f"Model {text!r} sets {key!r} twice")
    return dict(pairs)


def read_params(spec: ModelSpec, into: type[Params]) -> Params:
    """`spec.params` as the typed parameters of an adapter.

    Raises:
        UnknownNameError: A key that the adapter does not know; offers the nearest.
        InputError: A value of the wrong type.
    """
    known = into.__struct_fields__
    for key in spec.params:
        if key not in known:
            raise UnknownNameError(
                f"parameter of {spec.provider}/", key, known, f"Known: {', '.join(sorted(known))}."
            )
    try:
        return msgspec.convert(spec.params, into, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(f"Model {spec.label!r}: {error}") from None
