"""Families by the `model_type` of a Hugging Face config.json, and the way from a config to a spec."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from llmos.core.errors import UserError
from llmos.models.families import gpt2, llama
from llmos.models.fields import Fields
from llmos.models.shapes import shapes
from llmos.models.source import Source
from llmos.models.spec import Spec

__all__ = ["FAMILIES", "sources", "spec_from_config"]

FAMILIES: dict[str, ModuleType] = {module.MODEL_TYPE: module for module in (gpt2, llama)}

# Fields that no family's mathematics depends on: names, token ids, bookkeeping of transformers.
_NEUTRAL = frozenset(
    {"_name_or_path", "architectures", "bos_token_id", "dtype", "eos_token_id", "id2label", "label2id", "model_type"}
    | {
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "return_dict",
        "task_specific_params",
        "torch_dtype",
    }
    | {
        "transformers_version",
        "use_cache",
        "is_decoder",
        "is_encoder_decoder",
        "chunk_size_feed_forward",
        "problem_type",
    }
    | {"_attn_implementation_autoset", "tokenizer_class", "transformers.js_config", "unsloth_fixed", "unsloth_version"}
)


def spec_from_config(raw: Mapping[str, Any]) -> Spec:
    """The spec of a parsed config.json. Raises UserError naming a family or the fields that are not understood."""
    model_type = raw.get("model_type")
    if not isinstance(model_type, str):
        raise UserError(
            "config.json names no model family: the field model_type is missing; "
            f"LLMOS knows {', '.join(sorted(FAMILIES))}"
        )
    family = FAMILIES.get(model_type)
    if family is None:
        raise UserError(f"model family {model_type!r} is not supported; LLMOS knows {', '.join(sorted(FAMILIES))}")
    fields = Fields(raw)
    spec = family.spec(fields)
    fields.refuse_unread(_NEUTRAL | family.IGNORED, model_type)
    return spec


def sources(spec: Spec) -> dict[str, Source]:
    """Where each parameter of the spec lies in its family's checkpoints, with layer numbers filled in (no prefix)."""
    table = FAMILIES[spec.family].WEIGHTS
    out = {}
    for name in shapes(spec):
        pattern, index = name, None
        if name.startswith("layer."):
            _, index, rest = name.split(".", 2)
            pattern = f"layer.{{i}}.{rest}"
        source = table[pattern]
        out[name] = Source(source.name.replace("{i}", str(index)), source.transpose, source.among)
    return out
