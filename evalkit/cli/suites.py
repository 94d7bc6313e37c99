"""`evalkit suites list|show`."""

from __future__ import annotations

from typing import Annotated

import typer

from evalkit.cli.output import Json, print_json, print_table

app = typer.Typer(help="Collections of tasks.", no_args_is_help=True)


@app.command("list")
def list_suites(json: Json = False) -> None:
    """List the suites."""
    from evalkit.tasks.suites import load_suite, suite_names

    suites = [load_suite(name) for name in suite_names()]
    if json:
        print_json({"suites": suites})
        return
    rows = [[suite.name, str(len(suite.tasks)), suite.title] for suite in suites]
    print_table("", ["name", "entries>", "title"], rows)


@app.command()
def show(name: Annotated[str, typer.Argument(help="A suite.")], json: Json = False) -> None:
    """Say what a suite holds."""
    from evalkit.tasks.suites import load_suite

    suite = load_suite(name)
    if json:
        print_json(suite)
        return
    rows = [
        [entry.task, "all" if entry.limit is None else str(entry.limit)]
        + ["own" if entry.num_fewshot is None else str(entry.num_fewshot)]
        for entry in suite.tasks
    ]
    print_table(f"{suite.name}: {suite.title}", ["task", "samples>", "shots>"], rows)
