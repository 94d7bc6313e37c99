"""The docs say what is."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer

from evalkit.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = typer.main.get_command(app)

FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def fences(page, language):
    return [body for kind, body in FENCE.findall(page.read_text()) if kind == language]


def shell_commands():
    for page in PAGES:
        for body in fences(page, "sh"):
            for line in body.replace("\\\n", " ").splitlines():
                if line.strip().startswith("evalkit "):
                    yield pytest.param(line.partition(" #")[0].strip(), id=f"{page.name}: {line}")


def find(words):
    """The command that `words` name, and what is left of them."""
    command = COMMAND
    while words and hasattr(command, "commands") and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize("line", list(shell_commands()))
def test_a_command_in_the_docs_exists_with_its_flags(line):
    command, words = find(shlex.split(line)[1:])
    assert not hasattr(command, "commands"), f"{line!r} names no command"
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    flags = {word.partition("=")[0] for word in words if word.startswith("-")}
    assert flags <= known | {"--help"}


def test_every_flag_of_run_is_described():
    command, _ = find(["run"])
    page = (ROOT / "docs" / "cli.md").read_text()
    flags = {name for option in command.params for name in option.opts if name.startswith("--")}
    assert {flag for flag in flags if flag not in page} == set()


def test_every_command_is_described():
    page = (ROOT / "docs" / "cli.md").read_text()
    for name, command in COMMAND.commands.items():
        for sub in getattr(command, "commands", {"": None}):
            assert f"evalkit {name} {sub}".strip() in page or re.search(
                rf"evalkit {name} \S*\b{sub}\b", page
            ), f"evalkit {name} {sub}"


def links():
    for page in PAGES:
        for target in LINK.findall(page.read_text()):
            yield pytest.param(page, target, id=f"{page.name} -> {target}")


@pytest.mark.parametrize(("page", "target"), list(links()))
def test_a_link_leads_somewhere(page, target):
    assert (page.parent / target).exists()


def held_by():
    page = (ROOT / "docs" / "peers.md").read_text()
    return sorted(set(re.findall(r"`((?:tests|docs|benchmarks)/[^`]*)`", page)))


@pytest.mark.parametrize("path", held_by())
def test_what_is_said_to_hold_a_promise_is_there(path):
    assert (ROOT / path).exists()


def test_no_file_names_a_package_registry():
    hosts = ["pypi" + ".org", "pythonhosted" + ".org", "index" + "-url"]
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split():
        path = ROOT / name
        text = path.read_text(errors="replace") if path.is_file() else ""
        assert not [host for host in hosts if host in text], name
