"""The `evalkit` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from evalkit.cli import data, doctor, models, run, suites, tasks
from evalkit.cli.collection import eased
from evalkit.cli.output import print_error
from evalkit.errors import EvalkitError, InputError, StoppedError

app = typer.Typer(
    name="evalkit",
    help="Evaluate language models: open weights and closed APIs, side by side, on any suite.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("resume")(run.resume)
app.add_typer(tasks.app, name="tasks")
app.add_typer(suites.app, name="suites")
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
app.command("doctor")(doctor.doctor)


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(False, "--version", help="Print the version and leave."),
) -> None:
    if version:
        from importlib.metadata import version as installed_version

        typer.echo(installed_version("evalkit"))
        raise typer.Exit


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; leaves with the exit codes that `docs/cli.md` lists."""
    arguments = list(sys.argv[1:] if args is None else args)
    as_json = "--json" in arguments
    try:
        with eased():
            app(arguments)
    except InputError as error:
        print_error(error, as_json)
        sys.exit(2)
    except StoppedError as error:
        print_error(error, as_json)
        sys.exit(3)
    except EvalkitError as error:
        print_error(error, as_json)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
