"""Training: tokenizer, token shards, module, optimisers, checkpoints, loop, and the Hugging Face folder that comes out.

`train_file` is the entry that the CLI calls. torch is imported by the modules that compute, not by this one, so that
asking for help or refusing a recipe stays fast and works without the `train` extra.
"""

from llmos.trainer.entry import train, train_file
from llmos.trainer.recipe import Recipe

__all__ = ["Recipe", "train", "train_file"]
