"""The torch operations compute what the numpy definition says."""

import numpy as np
import pytest

from llmos.models import Llama3Scaling, LongFactors, Rope, Yarn, forward, shapes, spec_from_config
from llmos.ops.numpy_ops import NumpyOps

torch = pytest.importorskip("torch")
tiny = pytest.importorskip("tests.tiny_checkpoints", reason="transformers is not installed")
from llmos.ops.torch_ops import TorchOps  # noqa: E402

pytestmark = pytest.mark.torch

LLAMA = {
    "model_type": "llama", "vocab_size": 40, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 32, "rms_norm_eps": 1e-5,
    "hidden_act": "silu", "tie_word_embeddings": True,
}  # fmt: skip
GPT2 = {
    "model_type": "gpt2", "vocab_size": 40, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 32, "n_ctx": 32,
    "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new",
}  # fmt: skip


def values(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("config", [LLAMA, GPT2], ids=["llama", "gpt2"])
def test_forward_pass_equals_the_definition(config):
    agree(spec_from_config(config), 11)


@pytest.mark.parametrize("case", tiny.CASES)
def test_forward_pass_of_every_family_equals_the_definition(case):
    agree(spec_from_config(tiny.CASES[case]().config.to_dict()), 43)


def agree(spec, length):
    w = {name: values(i, *shape) * 0.3 for i, (name, shape) in enumerate(shapes(spec).items())}
    tokens, positions = np.arange(length) * 7 % 40, np.arange(length)
    expected = forward(NumpyOps(), spec, w, tokens, positions)
    tensors = {name: torch.from_numpy(value) for name, value in w.items()}
    batch = torch.from_numpy(np.stack([tokens, tokens[::-1].copy()]))
    got = forward(TorchOps(), spec, tensors, batch, torch.from_numpy(positions))
    assert np.abs(got[0].numpy() - expected).max() < 1e-9 * np.abs(expected).max()


@pytest.mark.parametrize("kind", ["relu", "silu", "gelu", "gelu_tanh"])
def test_activation_equals_the_definition(kind):
    x = values(0, 5, 7) * 3
    assert np.allclose(TorchOps().act(torch.from_numpy(x), kind).numpy(), NumpyOps().act(x, kind), atol=1e-12)


@pytest.mark.parametrize(
    "rope",
    [
        Rope(theta=1e4),
        Rope(theta=1e4, linear_factor=2.0),
        Rope(theta=1e4, rotated=6, yarn=Yarn(factor=4, original_context=16), magnitude=1.2),
        Rope(theta=1e4, rotated=4, long=LongFactors(short=(1, 1.5), long=(2, 9), original_context=8)),
        Rope(theta=5e5, llama3=Llama3Scaling(factor=8, low_freq_factor=1, high_freq_factor=4, original_context=64)),
    ],
)
def test_rope_equals_the_definition(rope):
    x, positions = values(1, 9, 3, 16), np.arange(9) * 5
    for context in (None, 41):
        got = TorchOps(context).rope(torch.from_numpy(x), torch.from_numpy(positions), rope)
        assert np.allclose(got.numpy(), NumpyOps(context=context).rope(x, positions, rope), atol=1e-12)
