"""lm-eval's own command line, its data read from an offline mirror.

    python -m benchmarks.parity_lm_eval MIRROR [flags of lm_eval run]

Nothing of lm-eval is changed but where `datasets.load_dataset` finds its rows.
"""

import sys

from evalkit.data.options import DataOptions
from evalkit.data.redirect import redirected


def main() -> None:
    mirror, *flags = sys.argv[1:]
    from lm_eval.__main__ import cli_evaluate

    sys.argv = ["lm_eval", "run", *flags]
    with redirected(DataOptions(mirror=mirror, offline=True)):
        cli_evaluate()


if __name__ == "__main__":
    main()
