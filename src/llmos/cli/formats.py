"""The number formats that verbs offer. Written out, so that a verb's help needs no compiler; a test compares the lists."""

import click

__all__ = ["KV", "KV_HELP", "WEIGHTS", "WEIGHTS_HELP"]

WEIGHTS = click.Choice(["float32", "float16", "bf16", "int8", "int4", "uint4"])
WEIGHTS_HELP = "Weight format [the checkpoint's]."
KV = click.Choice(["float32", "float16", "bf16", "int8"])
KV_HELP = "Format of keys and values in memory [that of float32 and float16 weights, else bf16]."
