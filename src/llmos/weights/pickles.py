"""Pickles are recognised only to be refused: opening one runs whatever its writer put into it."""

from pathlib import Path

from llmos.core.errors import UserError

__all__ = ["is_pickle", "pickle_refusal"]

_ZIP = b"PK\x03\x04"


def is_pickle(head: bytes) -> bool:
    """Whether a file that begins so is a pickle, bare or in the ZIP file that torch.save writes.

    A llama2.c file of width 640 begins with the bytes of pickle protocol 2 too; its third byte is zero, which no pickle has.
    """
    return head[:4] == _ZIP or (head[:1] == b"\x80" and head[1:2] in b"\2\3\4\5" and head[2:3] not in b"\0")


def pickle_refusal(path: Path, files: list[str]) -> UserError:
    """The error that names the pickles and the safe way around them."""
    return UserError(
        f"{path} holds weights as pickles only ({', '.join(files[:3])}); a pickle can run any program when it is opened, "
        "so LLMOS never does. Convert it where you trust its source: load it with transformers, then "
        "save_pretrained(folder) writes safetensors"
    )
