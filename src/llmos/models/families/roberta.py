"""RoBERTa (arXiv:1907.11692): BERT whose positions start behind that of padding. Reference: transformers `modeling_roberta.py`."""

from llmos.models.families import bert
from llmos.models.fields import Fields
from llmos.models.source import Source
from llmos.models.spec import Spec

MODEL_TYPE = "roberta"
ARCHITECTURE = "RobertaModel"
IGNORED = bert.IGNORED
PREFIXES = ("roberta.", "")
UNUSED = (r"(roberta\.)?pooler\.dense\.(weight|bias)", r"(roberta\.)?embeddings\.position_ids", r"lm_head\..*")
FIRST_POSITION = 2  # the id of padding, which is 1, and one more
WEIGHTS = bert.WEIGHTS | {"position": Source("embeddings.position_embeddings.weight", skip=FIRST_POSITION)}


def spec(c: Fields) -> Spec:
    """The spec of a RoBERTa config, with the defaults of transformers' RobertaConfig where it leaves something out."""
    return roberta_like(c, MODEL_TYPE)


def roberta_like(c: Fields, family: str) -> Spec:
    c.expect("pad_token_id", 1)
    return bert.bert_like(c, family, context=c.integer("max_position_embeddings", 512) - FIRST_POSITION)
