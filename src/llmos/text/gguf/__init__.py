"""The prompt format of a GGUF file: tokenizer, template and special tokens rebuilt from its metadata."""

from llmos.text.gguf.prompt_format import prompt_format_of_gguf

__all__ = ["prompt_format_of_gguf"]
