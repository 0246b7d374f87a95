"""A checkpoint that does not fit its config: everything wrong with it in one message."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from llmos.core.errors import FormatError
from llmos.models import shapes, sources, spec_from_config
from llmos.weights import Llama2cFile, Parameters, open_checkpoint
from llmos.weights.precision import precision_of
from llmos.weights.tensor import Tensor

CONFIG = {
    "model_type": "llama",
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "intermediate_size": 12,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "vocab_size": 10,
    "max_position_embeddings": 16,
    "tie_word_embeddings": True,
}
SPEC = spec_from_config(CONFIG)


def checkpoint(folder, changes=()):
    tensors = {s.name: np.zeros(shapes(SPEC)[n], np.float32) for n, s in sources(SPEC).items()}
    for name, value in dict(changes).items():
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value
    save_file(tensors, folder / "model.safetensors")
    return open_checkpoint(folder)


def parameters(found):
    return Parameters(found, sources(SPEC), shapes(SPEC), tied=True)


def test_missing_extra_and_misshapen_tensors_are_listed_together(tmp_path):
    changes = {
        "model.norm.weight": None,
        "model.layers.0.mlp.up_proj.weight": np.zeros((3, 4), np.float32),
        "model.layers.7.strange": np.zeros(2, np.float32),
    }
    with pytest.raises(FormatError) as caught:
        parameters(checkpoint(tmp_path, changes))
    message = str(caught.value)
    assert "missing model.norm.weight" in message
    assert "up_proj.weight has shape [3, 4], the config asks for [12, 8]" in message
    assert "unexpected model.layers.7.strange" in message


def test_a_tied_head_must_equal_the_embedding(tmp_path):
    parameters(checkpoint(tmp_path, {"lm_head.weight": np.zeros((10, 8), np.float32)}))
    with pytest.raises(FormatError, match="differs from the embedding"):
        parameters(checkpoint(tmp_path, {"lm_head.weight": np.ones((10, 8), np.float32)}))


def test_integer_weights_are_refused(tmp_path):
    with pytest.raises(FormatError, match="int8"):
        parameters(checkpoint(tmp_path, {"model.norm.weight": np.zeros(8, np.int8)}))


@pytest.mark.parametrize(
    ("types", "kept"),
    [("float16 float16", "float16"), ("float16 bfloat16", "float32"), ("bfloat16 float32", "float32")],
)
def test_what_is_kept_holds_the_numbers_of_every_matrix(types, kept):
    """Neither of float16 and bfloat16 holds the other: one has more digits, the other reaches further."""
    stored = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}
    tensors = {f"layer.{i}": Tensor(kind, np.zeros((2, 2), stored[kind])) for i, kind in enumerate(types.split())}
    assert precision_of(tensors | {"norm": Tensor("float32", np.zeros(2, np.float32))}, "x").dtype == kept


def test_what_does_not_fit_is_told_a_line_each_and_not_all_of_it(tmp_path):
    made = checkpoint(tmp_path, {f"strange.{i:02}": np.zeros(1, np.float32) for i in range(13)})
    with pytest.raises(FormatError, match="weights do not fit the config:") as caught:
        Parameters(made, sources(SPEC), shapes(SPEC), tied=True)
    _, *lines = str(caught.value).split("\n")
    assert lines == [*(f"  unexpected strange.{i:02}" for i in range(10)), "  and 3 more"]


def test_many_spare_tensors_cost_little(tmp_path):
    """The biases of a quantised mixture of experts: a pattern for each would be looked for in each of the others."""
    spare = [f"model.layers.0.experts.{i}.bias" for i in range(20_000)]
    made = checkpoint(tmp_path, dict.fromkeys(spare, np.zeros(1, np.float32)))
    read = Parameters(made, sources(SPEC), shapes(SPEC), spare=spare, tied=True)
    assert len(read) == len(shapes(SPEC))
    with pytest.raises(FormatError, match=r"unexpected model\.layers\.0\.experts\.19999\.bias"):
        Parameters(made, sources(SPEC), shapes(SPEC), spare=spare[:-1], tied=True)


def test_a_llama2c_file_cut_short_is_refused(tmp_path, data_dir):
    data = (data_dir / "real-weights" / "stories260K.bin").read_bytes()
    path = tmp_path / "cut.bin"
    path.write_bytes(data[:-100])
    with pytest.raises(FormatError, match="cut off"):
        Llama2cFile(path)
    path.write_bytes(b"GGUF" + data[4:])
    with pytest.raises(FormatError, match="wrong magic number"):
        Llama2cFile(path)
