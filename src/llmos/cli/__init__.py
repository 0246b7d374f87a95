"""The command line. Each verb's code is imported when the verb is used, so that asking for help stays fast."""

from llmos.cli.app import main

__all__ = ["main"]
