"""Tasks whose scoring misbehaves as the answer says, and their recipes for other processes."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from engine_world import SmallTask

from evalkit.records import Score
from evalkit.tasks.protocol import TaskInfo


class Misbehaving(SmallTask):
    """Scores by what the prompt says: `exit`, `hang`, `once PATH`, `raise`, `print`, `facts`."""

    def __init__(self, prompts=(), *, main_thread: bool = True, together: bool = False) -> None:
        super().__init__(len(prompts))
        self.prompts = prompts
        self.scores_together = together
        self.info = TaskInfo(name="odd", kind="declarative", main_thread=main_thread)

    def requests(self, sample, answers):
        from evalkit.records import Request

        return [] if answers else [Request(kind="generate", prompt=self.prompts[sample.index])]

    def score(self, sample, answers) -> Score:
        words = answers[0].text.lower().split()
        return getattr(self, f"_{words[0]}")(*words[1:])

    def score_all(self, answered):
        return [self.score(sample, answers) for sample, answers in answered]

    def _where(self) -> Score:
        main = threading.current_thread() is threading.main_thread()
        return Score(values={"pid": os.getpid(), "main": main})

    def _alarm(self) -> Score:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        return Score(values={"acc": 1.0})

    def _exit(self) -> Score:
        os._exit(7)

    def _crash(self) -> Score:
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError

    def _hang(self) -> Score:
        import re

        re.match(r"(a*)*b", "a" * 60)  # holds the interpreter's lock for years
        raise AssertionError

    def _once(self, path: str) -> Score:
        if os.path.exists(path):  # noqa: PTH110
            return Score(values={"acc": 1.0})
        open(path, "w").close()  # noqa: PTH123
        os._exit(1)

    def _raise(self) -> Score:
        raise ValueError("no such answer")

    def _print(self) -> Score:
        print("noise", flush=True)
        os.write(1, b"more noise")
        sys.stderr.write("and more")
        return Score(values={"acc": 1.0})

    def _read(self) -> Score:
        return Score(values={"read": len(sys.stdin.read())})

    def _facts(self) -> Score:
        return Score(values={"environ": sorted(os.environ), "group": os.getpgrp()})

    def _spend(self) -> Score:
        until = time.thread_time() + 0.01
        while time.thread_time() < until:
            pass
        return Score(values={"pid": os.getpid()})

    def _odd(self) -> Score:
        return Score(values={"acc": float("nan")}, extracted={"a": [1, None, "ü"]}, note="n")

    def _unfit(self) -> Score:
        return Score(values={"acc": object()})


@dataclass(frozen=True)
class Recipe:
    """Loads `Misbehaving`, or fails to."""

    prompts: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    failure: str = ""
    fingerprint: str = "small"

    def load(self) -> Misbehaving:
        if self.failure:
            raise ValueError(self.failure)
        task = Misbehaving(self.prompts, **self.options)
        task.fingerprint = self.fingerprint
        return task
