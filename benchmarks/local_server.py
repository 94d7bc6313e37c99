"""One faithful local server for tests and measurements: OpenAI's, vLLM's and Anthropic's protocols.

In a test: `with LocalServer(Settings(...)) as server: server.base_url`. As a program:

    python -m benchmarks.local_server --port 0 --latency-ms 200 --fault-rate-limited 0.1

prints one JSON line with its URLs and serves until it is killed. `GET /_stats` counts
(`/_stats?bodies=1` also how often each body came; `/_stats?reset=1` starts counting again).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
from dataclasses import fields
from types import TracebackType

from benchmarks.answers import script_named, text_hash
from benchmarks.faults import Faults
from benchmarks.http_connection import Connection
from benchmarks.server_settings import Settings
from benchmarks.server_stats import Stats
from benchmarks.serving import Serving
from benchmarks.text_protocol import TextAbilities
from benchmarks.toy_language import FolderTokenizer, ToyTokenizer


class LocalServer:
    """The server in a thread of this process; a context manager."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._loop = asyncio.new_event_loop()
        self._serving = Serving(self.settings)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="local-server")
        self.port = 0

    @property
    def origin(self) -> str:
        """`http://127.0.0.1:PORT`; what Anthropic's SDK takes as its base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What OpenAI's SDK takes as its base URL."""
        return f"{self.origin}/v1"

    @property
    def stats(self) -> Stats:
        """The counters, live."""
        return self._serving.stats

    def __enter__(self) -> LocalServer:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        listening = self._loop.run_until_complete(listen(self._serving, self.settings.port))
        self.port = listening.sockets[0].getsockname()[1]
        self._ready.set()
        try:
            self._loop.run_forever()
        finally:
            self._serving.close()
            listening.close()
            self._loop.run_until_complete(asyncio.sleep(0))
            self._loop.close()


async def listen(serving: Serving, port: int) -> asyncio.Server:
    """Open the server's socket on the loopback interface."""
    loop = asyncio.get_running_loop()
    serving.loop = loop
    return await loop.create_server(
        lambda: serving.track(Connection(serving.receive, serving.sent)),
        "127.0.0.1",
        port,
        backlog=4096,
    )


def read_settings(arguments: list[str] | None = None) -> Settings:
    """The settings that command-line arguments say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.local_server")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--answer", type=script_named, default=text_hash, metavar="hash|echo:N|fixed:TEXT"
    )
    parser.add_argument("--model", action="append", default=None)
    parser.add_argument("--latency-ms", type=float, default=0)
    parser.add_argument("--jitter-ms", type=float, default=0)
    parser.add_argument("--capacity", type=int, default=None)
    parser.add_argument("--shared", action="store_true", help="share the capacity: no line")
    parser.add_argument("--requests-per-minute", type=int, default=None)
    parser.add_argument("--no-count-bodies", action="store_true")
    parser.add_argument("--prefix-cache", action="store_true")
    parser.add_argument("--tokenizer", default="", help="a transformers folder; else the toy's")
    parser.add_argument("--max-model-len", type=int, default=4096)
    for name in fields(Faults):
        flag = f"--fault-{name.name.replace('_', '-')}"
        parser.add_argument(flag, type=type(name.default), default=name.default)
    args = parser.parse_args(arguments)
    return Settings(
        answer=args.answer,
        models=tuple(args.model or ("local-model",)),
        port=args.port,
        latency_s=args.latency_ms / 1000,
        jitter_s=args.jitter_ms / 1000,
        capacity=args.capacity,
        shared=args.shared,
        requests_per_minute=args.requests_per_minute,
        faults=Faults(**{f.name: getattr(args, f"fault_{f.name}") for f in fields(Faults)}),
        abilities=TextAbilities(max_model_len=args.max_model_len),
        count_bodies=not args.no_count_bodies,
        prefix_cache=args.prefix_cache,
        tokenizer=FolderTokenizer(args.tokenizer) if args.tokenizer else ToyTokenizer(),
    )


async def serve_forever(settings: Settings) -> None:
    """Serve until the process is killed; prints the URLs as one JSON line."""
    listening = await listen(Serving(settings), settings.port)
    origin = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    print(json.dumps({"origin": origin, "base_url": f"{origin}/v1"}), flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve_forever(read_settings()))
