"""Mistral: Llama with a sliding window in the first ones. Reference: transformers `modeling_mistral.py`; arXiv:2310.06825."""

from llmos.models.decoder_fields import attention_of, mlp_of, repeated, spec_of
from llmos.models.families import llama
from llmos.models.fields import Fields
from llmos.models.gguf import DECODER, Gguf
from llmos.models.spec import Layer, Norm, Spec

MODEL_TYPE = "mistral"
ARCHITECTURE = "MistralForCausalLM"
IGNORED = frozenset({"attention_dropout", "initializer_range"})
PREFIXES = ("",)
UNUSED = llama.UNUSED
WEIGHTS = llama.WEIGHTS
GGUF = Gguf(
    arch="llama",
    when="attention.sliding_window",
    fields=DECODER | {"sliding_window": "attention.sliding_window"},
    constants={"hidden_act": "silu"},
    neighbours=True,
)


def spec(c: Fields) -> Spec:
    """The spec of a Mistral config."""
    norm = Norm(kind="rms", eps=c.number("rms_norm_eps", 1e-6))
    attention = attention_of(c, window=c.integer_or_none("sliding_window", 4096))
    layer = Layer(norm=norm, attention=attention, mlp=mlp_of(c))
    return spec_of(c, MODEL_TYPE, repeated(c, layer), norm, context=131072)
