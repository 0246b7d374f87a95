"""The passes, each `Graph -> Graph` and named for its effect, and the one list that says in which order they run."""

from llmos.compiler.passes.choose_formats import choose_formats
from llmos.compiler.passes.fold_scale import fold_scale
from llmos.compiler.passes.fuse_gate_up import fuse_gate_up
from llmos.compiler.passes.fuse_gated import fuse_gated
from llmos.compiler.passes.fuse_qkv import fuse_qkv
from llmos.compiler.passes.fuse_quantize import fuse_quantize
from llmos.compiler.passes.fuse_residual import fuse_residual
from llmos.compiler.passes.plan_memory import plan_memory

__all__ = ["PIPELINE"]

PIPELINE = (fold_scale, fuse_qkv, fuse_gate_up, fuse_residual, choose_formats, fuse_quantize, fuse_gated, plan_memory)
