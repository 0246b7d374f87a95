"""mT5: version 1.1 of T5 for many languages. Reference: transformers `modeling_mt5.py`; paper arXiv:2010.11934."""

from llmos.models.families import t5
from llmos.models.fields import Fields
from llmos.models.spec import Spec

MODEL_TYPE = "mt5"
ARCHITECTURE = "MT5ForConditionalGeneration"
IGNORED = t5.IGNORED | {"tie_word_embeddings"}  # transformers 5 says that they are tied, and does as the file has it
PREFIXES, UNUSED = t5.PREFIXES, t5.UNUSED
weights = t5.weights


def spec(c: Fields) -> Spec:
    """The spec of an mT5 config. Its head is its own."""
    return t5.t5_like(c, MODEL_TYPE, tied=False, act="gated-gelu")
