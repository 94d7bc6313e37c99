"""The first layers of the embedded model in another precision: small, and nonsense as a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, quants


def write_tiny_gguf(source: Path, into: Path, precision: str, layers: int = 2) -> Path:
    """`into`, holding `layers` layers of the Llama-shaped model in `source`.

    Args:
        source: A GGUF file.
        into: The file to write.
        precision: What the matrices become: `F16`, `Q8_0` and so on.
        layers: How many layers are kept.
    """
    reader = GGUFReader(source)
    writer = GGUFWriter(into, "llama")
    for field in reader.fields.values():
        if field.name == "general.architecture" or field.name.startswith("GGUF."):
            continue
        value = layers if field.name == "llama.block_count" else field.contents()
        _add(writer, field, value)
    for tensor in reader.tensors:
        if tensor.name.startswith("blk.") and int(tensor.name.split(".")[1]) >= layers:
            continue
        kind = GGMLQuantizationType[precision] if len(tensor.shape) > 1 else tensor.tensor_type
        plain = quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, quants.quantize(plain, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return into


def _add(writer: GGUFWriter, field: Any, value: Any) -> None:
    if field.types[0] == GGUFValueType.ARRAY:
        writer.add_array(field.name, value)
    else:
        writer.add_key_value(field.name, value, field.types[0])
