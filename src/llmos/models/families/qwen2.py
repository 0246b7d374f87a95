"""Qwen 2 and 2.5: Llama with biases of queries, keys and values. Reference: transformers `modeling_qwen2.py`."""

from dataclasses import replace

from llmos.models.decoder_fields import attention_of, mlp_of, spec_of
from llmos.models.families import llama
from llmos.models.fields import Fields
from llmos.models.gguf import DECODER, Gguf
from llmos.models.spec import Attention, Layer, Norm, Spec
from llmos.models.window_fields import SLIDING, layer_types, window_when_used

MODEL_TYPE = "qwen2"
ARCHITECTURE = "Qwen2ForCausalLM"
IGNORED = frozenset({"attention_dropout", "initializer_range"})
PREFIXES = ("",)
UNUSED = llama.UNUSED
WEIGHTS = llama.WEIGHTS
GGUF = Gguf(arch="qwen2", fields=DECODER, constants={"hidden_act": "silu"})


def spec(c: Fields) -> Spec:
    """The spec of a Qwen 2 config."""
    c.expect("use_mrope", False)
    return windowed(c, MODEL_TYPE, attention_of(c, qkv_bias=True))


def windowed(c: Fields, family: str, attention: Attention) -> Spec:
    """A model whose later layers may have a window: those from max_window_layers on, or as layer_types says."""
    norm = Norm(kind="rms", eps=c.number("rms_norm_eps", 1e-6))
    count, window, first = c.integer("num_hidden_layers"), window_when_used(c), c.number("max_window_layers", 28)
    types = layer_types(c, count, lambda i: window is not None and i >= first)
    full = Layer(norm=norm, attention=attention, mlp=mlp_of(c))
    sliding = replace(full, attention=replace(attention, window=window))
    layers = tuple(sliding if kind == SLIDING else full for kind in types)
    return spec_of(c, family, layers, norm, context=32768)
