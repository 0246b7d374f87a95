"""The text part of a Gemma 3 that also sees: pictures are not read, and its tower of vision is left out.

Reference: transformers `modeling_gemma3.py`; arXiv:2503.19786.
"""

from llmos.core.errors import UserError
from llmos.models.families import gemma3_text
from llmos.models.fields import Fields
from llmos.models.neutral_fields import NEUTRAL
from llmos.models.source import Source
from llmos.models.spec import Spec

MODEL_TYPE = "gemma3"
ARCHITECTURE = "Gemma3ForConditionalGeneration"
IGNORED = frozenset({"boi_token_index", "boi_token_id", "eoi_token_index", "eoi_token_id", "image_token_index"})
IGNORED |= {"image_token_id", "initializer_range", "mm_tokens_per_image", "vision_config"}
PREFIXES = ("language_model.model.", "model.language_model.")
UNUSED = (r"(model\.)?vision_tower\..*", r"(model\.)?multi_modal_projector\..*")
WEIGHTS = {
    name: Source(source.name.removeprefix("model."), plus=source.plus) for name, source in gemma3_text.WEIGHTS.items()
}

# Sizes that text_config leaves out where they are those of transformers' Gemma3TextConfig.
_USUAL = {"vocab_size": 262208, "hidden_size": 2304, "num_attention_heads": 8, "num_key_value_heads": 4}


def spec(c: Fields) -> Spec:
    """The spec of the text part of a Gemma 3 config."""
    table = c.table("text_config")
    if table is None:
        raise UserError(f"{c.where}: text_config is missing, which says what a gemma3 model is made of")
    text = Fields(_USUAL | table.raw, table.where)
    tied = c.flag("tie_word_embeddings", True)
    text.expect("model_type", "gemma3_text")
    out = gemma3_text.text(text, MODEL_TYPE)
    if not (tied and out.tied):
        raise UserError(f"{c.where}: tie_word_embeddings = False is not supported for a gemma3 model that also sees")
    text.refuse_unread(NEUTRAL | gemma3_text.IGNORED, MODEL_TYPE)
    return out
