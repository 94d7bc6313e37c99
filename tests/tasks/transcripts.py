"""A request as a text that people can compare."""

import json


def transcript(request):
    if isinstance(request.prompt, str):
        lines = ["[text]", request.prompt]
    else:
        lines = [f"[{m.role}]\n{m.content}" for m in request.prompt]
    if request.continuation:
        lines.append(f"[continuation]\n{request.continuation!r}")
    lines += [f"[tool]\n{tool.name}: {json.dumps(tool.parameters)}" for tool in request.tools]
    lines.append(f"[sampling]\n{request.sampling}")
    return "\n".join(lines) + "\n"
