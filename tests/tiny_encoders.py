"""Tiny random encoders, made and saved by transformers, as `tiny_checkpoints` are: what they give are hidden rows."""

import numpy as np
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaForMaskedLM,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from tests.tiny_checkpoints import _random as random_weights

SIZES = {
    "vocab_size": 83,
    "hidden_size": 36,
    "intermediate_size": 50,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 98,
}


def bert(kind=BertModel, **changes) -> PreTrainedModel:
    return random_weights(kind, BertConfig(**(SIZES | changes)))


def roberta(kind=RobertaForMaskedLM, config=RobertaConfig, **changes) -> PreTrainedModel:
    return random_weights(kind, config(**(SIZES | {"type_vocab_size": 1, "pad_token_id": 1} | changes)))


def distilbert(**changes) -> PreTrainedModel:
    sizes = {"vocab_size": 83, "dim": 45, "hidden_dim": 51, "n_layers": 2, "n_heads": 3, "max_position_embeddings": 96}
    return random_weights(DistilBertModel, DistilBertConfig(**(sizes | changes)))


CASES = {
    "bert": lambda: bert(),
    "bert, masked language model": lambda: bert(BertForMaskedLM, num_hidden_layers=1),
    "bert, one head of odd size": lambda: bert(hidden_size=33, num_attention_heads=1, hidden_act="relu"),
    "bert, many heads": lambda: bert(hidden_size=51, num_attention_heads=17, type_vocab_size=3, hidden_act="gelu_new"),
    "roberta": lambda: roberta(),
    "xlm-roberta": lambda: roberta(XLMRobertaModel, XLMRobertaConfig, num_attention_heads=6),
    "distilbert": lambda: distilbert(),
}


def hidden(model: PreTrainedModel, ids: list[int]) -> np.ndarray:
    """The last hidden rows (T, D) of one sequence without padding."""
    with torch.no_grad():
        return model.base_model(torch.tensor([ids])).last_hidden_state[0].numpy()
