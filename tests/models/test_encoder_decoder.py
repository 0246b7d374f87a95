"""Models with an encoder and a decoder compute what transformers computes."""

import json

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from llmos.models import FAMILIES, encode, forward, memories, shapes, sources, spec_from_config  # noqa: E402
from llmos.ops.numpy_ops import NumpyOps  # noqa: E402
from llmos.ops.torch_ops import TorchOps  # noqa: E402
from llmos.runtime import Batch, NativeExecutor, Output  # noqa: E402
from llmos.weights import Parameters, open_checkpoint  # noqa: E402
from tests.tiny_programs import program  # noqa: E402

CASES = {
    "t5": {},
    "t5, gated": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "t5, more layers in the decoder": {"num_decoder_layers": 3, "feed_forward_proj": "gelu"},
    "t5, few buckets": {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 20},
    "mt5": {"kind": "MT5", "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
}


def random_t5(kind: str = "T5", **changes):
    """A random T5; its head is its own in version 1.1 and in mT5."""
    sizes = {"vocab_size": 97, "d_model": 40, "d_kv": 12, "d_ff": 70, "num_layers": 2, "num_heads": 3}
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**(sizes | {"decoder_start_token_id": 0} | changes))
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.05, 0.25)
    if changes.get("tie_word_embeddings") is False:
        model.lm_head.weight = torch.nn.Parameter(0.3 * torch.randn(97, 40))
    return model


# What is published of t5-small, flan-t5-small and mt5-small, and what that says of the head and of the feed-forward part.
SIZES = {
    "d_ff": 1024,
    "d_kv": 64,
    "d_model": 512,
    "num_layers": 8,
    "num_heads": 6,
    "relative_attention_num_buckets": 32,
}
SIZES |= {
    "decoder_start_token_id": 0,
    "dropout_rate": 0.1,
    "eos_token_id": 1,
    "initializer_factor": 1.0,
    "pad_token_id": 0,
}
SIZES |= {"is_encoder_decoder": True, "layer_norm_epsilon": 1e-06, "use_cache": True, "transformers_version": "4.23.1"}
GATED = {"feed_forward_proj": "gated-gelu", "num_decoder_layers": 8, "tie_word_embeddings": False}
PUBLISHED = {
    "t5-small": (
        {"model_type": "t5", "n_positions": 512, "output_past": True, "task_specific_params": {}, "vocab_size": 32128},
        (True, 512**-0.5, "relu", False),
    ),
    "flan-t5-small": (
        GATED | {"model_type": "t5", "n_positions": 512, "output_past": True, "vocab_size": 32128},
        (False, 1.0, "gelu_tanh", True),
    ),
    "mt5-small": (
        GATED | {"model_type": "mt5", "tokenizer_class": "T5Tokenizer", "vocab_size": 250112},
        (False, 1.0, "gelu_tanh", True),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs_say_what_head_and_which_feed_forward_part(name):
    config, expected = PUBLISHED[name]
    spec = spec_from_config(SIZES | config)
    mlp = spec.layers[0].mlp
    assert (spec.tied, spec.logit_scale, mlp.act, mlp.gated) == expected


def open_folder(folder):
    spec = spec_from_config(json.loads((folder / "config.json").read_text()))
    family = FAMILIES[spec.family]
    names = {"prefixes": family.PREFIXES, "unused": family.UNUSED, "tied": spec.tied}
    return spec, Parameters(open_checkpoint(folder), sources(spec), shapes(spec), **names)


@pytest.mark.parametrize("case", CASES)
def test_logits_agree_with_transformers_and_between_the_operations(case, tmp_path):
    model = random_t5(**CASES[case])
    model.save_pretrained(tmp_path)
    spec, found = open_folder(tmp_path)
    w = {name: found[name].float32().astype(np.float64) for name in found}
    rng = np.random.default_rng(1)
    source, ids = rng.integers(0, spec.vocab, 150), rng.integers(0, spec.vocab, 41)

    def ours(ops, w):
        memory = memories(ops, spec, w, encode(ops, spec, w, source, np.arange(len(source))))
        return np.asarray(forward(ops, spec, w, ids, np.arange(len(ids)), memory))

    with torch.no_grad():
        expected = (
            model.double()(input_ids=torch.from_numpy(source)[None], decoder_input_ids=torch.from_numpy(ids)[None])
            .logits[0]
            .numpy()
        )
    got = ours(NumpyOps(), w)
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()
    np.testing.assert_array_equal(got.argmax(-1), expected.argmax(-1))
    with torch.no_grad():
        by_torch = ours(TorchOps(), {name: torch.from_numpy(value) for name, value in w.items()})
    np.testing.assert_allclose(by_torch, got, rtol=1e-9, atol=1e-9)


@pytest.mark.toolchain
@pytest.mark.parametrize(("weights", "kv", "bound"), [("float32", "float32", 1e-4), ("int8", "bf16", 5e-2)])
@pytest.mark.parametrize("case", ["t5", "t5, gated"])
def test_compiled_code_reads_and_answers_as_transformers_does(case, weights, kv, bound, tmp_path):
    model = random_t5(**CASES[case])
    model.save_pretrained(tmp_path)
    executor = NativeExecutor(program(*open_folder(tmp_path), weights, kv, None), threads=2, n_pages=12)
    rng = np.random.default_rng(1)
    source, ids = rng.integers(0, 97, 150).tolist(), rng.integers(0, 97, 41).tolist()
    pages = [3, 1, 4, 5, 9]
    table = {"positions": list(range(150)), "sequence": [0] * 150, "block_table": [pages]}
    executor.encode(Batch(token_ids=source, **table))
    batch = Batch(token_ids=ids, positions=list(range(41)), sequence=[0] * 41, block_table=[[2, 7]])
    batch.sources, batch.outputs, batch.want_logits = [(pages, 150)], [Output(row=i) for i in range(41)], True
    got = executor.step(batch).logits
    executor.close()
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([ids])).logits[0].numpy()
    assert np.abs(got - expected).max() <= bound * np.abs(expected).max()
