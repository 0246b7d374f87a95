"""From a checkpoint to packed weights: damage is named as the checkpoint names it."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from llmos.api.assemble import fill_weights, weights_bytes
from llmos.compiler import Options, build_graph
from llmos.core.errors import UserError
from llmos.models import shapes, sources, spec_from_config
from llmos.weights import Parameters, open_checkpoint
from tests.tiny_programs import CONFIG


@pytest.mark.parametrize("part", ["q_proj", "k_proj", "v_proj"])
def test_values_that_int8_cannot_store_are_refused_with_file_and_tensor(tmp_path, part):
    spec = spec_from_config(CONFIG)
    tensors = {s.name: np.ones(shapes(spec)[n], np.float32) for n, s in sources(spec).items()}
    name = f"model.layers.1.self_attn.{part}.weight"
    tensors[name][-1, -1] = np.nan
    save_file(tensors, tmp_path / "model.safetensors")
    parameters = Parameters(open_checkpoint(tmp_path), sources(spec), shapes(spec), tied=True)
    for weights in ("float32", "int8"):
        graph = build_graph(spec, Options(weights=weights, kv="float32"))
        out = memoryview(bytearray(weights_bytes(graph)))
        if weights == "float32":
            fill_weights(graph, parameters, out)
            continue
        with pytest.raises(UserError, match=rf"model\.safetensors: tensor '{name}' holds NaN or infinite"):
            fill_weights(graph, parameters, out)
