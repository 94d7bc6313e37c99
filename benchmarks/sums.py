"""A generated task of any size, for measurements and tests that need many cheap samples."""

from __future__ import annotations

from pathlib import Path

_DEFINITION = """
name: {name}
version: "1"
generator:
  name: arithmetic
  params: {{min_terms: 5, max_terms: 6, digits: 4}}
  seed: 7
  size: {size}
prompt: "What is {{{{ question }}}}?"
target: answer
scorer: {{name: number}}
sampling: {{max_tokens: 32}}
"""


def write_sums(folder: Path, size: int, name: str = "sums") -> Path:
    """Write the task `name` of `size` sums into `folder`, which --include-path then takes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(_DEFINITION.format(name=name, size=size))
    return folder
