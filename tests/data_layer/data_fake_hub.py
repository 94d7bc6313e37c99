"""A fake of the Hugging Face hub's endpoints that reading a data set needs, on loopback."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


class FakeHub:
    """Serves repositories given as {name: {branch: {file: bytes}}}.

    A branch's commit is the hash of its name. `gated` repositories answer 403.
    """

    def __init__(self, repositories: dict[str, dict[str, dict[str, bytes]]], gated: set[str]):
        self.repositories, self.gated = repositories, gated
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            do_HEAD = do_POST = do_GET

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.asked: list[str] = []
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    @staticmethod
    def commit(branch: str) -> str:
        return hashlib.sha1(branch.encode()).hexdigest()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(request.path).path).strip("/")
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        self.asked.append(f"{request.command} {path}")
        parts = path.removeprefix("api/").split("/")
        name = "/".join(parts[1:3])
        if parts[0] != "datasets" or name not in self.repositories:
            return self._send(request, 404, b"", {"X-Error-Code": "RepoNotFound"})
        if name in self.gated:
            return self._send(request, 403, b"", {"X-Error-Code": "GatedRepo"})
        rest = "/".join(parts[3:])
        if path.startswith("api/"):
            return self._api(request, name, rest, body)
        return self._file(request, name, rest.removeprefix("resolve/"))

    def _branch(self, name: str, rest: str) -> tuple[str, dict[str, bytes] | None, str]:
        """The commit, files and remaining path of `<revision>/<path>`."""
        for branch, files in self.repositories[name].items():
            for alias in (branch, self.commit(branch)):
                if rest == alias or rest.startswith(f"{alias}/"):
                    return self.commit(branch), files, rest[len(alias) + 1 :]
        return "", None, rest

    def _file(self, request: BaseHTTPRequestHandler, name: str, rest: str) -> None:
        commit, files, file = self._branch(name, rest)
        if files is None:
            return self._send(request, 404, b"", {"X-Error-Code": "RevisionNotFound"})
        if file not in files:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}
            return self._send(request, 404, b"", headers)
        content = files[file]
        etag = hashlib.sha256(content).hexdigest()
        span = request.headers.get("Range")
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if not span:
            return self._send(request, 200, content, headers)
        start, _, end = span.removeprefix("bytes=").partition("-")
        last = min(int(end or len(content) - 1), len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{last}/{len(content)}"
        return self._send(request, 206, content[int(start) : last + 1], headers)

    def _api(self, request: BaseHTTPRequestHandler, name: str, rest: str, body: bytes) -> None:
        what, _, place = rest.partition("/")
        commit, files, folder = self._branch(name, place or "main")
        if files is None:
            return self._send(request, 404, b"", {"X-Error-Code": "RevisionNotFound"})
        if what in {"", "revision"}:
            return self._json(request, self._info(name, commit, files))
        if what == "tree":
            return self._json(request, self._tree(files, folder))
        asked = json.loads(body)["paths"] if body else []
        found = [e for path in asked for e in self._tree(files, "") if e["path"] == path]
        return self._json(request, found)

    def _info(self, name: str, commit: str, files: dict[str, bytes]) -> dict[str, Any]:
        return {
            "id": name,
            "sha": commit,
            "private": False,
            "gated": False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "cardData": {"license": "mit"},
            "siblings": [{"rfilename": file} for file in files],
        }

    def _tree(self, files: dict[str, bytes], folder: str) -> list[dict[str, Any]]:
        entries: dict[str, dict[str, Any]] = {}
        for file, content in files.items():
            for parent in [file.rsplit("/", i)[0] for i in range(1, file.count("/") + 1)]:
                oid = hashlib.sha1(parent.encode()).hexdigest()
                entries[parent] = {"type": "directory", "path": parent, "oid": oid, "size": 0}
            oid = hashlib.sha1(content).hexdigest()
            entries[file] = {"type": "file", "path": file, "oid": oid, "size": len(content)}
        return [e for path, e in entries.items() if path.startswith(f"{folder}/" if folder else "")]

    def _json(self, request: BaseHTTPRequestHandler, value: Any) -> None:
        self._send(request, 200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(
        self, request: BaseHTTPRequestHandler, code: int, body: bytes, headers: dict[str, str]
    ) -> None:
        request.send_response(code)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(key, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)
