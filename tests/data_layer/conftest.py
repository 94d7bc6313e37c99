"""Fixtures of the data layer's tests: a small mirror, a local web server, the real mirror."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from evalkit.data.options import DataOptions

REPOSITORY = Path(__file__).resolve().parents[2]


def write_split(root: Path, inside: str, rows: list[dict], **entry) -> Path:
    """A file of a mirror, and its line in the manifest."""
    path = root / inside
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode(), mtime=0))
    parts = inside.removesuffix(".jsonl.gz").split("/")
    line = {
        "path": inside,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "rows": len(rows),
        "hf_path": "/".join(parts[1:-2]),
        "config": parts[-2],
        "split": parts[-1],
        **entry,
    }
    with (root / "MANIFEST.jsonl").open("a") as manifest:
        manifest.write(json.dumps(line) + "\n")
    return path


@pytest.fixture
def mirror_root(tmp_path: Path) -> Path:
    root = tmp_path / "mirror"
    sums = [{"question": f"{i}+{i}?", "answer": str(2 * i)} for i in range(10)]
    write_split(root, "hub/acme/sums/main/test.jsonl.gz", sums)
    write_split(
        root, "hub/acme/sums/main/train.jsonl.gz", sums[:4], full=False, note="first 4 rows"
    )
    write_split(root, "hub/acme/sums/hard/test.jsonl.gz", sums[:2])
    write_split(root, "hub/acme/solo/default/test.jsonl.gz", sums[:3])
    write_split(root, "hub/acme/files/two_digit/validation.jsonl.gz", sums[:5])
    write_split(root, "raw/riddles/all.jsonl.gz", [{"riddle": "?", "mixed": [1, "a", None]}])
    (root / "ALIASES.json").write_text('{"other/sums": "acme/sums"}')
    return root


@pytest.fixture
def options(mirror_root: Path, tmp_path: Path) -> DataOptions:
    return DataOptions(mirror=str(mirror_root), offline=True, cache=str(tmp_path / "cache"))


@pytest.fixture
def real_mirror() -> Path:
    place = os.environ.get("EVALKIT_TEST_MIRROR") or REPOSITORY.parent / "shared" / "data"
    if not Path(place).is_dir():
        pytest.skip("no mirror of benchmark rows: set EVALKIT_TEST_MIRROR to one")
    return Path(place)


class Site:
    """Files on a web server of this machine; `asked` lists the requests that came."""

    def __init__(self, files: dict[str, bytes], moved: dict[str, str]) -> None:
        self.asked: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                name = self.path.partition("?")[0]
                if name in moved:
                    self.send_response(302)
                    self.send_header("Location", moved[name])
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                body = files.get(name)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *args) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def site() -> Iterator[Site]:
    moved = {"/moved.json": "/rows.json", "/escape.json": "file:///etc/hostname"}
    running = Site({"/rows.json": b'[{"a": 1}]'}, moved)
    yield running
    running.server.shutdown()
    running.server.server_close()
