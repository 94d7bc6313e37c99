"""`evalkit doctor`: is this machine ready?"""

from __future__ import annotations

import typer

from evalkit.cli.output import Json, print_json, print_table


def doctor(json: Json = False) -> None:
    """Say what is installed, what is reachable and what is missing, with the remedy."""
    from evalkit.evaluation.doctor import examine

    findings = examine()
    if json:
        print_json({"findings": findings})
    else:
        marks = {True: "ok", False: "missing", None: "optional"}
        rows = [[marks[f.ok], f.what, f.found, f.remedy] for f in findings]
        print_table("", ["", "what", "found", "remedy"], rows)
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(1)
