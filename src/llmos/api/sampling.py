"""The settings of a generation: checked, with defaults from the model's generation_config."""

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from llmos.core.errors import UserError
from llmos.runtime import SamplingParameters

__all__ = ["Settings", "settings_from"]

_FROM_MODEL = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """See `Model.generate_text`. logit_bias: added to the scores of ids; top_logprobs: alternatives kept per token."""

    max_tokens: int = 128
    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = dataclasses.field(default_factory=dict)
    seed: int | None = None
    stop: list[str] = dataclasses.field(default_factory=list)
    overflow: Literal["error", "drop_oldest"] = "error"
    logprobs: bool = False
    top_logprobs: int = 0
    ignore_eos: bool = False
    priority: int = 0
    owner: str = ""

    def __post_init__(self):
        for name in ("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            _require(number, f"{name} must be a finite number, not {value!r}")
        for name in ("max_tokens", "top_k", "top_logprobs", "priority"):
            value = getattr(self, name)
            _require(
                isinstance(value, int) and not isinstance(value, bool), f"{name} must be a whole number, not {value!r}"
            )
        _require(self.max_tokens >= 0, f"max_tokens is {self.max_tokens}; it must be at least 0")
        _require(self.temperature >= 0, f"temperature is {self.temperature}; it must be 0 (greedy) or more")
        _require(0 < self.top_p <= 1, f"top_p is {self.top_p}; it must be above 0 and at most 1 (off)")
        _require(self.top_k >= 0, f"top_k is {self.top_k}; it must be 0 (off) or more")
        _require(self.top_k < 2**31, f"top_k is {self.top_k}; it must be below 2**31")
        _require(0 <= self.min_p <= 1, f"min_p is {self.min_p}; it must be between 0 (off) and 1")
        _require(
            self.repetition_penalty > 0,
            f"repetition_penalty is {self.repetition_penalty}; it must be above 0 (1 is off)",
        )
        _require(
            self.overflow in ("error", "drop_oldest"), f"overflow is {self.overflow!r}; allowed: error, drop_oldest"
        )
        _require(0 <= self.top_logprobs <= 100, f"top_logprobs is {self.top_logprobs}; it must be between 0 and 100")
        seed = self.seed
        _require(
            seed is None or (isinstance(seed, int) and 0 <= seed < 2**64),
            f"seed is {seed!r}; it must be from 0 to 2**64 - 1",
        )

    def sampling(self, seed: int) -> SamplingParameters:
        """What the executor is told."""
        same = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
        bias = tuple(sorted((int(id), float(value)) for id, value in self.logit_bias.items()))
        return SamplingParameters(**{name: getattr(self, name) for name in same}, logit_bias=bias, seed=seed)


def settings_from(given: Mapping[str, Any], model: Mapping[str, Any], vocab: int) -> Settings:
    """Settings from keywords over the model's own defaults. Raises UserError for unknown names and impossible values."""
    names = [field.name for field in dataclasses.fields(Settings)]
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            raise UserError(
                f"unknown setting {name!r}: " + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}")
            )
    values = {name: model[name] for name in _FROM_MODEL if model.get("do_sample") and model.get(name) is not None}
    values |= {name: value for name, value in given.items() if value is not None}
    stop = values.get("stop", [])
    values["stop"] = [stop] if isinstance(stop, str) else list(stop)
    for id in values.get("logit_bias", {}):
        _require(
            isinstance(id, int) and 0 <= id < vocab,
            f"logit_bias names token id {id!r}; the vocabulary is 0 to {vocab - 1}",
        )
    return Settings(**values)
