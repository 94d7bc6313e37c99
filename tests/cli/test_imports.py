"""What a command imports is what a user waits for."""

import subprocess
import sys

import pytest

HEAVY = ["torch", "transformers", "datasets", "lm_eval", "pandas", "scipy", "openai", "anthropic"]

PROBE = """
import sys
from evalkit.cli.main import main
try:
    main({args!r})
except SystemExit:
    pass
print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""


def imported(args):
    code = PROBE.format(args=args, heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "args", [["--help"], ["tasks", "list", "--json"], ["suites", "list"], ["run", "--help"]]
)
def test_looking_around_imports_no_heavy_library(args):
    assert imported(args) == "[]"
