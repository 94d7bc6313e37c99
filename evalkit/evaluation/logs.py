"""What is logged, and what is not."""

from __future__ import annotations

import logging

#: They warn of what evalkit itself says in a sentence, or of what is none of the user's business.
_CHATTY = ("datasets", "huggingface_hub", "lm_eval", "lm-eval", "transformers", "httpx", "openai")


def set_log_level(level: str) -> None:
    """Log to standard error from `level` on; libraries only speak up at `debug`, or in errors."""
    logging.basicConfig(level=level.upper(), format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("evalkit").setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(level.upper() if level == "debug" else logging.ERROR)
