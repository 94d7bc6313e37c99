"""How many tokens a request is, before it is sent."""

from __future__ import annotations

from evalkit.models.protocol import Model
from evalkit.records import Request, canonical

#: Answer tokens expected where nothing has been answered yet and the request sets no limit.
EXPECTED_OUTPUT = 256


def input_tokens(model: Model, request: Request, *, prompt_sent: bool = False) -> int:
    """Tokens of what `request` sends, as `model` counts them.

    `prompt_sent` says that the call sends its prompt with another request already.
    """
    sent = request.continuation if prompt_sent else _sent_text(request)
    return model.count_tokens(sent) if sent else 0


def _sent_text(request: Request) -> str:
    tools = canonical(request.tools).decode() if request.tools else ""
    if isinstance(request.prompt, str):
        return request.prompt + request.continuation + tools
    parts = [f"{message.role}\n{message.content}" for message in request.prompt]
    calls = [call.name + call.arguments for turn in request.prompt for call in turn.tool_calls]
    return "\n".join([*parts, *calls, request.continuation, tools])


def output_limit(model: Model, request: Request) -> int | None:
    """The most tokens that the answer can have; None where nothing limits it."""
    if request.kind != "generate":
        return 0
    known = (request.sampling.max_tokens, model.capabilities.max_output_tokens)
    return min((limit for limit in known if limit is not None), default=None)


def expected_output(model: Model, request: Request, mean: float | None = None) -> float:
    """Tokens that the answer will likely have; `mean` is that of earlier answers."""
    limit = output_limit(model, request)
    likely = EXPECTED_OUTPUT if mean is None else mean
    return likely if limit is None else min(limit, likely)
