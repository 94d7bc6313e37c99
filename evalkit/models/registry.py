"""Which providers there are, and how a spec becomes a model.

Providers are entry points of the group `evalkit.models`; the built-in ones are declared
through the same group. An entry point names a function `create(spec: ModelSpec) -> Model`.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from evalkit.config.model_spec import ModelSpec
from evalkit.errors import InputError, UnknownNameError
from evalkit.models.protocol import Model

_EXTRAS = {"torch": "hf", "transformers": "hf", "xllamacpp": "local"}


def providers() -> dict[str, EntryPoint]:
    """The known providers, by name."""
    return {point.name: point for point in entry_points(group="evalkit.models")}


def create_model(spec: ModelSpec) -> Model:
    """The model that `spec` names; nothing is contacted yet.

    Raises:
        UnknownNameError: No such provider, or no such parameter.
        MissingKeyError: The provider needs a key that the environment lacks.
        InputError: The provider's libraries are not installed, or a value is wrong.
    """
    known = providers()
    if spec.provider not in known:
        hint = f"Known: {', '.join(sorted(known))}."
        raise UnknownNameError("model provider", spec.provider, known, hint)
    try:
        model: Model = known[spec.provider].load()(spec)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("evalkit"):
            raise
        raise _not_installed(spec, error) from error
    return model


def _not_installed(spec: ModelSpec, error: ModuleNotFoundError) -> InputError:
    module = (error.name or "").partition(".")[0]
    extra = _EXTRAS.get(module)
    remedy = f"pip install 'evalkit[{extra}]'" if extra else f"pip install {module}"
    return InputError(f"Model {spec.label!r} needs the package {module!r}: {remedy}")
