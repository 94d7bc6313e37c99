"""Names for the contents of local model folders and files, found without reading all of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".gguf"}
_TEXTS = {".json", ".jinja", ".txt", ".model", ".py"}
#: Read from each tensor (safetensors), or from each of `_PLACES` places of another weight file.
_BLOCK, _PLACES = 4096, 256


def folder_fingerprint(folder: Path) -> str:
    """A hash over everything in `folder` that can change an answer.

    Configuration and tokenizer files count whole. Of weights, the size and a block out of the
    middle of every tensor: training changes every block of the tensors it touches, and a
    70-billion-parameter model is read in seconds. Names and dates of folders do not count.
    """
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if not file.is_file() or file.suffix not in _WEIGHTS | _TEXTS:
            continue
        content = _sampled(file) if file.suffix in _WEIGHTS else file.read_bytes()
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:32]


def file_fingerprint(file: Path) -> str:
    """A hash over the size of a weight file and a sample of its contents."""
    size = str(file.stat().st_size).encode()
    return hashlib.sha256(size + _sampled(file)).hexdigest()[:32]


def _sampled(file: Path) -> bytes:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if file.suffix == ".safetensors":
            header = stream.read(int.from_bytes(stream.read(8), "little"))
            places = [stream.tell() + offset for offset in _middles(header)]
        else:
            header = b""
            places = [size * place // _PLACES for place in range(_PLACES)]
        parts = [header]
        for place in places:
            stream.seek(place)
            parts.append(stream.read(_BLOCK))
    return b"".join(parts)


def _middles(header: bytes) -> list[int]:
    """Where the middle of each tensor begins, counted from the end of the header."""
    tensors = [entry for name, entry in json.loads(header).items() if name != "__metadata__"]
    spans = sorted(entry["data_offsets"] for entry in tensors)
    return [max(begin, (begin + end - _BLOCK) // 2) for begin, end in spans]
