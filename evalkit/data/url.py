"""Files at pinned URLs: downloaded once, checked against their SHA-256, kept in the cache."""

from __future__ import annotations

import hashlib
import http.client
import re
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from evalkit.data.files import checked_sha256, locked, placed, sha256_of
from evalkit.errors import DataError

#: No benchmark's file is larger; a server that sends more is cut off.
MAX_BYTES = 8 << 30
_TIMEOUT_S = 60.0
_BLOCK = 1 << 20


def fetch_url(
    url: str, sha256: str, cache: Path, offline: bool = False, max_bytes: int = MAX_BYTES
) -> Path:
    """The path of the file at `url`, checked; a cached file is returned without the network.

    Args:
        url: An http or https address.
        sha256: Of the file, in hexadecimal.
        cache: Folder for what was fetched.
        offline: Do not download.
        max_bytes: A longer file is refused.

    Raises:
        DataError: It cannot be had, is too long, or is not what its checksum says.
    """
    pinned = checked_sha256(sha256)
    if urlsplit(url).scheme not in {"http", "https"}:
        raise DataError(f"{shown(url)!r} is not an http or https address")
    target = cache.expanduser() / "urls" / pinned / _file_name(url)
    if _is_cached(target, pinned):
        return target
    if offline:
        raise DataError(
            f"{shown(url)} is not cached and evalkit is offline; with a network, run the same "
            f"command without --offline, or copy the file to {target}"
        )
    with locked(target):
        if not _is_cached(target, pinned):
            _download(url, pinned, target, max_bytes)
    return target


def shown(url: str) -> str:
    """A URL for messages: without the password, query or fragment, which may be secrets."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _is_cached(target: Path, pinned: str) -> bool:
    return target.is_file() and sha256_of(target) == pinned


def _file_name(url: str) -> str:
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".")[-100:] or "file"


def _download(url: str, pinned: str, target: Path, max_bytes: int) -> None:
    with placed(target) as draft:
        try:
            found = _stream(url, draft, max_bytes)
        except HTTPError as error:
            error.close()  # it holds the connection
            raise DataError(f"{shown(url)} answered {error.code} {error.reason}") from None
        except (URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
            # what is chained may hold the whole URL, hence `from None`
            raise DataError(f"{shown(url)} cannot be reached ({_reason(error)})") from None
        if found != pinned:
            raise DataError(
                f"{shown(url)} has SHA-256 {found}, not {pinned}: "
                "the pinned checksum is wrong or the file changed"
            )


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, URLError) else error
    return str(inner) if isinstance(inner, OSError) and inner.errno else type(inner).__name__


def _stream(url: str, draft: Path, max_bytes: int) -> str:
    digest, size = hashlib.sha256(), 0
    request = Request(url, headers={"User-Agent": "evalkit"})  # noqa: S310 http(s) was checked
    with _opener().open(request, timeout=_TIMEOUT_S) as answer, draft.open("wb") as file:
        while block := answer.read(_BLOCK):
            size += len(block)
            if size > max_bytes:
                raise DataError(f"{shown(url)} is longer than {max_bytes} bytes")
            digest.update(block)
            file.write(block)
        _check_length(url, answer.headers.get("Content-Length"), size)
    return digest.hexdigest()


def _check_length(url: str, promised: Any, size: int) -> None:
    if promised is not None and int(promised) != size:
        raise DataError(f"{shown(url)} broke off after {size} of {promised} bytes: try again")


def _opener() -> OpenerDirector:
    """An opener that speaks HTTP and nothing else, so that no redirect leads to a local file."""
    opener = OpenerDirector()
    for part in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        HTTPRedirectHandler(),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
        UnknownHandler(),
    ):
        opener.add_handler(part)
    return opener
