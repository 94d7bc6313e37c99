"""An installed wheel works from an empty folder, far from the checkout."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*command, "--quiet", "--wheel-dir", folder, ROOT],
        check=True,
        timeout=120,
        capture_output=True,
    )
    (built,) = folder.glob("evalkit-*.whl")
    return built


def test_the_wheel_holds_the_definitions(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "evalkit/_data/tasks/suites/quick.yaml" in names
    assert any(name.startswith("evalkit/_data/judges/") for name in names)
    assert any(name.startswith("evalkit/_data/human_eval_app/") for name in names)


@pytest.mark.slow
def test_an_installed_wheel_runs_from_an_empty_folder(wheel, tmp_path):
    place = tmp_path / "venv"
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    # the dependencies come from this environment; evalkit itself only from the wheel
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.strip()
    zipfile.ZipFile(wheel).extractall(site)
    theirs = [path for path in sys.path if path.endswith("site-packages")]
    empty = tmp_path / "empty"
    empty.mkdir()
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(theirs)}

    def evalkit(*args):
        # -P and the import check below: the checkout's own folder must not be in play
        code = (
            "import sys; sys.path[:] = [p for p in sys.path if p != sys.argv[1]]; del sys.argv[1]"
        )
        code += "; import evalkit; assert '_data' not in evalkit.__file__"
        code += "; from evalkit.cli.main import main; main(sys.argv[1:])"
        return subprocess.run(
            [python, "-c", code, str(ROOT), *args],
            cwd=empty,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    where = evalkit("tasks", "show", "arithmetic_chains", "--json")
    assert where.returncode == 0, where.stderr
    assert str(place) in where.stdout
    ran = evalkit("run", "-m", "scripted/echo", "-t", "arithmetic_chains", "--limit", "5")
    assert ran.returncode == 0, ran.stderr
    assert (empty / "results").is_dir()
