"""The engine: continuous batching, paged KV memory, prefix sharing, and the executor that runs compiled code."""

from llmos.runtime.engine import Engine
from llmos.runtime.executor import Batch, Executor, NativeExecutor, Output, Program, Result, SamplingParameters
from llmos.runtime.packing import native_checksum, native_packer
from llmos.runtime.pages import PagePool
from llmos.runtime.sequence import Process, Request, Sequence

__all__ = [
    "Batch",
    "Engine",
    "Executor",
    "NativeExecutor",
    "Output",
    "PagePool",
    "Process",
    "Program",
    "Request",
    "Result",
    "SamplingParameters",
    "Sequence",
    "native_checksum",
    "native_packer",
]
