"""What things cost before they are done: memory and time by formulas over sizes, settings and roofs.

Nothing here reads a file or measures: sizes come from the compiler and the checkpoint, roofs from `llmos.api.measure_roofs`.
"""

from llmos.plan.fit import largest, pool_pages
from llmos.plan.footprint import Footprint, Part, Phase
from llmos.plan.operations import Operation, Step
from llmos.plan.remedies import Choice, remedies
from llmos.plan.roofs import Kernels, Roofs
from llmos.plan.running import (
    PAGE_TOKENS,
    Sizes,
    compiling,
    context_bytes,
    packing,
    running,
    step_rows,
    workspace_bytes,
)
from llmos.plan.speed import Pace, bound_s, compute_s, decode_step, memory_s, pace, predicted_s, prompt_steps
from llmos.plan.training import training

__all__ = [
    "PAGE_TOKENS",
    "Choice",
    "Footprint",
    "Kernels",
    "Operation",
    "Pace",
    "Part",
    "Phase",
    "Roofs",
    "Sizes",
    "Step",
    "bound_s",
    "compiling",
    "compute_s",
    "context_bytes",
    "decode_step",
    "largest",
    "memory_s",
    "pace",
    "packing",
    "pool_pages",
    "predicted_s",
    "prompt_steps",
    "remedies",
    "running",
    "step_rows",
    "training",
    "workspace_bytes",
]
