"""XLM-RoBERTa (arXiv:1911.02116): RoBERTa of many languages. Reference: transformers `modeling_xlm_roberta.py`."""

from llmos.models.families import roberta
from llmos.models.fields import Fields
from llmos.models.spec import Spec

MODEL_TYPE = "xlm-roberta"
ARCHITECTURE = "XLMRobertaModel"
IGNORED = roberta.IGNORED | {"output_past"}
PREFIXES, UNUSED, WEIGHTS = roberta.PREFIXES, roberta.UNUSED, roberta.WEIGHTS


def spec(c: Fields) -> Spec:
    """The spec of an XLM-RoBERTa config."""
    return roberta.roberta_like(c, MODEL_TYPE)
