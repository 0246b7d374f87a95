"""adapter_config.json of the `peft` package. What is not understood and may change the model is refused by name.

Reference: peft 0.21, `tuners/lora/config.py`. A regular expression in `target_modules` is not evaluated: the weights say which
modules they belong to, and an expression from a stranger can run for ever.
"""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmos.core.config import from_dict
from llmos.core.errors import FormatError, UserError
from llmos.core.files import read_object

__all__ = ["AdapterConfig", "is_adapter", "read_adapter_config"]

_FILE = "adapter_config.json"
# How it was trained, and where: the weights are what they are.
_IGNORED = frozenset(
    {"auto_mapping", "ephemeral_gpu_offload", "eva_config", "inference_mode", "loftq_config", "lora_dropout"}
    | {"megatron_core", "peft_version", "qalora_group_size", "runtime_config", "task_type"}
)
# Features that are not read; None, false and empty mean that they are not used.
_UNUSED = frozenset(
    {
        "alora_invocation_tokens",
        "arrow_config",
        "corda_config",
        "ensure_weight_tying",
        "kasa_config",
        "layer_replication",
    }
    | {"lora_bias", "lora_ga_config", "megatron_config", "monteclora_config", "target_parameters"}
    | {"trainable_token_indices", "use_bdlora", "use_qalora", "velora_config"}
)
# Ways to begin that leave the base model's weights alone; the others (pissa, olora, corda, loftq) subtract from them.
_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
_MOST_QUANTIFIERS, _LONGEST_PATTERN = 3, 300


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """The fields that decide what is added to a model.

    target_modules: names, or their ends; None where it was a regular expression. layers_to_transform: numbers of layers or None
    for all. rank_pattern, alpha_pattern: exceptions to r and lora_alpha by regular expressions of module names.
    """

    base_model_name_or_path: str | None = None
    revision: str | None = None
    r: int = 8
    lora_alpha: float = 8.0
    use_rslora: bool = False
    use_dora: bool = False
    fan_in_fan_out: bool = False
    bias: str = "none"
    target_modules: list[str] | None = None
    exclude_modules: list[str] | None = None
    modules_to_save: list[str] | None = None
    layers_to_transform: list[int] | None = None
    layers_pattern: list[str] | None = None
    rank_pattern: dict[str, int] = field(default_factory=dict)
    alpha_pattern: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        if self.r < 1 or any(rank < 1 for rank in self.rank_pattern.values()):
            raise UserError("r must be at least 1")
        if not all(map(math.isfinite, (self.lora_alpha, *self.alpha_pattern.values()))):
            raise UserError("lora_alpha must be a finite number")
        if self.bias not in ("none", "all", "lora_only"):
            raise UserError(f"bias is {self.bias!r}; understood: none, all, lora_only")
        for pattern in (*self.rank_pattern, *self.alpha_pattern):
            _check_pattern(pattern)

    def rank(self, module: str) -> int:
        """r of a module, named as in the base model."""
        return _by_pattern(self.rank_pattern, module, self.r)

    def scale(self, module: str) -> float:
        """What the product of a module's two matrices is multiplied by."""
        alpha, rank = _by_pattern(self.alpha_pattern, module, self.lora_alpha), self.rank(module)
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank

    def targets(self, module: str) -> bool | None:
        """Whether lists of names say that a module is adapted; None where an expression decides."""
        if self.target_modules is None:
            return None
        if any(_ends(module, name) for name in (*(self.exclude_modules or ()), *(self.modules_to_save or ()))):
            return False
        if not any(_ends(module, name) for name in self.target_modules):
            return False
        if not self.layers_to_transform:
            return True
        layer = re.search(r"\.(\d+)\.", module)
        return layer is not None and int(layer[1]) in self.layers_to_transform


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter's configuration."""
    return (folder / _FILE).is_file()


def read_adapter_config(folder: Path) -> AdapterConfig:
    """The configuration of the adapter in a folder. Raises UserError where there is none, FormatError for what it may not say."""
    path = folder / _FILE
    raw = _read(path)
    kind = raw.pop("peft_type", None)
    if kind != "LORA":
        raise FormatError(path, f"peft_type is {kind!r}; understood: LORA (with use_dora or without)")
    used = sorted(name for name in _UNUSED & raw.keys() if raw[name] not in (None, False, [], {}))
    if used:
        raise FormatError(
            path, f"{', '.join(used)} of an adapter is not supported: merge it with peft into its base model"
        )
    start = raw.pop("init_lora_weights", None)
    if not isinstance(start, (str, bool, type(None))) or start not in _STARTS:
        raise FormatError(
            path,
            f"init_lora_weights is {start!r}, which changes the weights of the base model too: save the adapter with peft's "
            "path_initial_model_for_weight_conversion",
        )
    known = {name: value for name, value in raw.items() if name not in _IGNORED | _UNUSED}
    try:
        return from_dict(AdapterConfig, _plain(known))
    except UserError as error:
        raise FormatError(path, str(error)) from error


def _read(path: Path) -> dict[str, Any]:
    return read_object(path, f"{path.parent} is no adapter: there is no {path.name}")


def _plain(raw: dict[str, Any]) -> dict[str, Any]:
    """Fields that may be one of two kinds in one of them; a field that is null is left to its default."""
    out = {name: value for name, value in raw.items() if value is not None}
    for name in ("target_modules", "exclude_modules"):
        if isinstance(out.get(name), str):  # a regular expression
            del out[name]
    for name in ("layers_to_transform", "layers_pattern"):
        if isinstance(out.get(name), (int, str)):
            out[name] = [out[name]]
    return out


def _ends(module: str, name: str) -> bool:
    return module == name or module.endswith(f".{name}")


def _check_pattern(pattern: str) -> None:
    """Only expressions that end soon: few repetitions, none of a group, which could take time exponential in a name's length."""
    quantifiers = len(re.findall(r"[*+?{]", pattern))
    if quantifiers > _MOST_QUANTIFIERS or len(pattern) > _LONGEST_PATTERN or re.search(r"\)[*+?{]|\{", pattern):
        raise UserError(
            f"the pattern {pattern[:80]!r} is too involved: name the modules of rank_pattern and alpha_pattern plainly"
        )
    try:
        re.compile(f"({pattern})")
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"the pattern {pattern[:80]!r} is no regular expression: {error}") from error


def _by_pattern(patterns: dict[str, Any], module: str, default: Any) -> Any:
    """The value of the first pattern that a module's name or its end matches, as peft's `get_pattern_key`."""
    found = (value for pattern, value in patterns.items() if re.match(rf"(.*\.)?({pattern})$", module))
    return next(found, default)
