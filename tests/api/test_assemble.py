"""From a checkpoint to packed weights: damage is named as the checkpoint names it."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from llmos.api.assemble import fill_weights, weights_bytes
from llmos.compiler import Options, build_graph, layout
from llmos.core.errors import UserError
from llmos.models import shapes, sources, spec_from_config
from llmos.weights import Groups, Parameters, QuantizedTensor, Tensor, open_checkpoint, pack, unpack
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


@pytest.mark.parametrize("weights", ["int4", "uint4", "int8", "bf16"])
def test_matrices_that_are_stored_in_a_format_are_taken_over_as_they_are(weights):
    spec = spec_from_config(CONFIG)
    stored = {name: as_stored(name, shape) for name, shape in shapes(spec).items()}
    graph = build_graph(spec, Options(weights=weights, kv="float32"))
    out = bytearray(weights_bytes(graph))
    fill_weights(graph, stored, memoryview(out))
    for section in layout(graph):
        got = np.frombuffer(out, np.uint8)[section.offset : section.offset + section.n_bytes]
        if section.format == "plain":
            continue
        values = np.concatenate([stored[part].float32() for part in section.parts])
        expected = np.concatenate([of_format(stored[part], weights) for part in section.parts])
        np.testing.assert_array_equal(unpack(got, *values.shape, weights), expected)


def as_stored(name, shape):
    """Matrices as groups of int4, but for those that a file holds otherwise: v in uint4 and o in float16."""
    rng = np.random.default_rng(len(name))
    if len(shape) == 1:
        return Tensor("float32", np.ones(shape, np.float32))
    if name.endswith(".o"):
        return Tensor("float16", rng.normal(size=shape).astype(np.float16))
    scales, minimums = (rng.normal(size=(shape[0], -(-shape[1] // 32))).astype(np.float16) for _ in range(2))
    codes = rng.integers(0, 16, shape).astype(np.uint8)
    groups = Groups(codes=codes, scales=scales, minimums=minimums if name.endswith(".v") else None)
    return QuantizedTensor(
        dtype="groups",
        shape=shape,
        where=name,
        keeps=groups.format,
        read_float32=lambda a, b: groups.rows(a, b).float32(),
        read_groups=groups.rows,
    )


def of_format(tensor, weights):
    """What a tensor becomes in a format when nothing is rounded that need not be."""
    exact = {
        "int4": ("int4", "uint4", "int8"),
        "uint4": ("uint4",),
    }  # formats whose codes and scales can be those stored
    if isinstance(tensor, QuantizedTensor) and weights in exact[tensor.keeps]:
        return tensor.float32()
    return unpack(pack(tensor.float32(), weights), *tensor.shape, weights)
