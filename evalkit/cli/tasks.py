"""`evalkit tasks list|show|preview`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from evalkit.cli.output import Json, print_columns, print_json, print_table

if TYPE_CHECKING:
    from evalkit.records import Request

app = typer.Typer(help="What can be asked.", no_args_is_help=True)

Include = Annotated[
    list[str] | None, typer.Option("--include-path", help="A folder with task YAMLs of your own.")
]


@app.command("list")
def list_tasks(
    pattern: Annotated[str, typer.Argument(help="Part of a name, or a pattern with *.")] = "",
    kind: Annotated[
        str, typer.Option(help="Only of this kind: declarative, generated, lm_eval, group, tag.")
    ] = "",
    include_path: Include = None,
    json: Json = False,
) -> None:
    """List every task, group and tag."""
    from evalkit.tasks.catalogue import listing

    rows = [row for row in listing(pattern, include_path or ()) if kind in ("", row.kind)]
    if json:
        print_json({"tasks": rows})
        return
    cells = [[row.name, row.kind, row.category, row.title] for row in rows]
    print_columns(["name", "kind", "category", "title"], cells)
    typer.echo(f"{len(rows):,} names", err=True)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A task, group or tag.")],
    include_path: Include = None,
    json: Json = False,
) -> None:
    """Say what a task asks and how it is scored."""
    from evalkit.tasks.catalogue import describe

    facts = describe(name, include_path or ())
    if json:
        print_json(facts)
        return
    rows = [[key, _text(value)] for key, value in facts.items() if value not in ("", (), [], None)]
    print_table(name, ["", ""], rows)


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    return str(value)


@app.command()
def preview(
    name: Annotated[str, typer.Argument(help="A task.")],
    samples: Annotated[int, typer.Option("-n", "--samples", min=1, help="How many.")] = 2,
    style: Annotated[str, typer.Option(help="chat or text.")] = "chat",
    mode: Annotated[str | None, typer.Option(help="One of the task's modes.")] = None,
    num_fewshot: Annotated[int | None, typer.Option(help="Worked examples.")] = None,
    mirror: Annotated[str | None, typer.Option(help="A mirror of data sets.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Fetch no data.")] = False,
    include_path: Include = None,
    json: Json = False,
) -> None:
    """Print the exact prompt, target and scoring of a task's first samples."""
    from evalkit.evaluation.preview import preview_task

    settings = {"style": style, "mode": mode, "num_fewshot": num_fewshot}
    previews = preview_task(
        name, samples, settings, mirror=mirror, offline=offline, include_path=include_path or ()
    )
    if json:
        print_json({"task": name, "samples": previews})
        return
    from rich.console import Console
    from rich.rule import Rule
    from rich.text import Text

    console = Console(soft_wrap=True)
    for one in previews:
        console.print(Rule(Text(f"{one.task}, sample {one.id} ({one.mode}, {one.style})")))
        for request in one.requests:
            console.print(_request_text(request))
        console.print(Text.assemble(("target  ", "bold green"), _text(one.target)))
        console.print(Text.assemble(("scored  ", "bold green"), one.scoring))


def _request_text(request: Request) -> Any:
    from rich.text import Text

    text = Text()
    if isinstance(request.prompt, str):
        text.append(request.prompt)
    else:
        for message in request.prompt:
            text.append(f"[{message.role}]\n", style="bold cyan")
            text.append(f"{message.content}\n")
    if request.kind == "loglikelihood":
        text.append("⟶" + request.continuation, style="bold yellow")
    for tool in request.tools:
        text.append(f"\n[tool {tool.name}] {tool.description}", style="magenta")
    return text
