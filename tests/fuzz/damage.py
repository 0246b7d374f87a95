"""Damage to files, made with a seed and with knowledge of each format: `damaged(rng, name, data)`.

Every format is damaged where its readers must not believe it: counts, lengths, offsets, types, values of another kind. What
is not known better is damaged as bytes.
"""

import json
import random
import struct
from collections.abc import Callable
from pathlib import PurePath

from tests.fuzz.gguf_damage import gguf_damaged
from tests.fuzz.json_damage import json_damaged
from tests.fuzz.number_damage import bytes_damaged, one_number
from tests.fuzz.protobuf_damage import protobuf_damaged
from tests.fuzz.template_damage import template_damaged
from tests.fuzz.text_damage import lines_damaged
from tests.fuzz.zip_damage import zip_damaged

__all__ = ["damaged"]

Damage = Callable[[random.Random, bytes], bytes]


def damaged(rng: random.Random, name: str, data: bytes) -> bytes:
    """The file with one to three damages, mostly of its own format."""
    own = _BY_SUFFIX.get(PurePath(name).suffix, bytes_damaged)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        damage = own if rng.random() < 0.8 else bytes_damaged
        try:
            data = damage(rng, data)
        except (
            ValueError,
            LookupError,
            ArithmeticError,
            TypeError,
            AttributeError,
            RecursionError,
            struct.error,
        ):  # damaged beyond its format already
            data = bytes_damaged(rng, data)
    return data


def safetensors_damaged(rng: random.Random, data: bytes) -> bytes:
    """Another header, another length of it, or other bytes of tensors."""
    length = int.from_bytes(data[:8], "little")
    header, body = data[8 : 8 + length], data[8 + length :]
    kind = rng.randrange(6)
    if kind == 0:
        return one_number(rng, data, [(0, 8)])
    if kind == 1:
        return data[: 8 + length] + bytes_damaged(rng, body)
    if kind == 2:
        header = _tensor_damaged(rng, header)
    else:
        header = json_damaged(rng, header)
    return len(header).to_bytes(8, "little") + header + body


def _tensor_damaged(rng: random.Random, header: bytes) -> bytes:
    """One entry changed so that it may still fit together: dtype and shape, offsets moved, a name exchanged."""
    document = json.loads(header)
    names = [name for name in document if name != "__metadata__"]
    entry = document[rng.choice(names)]
    kind = rng.randrange(4)
    if kind == 0:
        entry["dtype"] = rng.choice(["F32", "F16", "BF16", "I8", "U8", "BOOL", "F64", "I32", "F8_E4M3", "F4", "C64"])
    elif kind == 1:
        entry["shape"] = rng.choice([entry["shape"][::-1], [*entry["shape"], 1], [0], [], [2**32, 2**32], [1] * 70])
    elif kind == 2:
        move = rng.choice([-1, 1, 2, 4, 64, 2**31, 2**62, -(2**31)])
        entry["data_offsets"] = [offset + move for offset in entry["data_offsets"]]
    else:
        other = rng.choice(names)
        entry |= document[other]
    return json.dumps(document).encode()


_BY_SUFFIX: dict[str, Damage] = {
    ".safetensors": safetensors_damaged,
    ".json": json_damaged,
    ".gguf": gguf_damaged,
    ".model": protobuf_damaged,
    ".llm": zip_damaged,
    ".jinja": template_damaged,
    ".txt": lines_damaged,
    ".tiktoken": lines_damaged,
}
