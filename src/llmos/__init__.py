"""LLMOS: an operating system for large language models. The public names are those of the module `llm`."""

__version__ = "0.1.0"
