"""`evalkit models list|check`."""

from __future__ import annotations

from typing import Annotated

import typer

from evalkit.cli.output import Json, print_json, print_table

app = typer.Typer(help="What can be asked questions.", no_args_is_help=True)


@app.command("list")
def list_models(json: Json = False) -> None:
    """List the providers, how each is written, and the models with known prices."""
    from evalkit.evaluation.models import known_models

    known = known_models()
    if json:
        print_json(known)
        return
    rows = [[p.name, p.example, p.needs, p.summary] for p in known.providers]
    print_table("Providers", ["name", "written", "needs", "what"], rows)
    prices = [
        [p.provider, p.model, f"{p.input:.2f}", f"{p.output:.2f}", f"{p.context_length or '–'}"]
        for p in known.prices
    ]
    columns = ["provider", "model", "$/M in>", "$/M out>", "context>"]
    print_table("Prices, US dollars a million tokens", columns, prices)


@app.command()
def check(
    model: Annotated[str, typer.Argument(help="provider/name?key=value")], json: Json = False
) -> None:
    """Send one request and say what the model can do."""
    from evalkit.evaluation.models import check_model

    checked = check_model(model)
    if json:
        print_json(checked)
    else:
        rows = [[key, value] for key, value in checked.facts.items()]
        print_table(checked.model, ["", ""], rows)
    if not checked.answered:
        raise typer.Exit(1)
