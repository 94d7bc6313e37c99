"""lm-eval's own command line, its data read from an offline mirror.

    python -m benchmarks.parity_lm_eval MIRROR PLAN.json

PLAN.json lists runs as `[folder, [flags of lm_eval run]]`. They are run one after the other in
this process, because importing torch and lm-eval takes longer than some of them. Nothing of
lm-eval is changed but where `datasets.load_dataset` finds its rows. A run that fails leaves
its traceback in `failed.txt` of its folder.
"""

import json
import sys
import traceback
from pathlib import Path

from evalkit.data.options import DataOptions
from evalkit.data.redirect import redirected


def main() -> None:
    mirror, plan = sys.argv[1:]
    from lm_eval.__main__ import cli_evaluate

    for folder, flags in json.loads(Path(plan).read_text(encoding="utf-8")):
        sys.argv = ["lm_eval", "run", *flags, "--output_path", folder]
        try:
            with redirected(DataOptions(mirror=mirror, offline=True)):
                cli_evaluate()
            (Path(folder) / DONE).touch()
        except Exception:
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / FAILED).write_text(traceback.format_exc(), encoding="utf-8")


DONE, FAILED = "done.txt", "failed.txt"

if __name__ == "__main__":
    main()
