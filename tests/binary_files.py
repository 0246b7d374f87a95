"""What a shared library is: format, processor and exported names, read from its bytes.

Sources: the ELF specification and elf.h, Mach-O's loader.h and nlist.h, Microsoft's PE format.
"""

import struct
from pathlib import Path

__all__ = ["described"]


def described(path: Path) -> tuple[str, str, set[str]]:
    """(elf, mach-o or pe; x86_64 or aarch64; names that the library exports, as C knows them)."""
    data = path.read_bytes()
    if data[:4] == b"\x7fELF":
        return _elf(data)
    if data[:4] == b"\xcf\xfa\xed\xfe":
        return _macho(data)
    if data[:2] == b"MZ":
        return _pe(data)
    raise AssertionError(f"{path}: not a library")


def _text(data: bytes, start: int) -> str:
    return data[start : data.index(b"\0", start)].decode()


def _elf(data: bytes) -> tuple[str, str, set[str]]:
    machine = {62: "x86_64", 183: "aarch64"}[struct.unpack_from("<H", data, 18)[0]]
    start, (size, count) = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<HH", data, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, start + i * size) for i in range(count)]
    names = set()
    for _, kind, _, _, offset, length, link, _, _, entry in headers:
        if kind == 11:  # SHT_DYNSYM
            strings = headers[link][4]
            for at in range(offset, offset + length, entry):
                name, info, _, section = struct.unpack_from("<IBBH", data, at)
                if section != 0 and info >> 4 == 1:  # defined here, global
                    names.add(_text(data, strings + name))
    return "elf", machine, names


def _macho(data: bytes) -> tuple[str, str, set[str]]:
    _, cpu, _, _, n_commands = struct.unpack_from("<5I", data, 0)
    names, signed, at = set(), False, 32
    for _ in range(n_commands):
        kind, size = struct.unpack_from("<II", data, at)
        signed |= kind == 0x1D  # LC_CODE_SIGNATURE
        if kind == 0x2:  # LC_SYMTAB
            symbols, count, strings, _ = struct.unpack_from("<4I", data, at + 8)
            for i in range(count):
                name, type, section, _, _ = struct.unpack_from("<IBBHQ", data, symbols + 16 * i)
                if type & 0x0F == 0x0F and section != 0:  # N_SECT | N_EXT, not private
                    names.add(_text(data, strings + name).removeprefix("_"))
        at += size
    machine = {0x01000007: "x86_64", 0x0100000C: "aarch64"}[cpu]
    assert signed or machine == "x86_64", "macOS on Arm loads nothing without a signature"
    return "mach-o", machine, names


def _pe(data: bytes) -> tuple[str, str, set[str]]:
    start = struct.unpack_from("<I", data, 60)[0]
    machine, n_sections, _, _, _, optional, _ = struct.unpack_from("<HHIIIHH", data, start + 4)
    sections = [struct.unpack_from("<IIII", data, start + 24 + optional + 40 * i + 8) for i in range(n_sections)]

    def offset(address: int) -> int:
        for size, virtual, raw_size, raw in sections:
            if virtual <= address < virtual + max(size, raw_size):
                return raw + address - virtual
        raise AssertionError(f"address {address:#x} lies in no section")

    table = offset(struct.unpack_from("<I", data, start + 24 + 112)[0])  # the first data directory: exports
    count, _, names = struct.unpack_from("<III", data, table + 24)
    found = {_text(data, offset(at)) for at in struct.unpack_from(f"<{count}I", data, offset(names))}
    return "pe", {0x8664: "x86_64", 0xAA64: "aarch64"}[machine], found
