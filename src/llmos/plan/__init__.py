"""What things cost before they are done: memory and time by formulas over sizes, settings and roofs.

Nothing here reads a file or measures: sizes come from the compiler and the checkpoint, roofs from `llmos.api.measure_roofs`.
"""

from llmos.plan.fit import largest, pool_pages
from llmos.plan.footprint import Footprint, Part, Phase
from llmos.plan.running import PAGE_TOKENS, Sizes, compiling, context_bytes, running, workspace_bytes
from llmos.plan.training import training

__all__ = [
    "PAGE_TOKENS",
    "Footprint",
    "Part",
    "Phase",
    "Sizes",
    "compiling",
    "context_bytes",
    "largest",
    "pool_pages",
    "running",
    "training",
    "workspace_bytes",
]
