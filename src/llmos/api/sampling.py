"""The settings of a generation: checked, with defaults from the model's generation_config.

`Settings` is the one list of them. `SettingKeywords` repeats names and types for editors and type checkers, and
`takes_settings` puts them into the signatures of the methods of `Model`; a test holds the three together.
"""

import dataclasses
import inspect
import math
import numbers
import reprlib
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, TypeVar

from llmos.api.model_defaults import TAKEN, defaults_of
from llmos.core.errors import UserError
from llmos.core.names import refuse_unknown
from llmos.runtime import SamplingParameters

__all__ = ["SettingKeywords", "Settings", "settings_from", "takes_settings"]

Method = TypeVar("Method", bound=Callable[..., Any])

_NUMBERS = ("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
_FLOAT32 = "a finite number within float32 (0, or 1.2e-38 to 3.4e38 in size)"


class SettingKeywords(TypedDict, total=False):
    """The keywords that every generating method takes; None is the same as leaving one out."""

    max_tokens: int | None
    min_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    repetition_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: Mapping[int, float] | None
    seed: int | None
    stop: str | Sequence[str] | None
    overflow: Literal["error", "drop_oldest"] | None
    logprobs: bool | None
    top_logprobs: int | None
    ignore_eos: bool | None
    priority: int | None
    owner: str | None
    tools: Sequence[Any] | None
    template_arguments: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """See `Model.generate_text`. logit_bias: added to the scores of ids; top_logprobs: alternatives kept per token.

    tools and template_arguments are for the chat template, and only a conversation has one.
    """

    max_tokens: int = 128
    min_tokens: int = 0
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
    tools: Sequence[Any] | None = None
    template_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_types()
        _require(self.max_tokens >= 0, f"max_tokens is {self.max_tokens}; it must be at least 0")
        _require(self.min_tokens >= 0, f"min_tokens is {self.min_tokens}; it must be at least 0")
        _require(self.temperature >= 0, f"temperature is {self.temperature}; it must be 0 (greedy) or more")
        _require(0 < self.top_p <= 1, f"top_p is {self.top_p}; it must be above 0 and at most 1 (off)")
        _require(self.top_k >= 0, f"top_k is {self.top_k}; it must be 0 (off) or more")
        _require(self.top_k < 2**31, f"top_k is {self.top_k}; it must be below 2**31")
        _require(0 <= self.min_p <= 1, f"min_p is {self.min_p}; it must be between 0 (off) and 1")
        penalty = self.repetition_penalty
        _require(penalty > 0, f"repetition_penalty is {penalty}; it must be above 0 (1 is off)")
        policies = ("error", "drop_oldest")
        _require(self.overflow in policies, f"overflow is {self.overflow!r}; allowed: {', '.join(policies)}")
        _require(0 <= self.top_logprobs <= 100, f"top_logprobs is {self.top_logprobs}; it must be between 0 and 100")
        seed_fits = self.seed is None or (_is_whole(self.seed) and 0 <= self.seed < 2**64)
        _require(seed_fits, f"seed is {_shown(self.seed)}; it must be from 0 to 2**64 - 1")

    def _check_types(self) -> None:
        for name in _NUMBERS:
            value = getattr(self, name)
            _require(_fits_float32(value), f"{name} must be {_FLOAT32}, not {_shown(value)}")
        for name in ("max_tokens", "min_tokens", "top_k", "top_logprobs", "priority"):
            value = getattr(self, name)
            whole = _is_whole(value) and abs(value) < 2**63
            _require(whole, f"{name} must be a whole number below 2**63, not {_shown(value)}")
        for name in ("logprobs", "ignore_eos"):
            value = getattr(self, name)
            _require(isinstance(value, bool), f"{name} must be True or False, not {value!r}")
        _require(isinstance(self.owner, str), f"owner must be text, not {self.owner!r}")
        listed = self.tools is None or (isinstance(self.tools, Sequence) and not isinstance(self.tools, (str, bytes)))
        _require(listed, f"tools must be a list of functions or JSON schemas, not {_shown(self.tools)}")
        named = isinstance(self.template_arguments, Mapping) and all(
            isinstance(key, str) for key in self.template_arguments
        )
        _require(named, f"template_arguments must be a dict of names to values, not {_shown(self.template_arguments)}")

    def sampling(self, seed: int) -> SamplingParameters:
        """What the executor is told."""
        same = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
        bias = tuple(sorted((int(id), float(value)) for id, value in self.logit_bias.items()))
        return SamplingParameters(**{name: getattr(self, name) for name in same}, logit_bias=bias, seed=seed)


def settings_from(given: Mapping[str, Any], model: Mapping[str, Any], vocab: int) -> Settings:
    """Settings from keywords over the defaults of `model`, a generation_config.json.

    Raises UserError for unknown names and impossible values.
    """
    names = [field.name for field in dataclasses.fields(Settings)]
    refuse_unknown(given, names)
    values = defaults_of(model)
    values |= {name: _python_number(value) for name, value in given.items() if value is not None}
    values["stop"] = _stops(values.get("stop", []))
    values["logit_bias"] = _bias(values.get("logit_bias", {}), vocab)
    chosen = Settings(**values)
    n_top = chosen.top_logprobs
    _require(n_top <= vocab, f"top_logprobs is {n_top}; the vocabulary has {vocab} tokens")
    return chosen


def takes_settings(method: Method) -> Method:
    """The method with every setting in its signature in place of `**settings`: what `help` and notebooks show.

    A setting that the model's generation_config may decide shows the default None.
    """
    hints = typing.get_type_hints(SettingKeywords)
    signature = inspect.signature(method)
    shown = [parameter for parameter in signature.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
    for field in dataclasses.fields(Settings):
        decided_later = field.name in TAKEN or field.default is dataclasses.MISSING
        default = None if decided_later else field.default
        hint = hints[field.name] if default is None else typing.get_type_hints(Settings)[field.name]
        shown.append(inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint))
    method.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
    return method


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


def _python_number(value: Any) -> Any:
    """Numbers of numpy and fractions as Python's; anything else as it is."""
    if isinstance(value, (bool, int, float)) or not isinstance(value, numbers.Real):
        return value
    try:
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    except OverflowError:
        return math.inf


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _fits_float32(value: Any) -> bool:
    """Whether it is a number that stays one in float32, and no other becomes 0 there. Integers are compared as they are."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and (value == 0 or 2.0**-126 <= abs(value) <= (2 - 2.0**-23) * 2.0**127)


def _shown(value: Any) -> str:
    """Its repr, shortened. Python writes no integer of more than 4300 digits."""
    try:
        return reprlib.repr(value)
    except ValueError:
        return "a number of thousands of digits"


def _stops(given: Any) -> list[str]:
    if isinstance(given, str):
        return [given]
    _require(isinstance(given, Sequence), f"stop must be a text or a list of texts, not {_shown(given)}")
    return list(given)


def _bias(given: Any, vocab: int) -> dict[int, float]:
    _require(isinstance(given, Mapping), f"logit_bias must be a dict of token ids to numbers, not {_shown(given)}")
    bias: dict[int, float] = {}
    for key, number in given.items():
        id, value = _python_number(key), _python_number(number)
        known = _is_whole(id) and 0 <= id < vocab
        _require(known, f"logit_bias names token id {_shown(key)}; the vocabulary is 0 to {vocab - 1}")
        fits = value == -math.inf or _fits_float32(value)  # minus infinity: never drawn
        _require(fits, f"logit_bias of token id {id} must be {_FLOAT32}, or -inf, not {_shown(number)}")
        bias[id] = value
    return bias
