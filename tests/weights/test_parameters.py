"""A checkpoint that does not fit its config: everything wrong with it in one message."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from llmos.core.errors import FormatError
from llmos.models import shapes, sources, spec_from_config
from llmos.weights import Llama2cFile, Parameters, open_checkpoint

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


def test_a_llama2c_file_cut_short_is_refused(tmp_path, data_dir):
    data = (data_dir / "real-weights" / "stories260K.bin").read_bytes()
    path = tmp_path / "cut.bin"
    path.write_bytes(data[:-100])
    with pytest.raises(FormatError, match="cut off"):
        Llama2cFile(path)
    path.write_bytes(b"GGUF" + data[4:])
    with pytest.raises(FormatError, match="wrong magic number"):
        Llama2cFile(path)
