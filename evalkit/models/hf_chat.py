"""Messages rendered by a tokenizer's chat template.

`transformers` renders templates in a sandboxed Jinja environment.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from evalkit.records import Message, content_hash

_log = logging.getLogger(__name__)


class ChatTemplate:
    """A tokenizer's chat template.

    A template that refuses a system message (`takes_system` is False) is rendered without it,
    as lm-eval does; the model's identity says so, and the first time is logged.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.exists = bool(tokenizer.chat_template)
        self.takes_system = self.exists and self._takes_system()
        self._warned = False

    def render(self, messages: Sequence[Message]) -> str:
        """The text that the model reads.

        The text ends where the assistant's turn begins, or, where the last message is the
        assistant's, inside that turn.

        Raises:
            ValueError: There is no template, or it refuses these messages.
        """
        import jinja2

        if not self.exists:
            raise ValueError("the tokenizer has no chat template, so it takes text, not messages")
        try:
            return self._render(
                [{"role": m.role, "content": m.content} for m in self._taken(messages)]
            )
        except jinja2.TemplateError as error:
            raise ValueError(f"the chat template refuses these messages: {error}") from error

    def fingerprint(self) -> str:
        """Names the template; empty where there is none."""
        return content_hash(self.tokenizer.chat_template)[:16] if self.exists else ""

    def _taken(self, messages: Sequence[Message]) -> Sequence[Message]:
        if self.takes_system or all(message.role != "system" for message in messages):
            return messages
        if not self._warned:
            self._warned = True
            _log.warning("The chat template takes no system message: system messages are left out")
        return [message for message in messages if message.role != "system"]

    def _render(self, turns: list[dict[str, str]]) -> str:
        continues = bool(turns) and turns[-1]["role"] == "assistant"
        text: str = self.tokenizer.apply_chat_template(
            turns,
            tokenize=False,
            add_generation_prompt=not continues,
            continue_final_message=continues,
        )
        return text

    def _takes_system(self) -> bool:
        import jinja2

        probe = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
        try:
            self._render(probe)
        except jinja2.TemplateError:
            return False
        return True
