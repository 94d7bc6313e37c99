"""Why a data set could not be had, in one sentence with the next step."""

from __future__ import annotations

import ast
import difflib
import re
import sys

from evalkit.data.mirror import PULL
from evalkit.errors import DataError

#: Credentials and signatures that a URL in a foreign message may carry.
_SECRET_IN_URL = re.compile(r"(?<=//)[^/@\s]+@|\?[^\s'\"]+")
_KNOWN = re.compile(r"(?:Available|configs|one of|splits): ?(\[.*?\])|one of (\[.*?\])", re.DOTALL)


def failures() -> tuple[type[BaseException], ...]:
    """The exceptions by which `datasets` and the hub's client say that data cannot be had."""
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    kinds = [DatasetsError, HfHubHTTPError, HFValidationError, OSError, ValueError, RuntimeError]
    # older clients speak through requests, whose errors are OSErrors
    httpx = sys.modules.get("httpx")
    return tuple([*kinds, httpx.HTTPError] if httpx else kinds)


def described(path: str, config: str | None) -> str:
    """How messages name a data set."""
    return f"Dataset {path!r} (config {config!r})" if config else f"Dataset {path!r}"


def pull_command(path: str, config: str | None) -> str:
    """The command that fetches a data set into a mirror."""
    return f"{PULL} --dataset {path}:{config}" if config else f"{PULL} --dataset {path}"


def refuses_script(error: BaseException) -> bool:
    """Whether `datasets` refused to run a data set's loading script."""
    return isinstance(error, RuntimeError) and "scripts are no longer supported" in str(error)


def not_here(path: str, config: str | None, mirrored: str = "") -> DataError:
    """For data that only the network has, when evalkit is offline."""
    place = f" ({mirrored})" if mirrored else ""
    return DataError(
        f"{described(path, config)} is neither in a mirror{place} nor cached, and evalkit is "
        f"offline; with a network, run: {pull_command(path, config)}"
    )


def not_converted(path: str, config: str | None) -> DataError:
    """For a loading script of which the hub has no Parquet copy."""
    return DataError(
        f"{described(path, config)} is a loading script, which the installed datasets library "
        "refuses, and the hub has no converted copy of it; put its rows in a mirror (docs/data.md)"
    )


def is_gated(error: BaseException) -> bool:
    """Whether the hub gives a data set only to those who accepted its terms."""
    return type(error).__name__ == "GatedRepoError" or "is a gated dataset" in str(error)


def explained(
    error: BaseException, path: str, config: str | None, offline: bool = False
) -> DataError:
    """The error of ours that says what a foreign `error` means for the user."""
    text, what = str(error), described(path, config)
    if is_gated(error):
        return DataError(
            f"{what} is gated: accept its terms at https://huggingface.co/datasets/{path}, "
            "then run: hf auth login"
        )
    if refuses_script(error):
        return not_converted(path, config)
    if config and "BuilderConfig" in text and "not found" in text:
        return DataError(f"Dataset {path!r} has no config {config!r}{_offer(config, text)}")
    if "Config name is missing" in text:
        return DataError(f"Dataset {path!r} needs a config name{_offer('', text)}")
    if "Unknown split" in text or "Bad split" in text:
        return DataError(f"{what} has no such split{_offer('', text)}")
    if offline:
        return not_here(path, config)
    return _explained_by_type(error, path, what)


def _explained_by_type(error: BaseException, path: str, what: str) -> DataError:
    text = str(error)
    if "doesn't exist on the Hub" in text or type(error).__name__ == "RepositoryNotFoundError":
        return DataError(
            f"{what} is not on the hub, or it is private: check the name, or run: hf auth login"
        )
    if isinstance(error, ConnectionError) or type(error).__module__.startswith("httpx"):
        return DataError(
            f"{what} is not in a mirror, and the hub cannot be reached: check the network, or "
            "give a mirror that holds it (--mirror DIR or EVALKIT_MIRROR)"
        )
    return DataError(f"{what} could not be loaded: {_first_line(text) or type(error).__name__}")


def _offer(name: str, text: str) -> str:
    """The names that a foreign message lists: the nearest to `name` where one is near."""
    found = _KNOWN.search(text)
    known = _names(found[1] or found[2]) if found else []
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return f"; did you mean {' or '.join(map(repr, near))}?"
    return f"; it has {', '.join(known[:40])}{', …' if len(known) > 40 else ''}" if known else ""


def _names(listing: str) -> list[str]:
    try:
        return [str(name) for name in ast.literal_eval(listing)]
    except (ValueError, SyntaxError):
        return []


def _first_line(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else ""
    return _SECRET_IN_URL.sub("", line)[:300]
