"""Sampled stacks summed up: which stage, which package and which function of evalkit takes time.

The input is py-spy's raw format: `thread (1): name;function (file:line);... count`, outermost
frame first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_FRAME = re.compile(r"(?P<function>.+) \((?P<file>[^()]*?)(?::\d+)?\)$")
_SITE = re.compile(r"^.*(?:site-packages|python3\.\d+)/")


@dataclass(frozen=True)
class Frame:
    """One function on a stack; `file` as the profiler shortens it (`aiohttp/client.py`)."""

    function: str
    file: str

    @property
    def package(self) -> str:
        """The top-level package or module that the function belongs to."""
        first = self.file.partition("/")[0]
        return first.strip("<>").removesuffix(".py") or "?"


@dataclass(frozen=True)
class Stack:
    """Samples with the same frames in the same thread."""

    thread: str
    frames: tuple[Frame, ...]
    count: int


def read_stacks(lines: Iterable[str]) -> list[Stack]:
    """The stacks of a file in py-spy's raw format."""
    return [_stack(line.rstrip("\n")) for line in lines if line.strip()]


def _stack(line: str) -> Stack:
    path, _, count = line.rpartition(" ")
    thread, *frames = path.split(";")
    name = re.sub(r"^thread \([^)]*\):? ?", "", thread)
    name = re.sub(r"[-_]\d+$", "", name)
    return Stack(name or "main", tuple(_frame(frame) for frame in frames), int(count))


def _frame(text: str) -> Frame:
    match = _FRAME.match(text)
    if match is None:
        return Frame(text, "?")
    return Frame(match["function"], _SITE.sub("", match["file"]).removeprefix("frozen "))


def stage(stack: Stack) -> str:
    """`import X` while a package is first imported, else the innermost module of evalkit."""
    for outer, frame in zip(stack.frames, stack.frames[1:], strict=False):
        begins = "importlib" in outer.file and frame.function == "<module>"
        if begins and frame.package != "evalkit":
            return f"import {frame.package}"
    if any("importlib" in frame.file for frame in stack.frames):
        return "import evalkit"
    own = [frame.file for frame in stack.frames if frame.package == "evalkit"]
    return own[-1] if own else "outside evalkit"


def by_stage(stacks: Sequence[Stack]) -> Counter[str]:
    """Samples by `stage`."""
    return _sum((stage(stack), stack.count) for stack in stacks)


def by_thread(stacks: Sequence[Stack]) -> Counter[str]:
    """Samples by the thread's name."""
    return _sum((stack.thread, stack.count) for stack in stacks)


def by_leaf_package(stacks: Sequence[Stack]) -> Counter[str]:
    """Samples by the package of the innermost frame: who is really at work (C code included)."""
    return _sum((s.frames[-1].package if s.frames else "?", s.count) for s in stacks)


def by_function(stacks: Sequence[Stack], package: str) -> Counter[str]:
    """Samples in which a function of `package` is anywhere on the stack."""
    return _sum(
        (name, stack.count)
        for stack in stacks
        for name in {f"{f.file}:{f.function}" for f in stack.frames if f.package == package}
    )


def _sum(pairs: Iterable[tuple[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for name, count in pairs:
        total[name] += count
    return total


def table(title: str, counts: Counter[str], rate: float, most: int) -> str:
    """The `most` largest counts as lines of seconds and shares, `rate` samples being a second.

    Shares are of all samples, so those of nested functions add up to more than one.
    """
    return _lines(title, counts.most_common(most), sum(counts.values()), rate)


def nested_table(title: str, counts: Counter[str], total: int, rate: float, most: int) -> str:
    """The same for counts that overlap: `total` is the number of samples there are."""
    return _lines(title, counts.most_common(most), total, rate)


def _lines(title: str, rows: Sequence[tuple[str, int]], total: int, rate: float) -> str:
    lines = [f"{title} ({total / rate:.2f} s sampled)"]
    lines += [f"  {n / rate:7.2f} s {100 * n / total:5.1f}%  {name}" for name, n in rows]
    return "\n".join(lines)
