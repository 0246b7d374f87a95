"""GGUF: the file format of llama.cpp and of what is built on it."""

from llmos.weights.gguf.file import GgufFile, gguf_parts

__all__ = ["GgufFile", "gguf_parts"]
