"""The recipe: everything a training run depends on, as frozen dataclasses read from one TOML file.

The model table is a Hugging Face config, so any family that `llmos.models` knows can be trained. All files of a run (the
tokenizer, token shards, checkpoints, log and the finished model) live under `folder`. Paths are relative to the working
directory, as in every other command.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from llmos.core.config import to_dict
from llmos.core.errors import UserError

__all__ = [
    "Batch",
    "Checkpoints",
    "Data",
    "Evaluation",
    "Generation",
    "Optimizer",
    "Recipe",
    "Schedule",
    "Source",
    "Tokenizer",
]


def require(condition: bool, problem: str) -> None:
    if not condition:
        raise UserError(problem)


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """A byte-level BPE to be trained, or a finished tokenizer folder to take over."""

    path: Path | None = field(
        default=None,
        metadata={"help": "folder with tokenizer.json to use as it is; the other settings are then unused"},
    )
    vocab: int = field(default=8192, metadata={"help": "entries, special tokens included"})
    special: list[str] = field(
        default_factory=lambda: ["<|endoftext|>"], metadata={"help": "special tokens; the first one ends documents"}
    )
    stop: list[str] = field(
        default_factory=lambda: ["<|endoftext|>"], metadata={"help": "special tokens that end a generation"}
    )
    chat_template: str | None = field(default=None, metadata={"help": "Jinja template, stored with the model"})
    sample_bytes: int = field(
        default=40_000_000, metadata={"help": "text read to train it, divided over the sources by weight"}
    )

    def __post_init__(self):
        require(bool(self.special), "tokenizer.special is empty: name at least the token that ends documents")
        require(set(self.stop) <= set(self.special), "tokenizer.stop names a token that is not in tokenizer.special")
        least = 256 + len(self.special)
        require(
            least < self.vocab <= 65536,
            f"vocab is {self.vocab}; allowed: {least + 1} (bytes and special tokens) to 65536",
        )


@dataclass(frozen=True, kw_only=True)
class Source:
    """One stream of documents and its share of the training tokens."""

    name: str = field(metadata={"help": "short name, also of its shard"})
    path: Path = field(metadata={"help": ".jsonl or .txt file, plain or compressed with xz, bz2 or gzip"})
    weight: float = field(default=1.0, metadata={"help": "share of the training tokens, relative to the other sources"})
    text_field: str = field(default="text", metadata={"help": "key of the document's text in each JSON line"})

    def __post_init__(self):
        require(
            self.name.replace("-", "").replace("_", "").isalnum(),
            f"source name {self.name!r}: letters, digits, - and _ only",
        )
        require(self.weight > 0, f"weight of source {self.name} is {self.weight}; it must be above 0")


@dataclass(frozen=True, kw_only=True)
class Data:
    """What is read in training and what quality is measured on."""

    sources: list[Source]
    heldout: list[Source] = field(default_factory=list)
    seed: int = field(default=0, metadata={"help": "order of the training windows, initial weights"})

    def __post_init__(self):
        require(bool(self.sources), "data.sources is empty: name at least one")
        names = [source.name for source in self.sources]
        require(len(set(names)) == len(names), "two sources have the same name")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Tokens of one optimiser step: sequences * length * accumulate."""

    sequences: int = field(default=8, metadata={"help": "sequences computed at once"})
    length: int = field(default=256, metadata={"help": "tokens of a sequence"})
    accumulate: int = field(default=1, metadata={"help": "times that gradients are summed before a step"})

    def __post_init__(self):
        require(
            min(self.sequences, self.length, self.accumulate) >= 1,
            "sequences, length and accumulate must be at least 1",
        )

    @property
    def tokens(self) -> int:
        return self.sequences * self.length * self.accumulate


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """AdamW for everything, or Muon for the matrices inside the layers and AdamW for the rest."""

    name: Literal["adamw", "muon"] = "adamw"
    lr: float = field(default=3e-3, metadata={"help": "peak learning rate of AdamW"})
    matrix_lr: float = field(
        default=2e-2, metadata={"help": "peak learning rate of Muon, in units of its orthogonal update"}
    )
    beta1: float = 0.9
    beta2: float = 0.95
    momentum: float = field(default=0.95, metadata={"help": "of Muon, with Nesterov's correction"})
    weight_decay: float = field(default=0.1, metadata={"help": "decoupled; of matrices only"})
    clip: float = field(default=1.0, metadata={"help": "largest norm of all gradients together; 0 never clips"})


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Learning rate over steps: linear warm-up, then cosine to the end, or stable and a decay at the end (WSD)."""

    kind: Literal["wsd", "cosine"] = "wsd"
    steps: int = field(default=1000, metadata={"help": "optimiser steps in all"})
    warmup_steps: int = 50
    decay_steps: int = field(default=200, metadata={"help": "length of the final decay (wsd only)"})
    final: float = field(default=0.0, metadata={"help": "share of the peak learning rate left at the last step"})

    def __post_init__(self):
        require(self.steps >= 1, f"steps is {self.steps}; it must be at least 1")
        require(0 <= self.warmup_steps <= self.steps, "warmup_steps must be between 0 and steps")
        require(self.kind != "wsd" or 0 <= self.decay_steps <= self.steps, "decay_steps must be between 0 and steps")


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """How often the state is kept. A run that finds a checkpoint in its folder goes on from it."""

    every_steps: int = 500
    keep: int = field(default=2, metadata={"help": "newest checkpoints that stay on disk"})

    def __post_init__(self):
        require(self.every_steps >= 1 and self.keep >= 1, "every_steps and keep must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Bits per byte on the held-out text."""

    every_steps: int = 500
    length: int | None = field(default=None, metadata={"help": "window, in tokens; None: that of batch.length"})
    stride: int | None = field(
        default=None, metadata={"help": "tokens between windows; None: windows that do not overlap"}
    )
    max_bytes: int = field(
        default=200_000,
        metadata={"help": "text read of each held-out source during training; the last evaluation reads all"},
    )

    def __post_init__(self):
        require(self.every_steps >= 1, f"every_steps is {self.every_steps}; it must be at least 1")
        require(self.length is None or self.length >= 1, f"length is {self.length}; it must be at least 1")
        require(self.stride is None or self.stride >= 1, f"stride is {self.stride}; it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Generation:
    """Sampling that the finished model proposes, in its generation_config.json. Training does not depend on it."""

    temperature: float = 0.8
    top_p: float = 0.95
    min_p: float = field(default=0.0, metadata={"help": "leave out tokens below this share of the likeliest one's"})
    repetition_penalty: float = field(default=1.0, metadata={"help": "1 is off"})
    min_new_tokens: int = field(default=0, metadata={"help": "no stop token before so many; 1 never answers nothing"})

    def __post_init__(self):
        require(self.temperature >= 0, f"temperature is {self.temperature}; it must be 0 or more")
        require(0 < self.top_p <= 1, f"top_p is {self.top_p}; it must be above 0 and at most 1")
        require(0 <= self.min_p <= 1, f"min_p is {self.min_p}; it must be from 0 to 1")
        require(self.min_new_tokens >= 0, f"min_new_tokens is {self.min_new_tokens}; it must be at least 0")
        require(self.repetition_penalty > 0, f"repetition_penalty is {self.repetition_penalty}; it must be above 0")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole run."""

    folder: Path = field(metadata={"help": "all files of the run"})
    model: dict[str, object] = field(metadata={"help": "a Hugging Face config: model_type and its sizes"})
    data: Data
    tokenizer: Tokenizer = field(default_factory=Tokenizer)
    batch: Batch = field(default_factory=Batch)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    evaluation: Evaluation = field(default_factory=Evaluation)
    generation: Generation = field(default_factory=Generation)
    precision: Literal["bf16", "float32"] = field(
        default="bf16", metadata={"help": "of matrix products; masters are float32 either way"}
    )
    compile: Literal["auto", "yes", "no"] = field(
        default="auto", metadata={"help": "torch.compile; auto: where a C++ compiler exists"}
    )
    threads: int | None = field(
        default=None, metadata={"help": "CPU threads; None: all cores that the process may use"}
    )

    def __post_init__(self):
        stride = self.evaluation.stride
        require(
            stride is None or stride <= self.window,
            f"evaluation.stride is {stride}; windows of {self.window} tokens would leave some out: it must be at most that",
        )

    @property
    def config(self) -> dict[str, object]:
        """The model's config; a vocabulary that it leaves open is as large as the tokenizer that is trained for it."""
        return dict(self.model) if self.tokenizer.path else {"vocab_size": self.tokenizer.vocab} | self.model

    @property
    def window(self) -> int:
        """Tokens of an evaluation window."""
        return self.evaluation.length or self.batch.length

    def identity(self) -> str:
        """Hash of what a checkpoint depends on. Horizon, logging and speed settings may change between resumes."""
        plain = to_dict(self)
        parts = {name: plain[name] for name in ("model", "data", "tokenizer", "batch", "optimizer", "precision")}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
