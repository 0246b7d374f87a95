"""Damage to ZIP files: any field of the headers, the directory and the end record."""

import hashlib
import io
import json
import random
import re
import zipfile

from llmos.artifact.manifest import payload_hash
from tests.fuzz.json_damage import json_damaged
from tests.fuzz.number_damage import bytes_damaged, one_number

__all__ = ["sealed_damaged", "zip_damaged"]

# Fields of a local header, an entry of the directory, the end record: offset and size.
_FIELDS = {
    b"PK\3\4": [(4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)],
    b"PK\1\2": [
        (4, 2),
        (6, 2),
        (8, 2),
        (10, 2),
        (16, 4),
        (20, 4),
        (24, 4),
        (28, 2),
        (30, 2),
        (32, 2),
        (34, 2),
        (38, 4),
        (42, 4),
    ],
    b"PK\5\6": [(4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)],
}


def zip_damaged(rng: random.Random, data: bytes) -> bytes:
    """One of the fields, a name, or bytes anywhere."""
    kind = rng.randrange(8)
    if kind == 0:
        return bytes_damaged(rng, data)
    records = [(found[0], found.start()) for found in re.finditer(rb"PK(?:\x03\x04|\x01\x02|\x05\x06)", data)]
    if kind == 1:
        names = [found.span() for found in re.finditer(rb"\w+\.(?:json|bin)", data)]
        (a, b), (c, d) = rng.choice(names), rng.choice(names)
        return data[:a] + data[c:d] + data[b:]
    if kind == 2:
        directory = data.find(b"PK\1\2")
        return data[:directory] + data[directory:-22] * rng.choice([2, 40]) + data[-22:]
    signature, at = rng.choice(records)
    return one_number(rng, data, [(at + offset, size) for offset, size in _FIELDS[signature]])


def sealed_damaged(rng: random.Random, name: str, data: bytes) -> bytes:
    """A bundle from other hands: one of its documents is damaged, and every hash is right again."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(info.file_size for info in archive.infolist()) > 2 * len(data) + 1000:
            raise ValueError("claims more than it holds already")
        entries = {name: archive.read(name) for name in archive.namelist()}
    victim = rng.choice([name for name in entries if name.endswith(".json")])
    try:
        entries[victim] = json_damaged(rng, entries[victim])
        entries["manifest.json"] = _sealed(entries)
    except (
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
    ):  # the manifest is the victim, or there is nothing to damage
        entries["LICENSE"] = b""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return out.getvalue()


def _sealed(entries: dict[str, bytes]) -> bytes:
    """The manifest with the hashes of the other entries; the weights are one chunk."""
    manifest = json.loads(entries["manifest.json"])
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in entries.items() if name != "manifest.json"}
    hashes["weights.bin"] = hashlib.sha256(hashlib.sha256(entries["weights.bin"]).digest()).hexdigest()
    return json.dumps(manifest | {"sha256": hashes, "payload": payload_hash(hashes)}).encode()
