"""What is checked before anything is compiled or allocated: the context, and the memory for it."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

import llm
from llmos.api.assemble import rope_bytes, rope_tables
from llmos.api.limits import chosen_context
from llmos.api.prepare import choose_options, open_source
from llmos.compiler import Options
from llmos.core.errors import ResourceError, UserError
from llmos.models import inverse_frequencies, shapes, sources, spec_from_config
from tests.tiny_programs import CONFIG

ENDLESS = CONFIG | {"max_position_embeddings": 2**45}


@pytest.fixture
def endless(tmp_path, monkeypatch):
    """A checkpoint that claims more positions than there can be, where no compiler works: compiling would say so."""
    monkeypatch.setenv("LLMOS_CC", "no-such-compiler")
    spec, folder = spec_from_config(ENDLESS), tmp_path / "endless"
    folder.mkdir()
    save_file(
        {s.name: np.ones(shapes(spec)[n], np.float32) for n, s in sources(spec).items()}, folder / "model.safetensors"
    )
    (folder / "config.json").write_text(json.dumps(ENDLESS))
    return str(folder)


@pytest.mark.parametrize("context", [2**45, 2**31])
def test_a_context_that_no_position_can_count_is_refused_before_compiling(endless, context):
    with pytest.raises(UserError, match=f"context {context} is not possible: this model can have 1 to 2147483647"):
        llm.load_model(endless, context=context)


def test_a_context_over_the_memory_is_refused_before_compiling(endless):
    with pytest.raises(ResourceError, match=r"endless needs .* for a context of 2147483647 tokens; .*choose context="):
        llm.load_model(endless, context=2**31 - 1)


def test_the_context_is_the_models_own_up_to_8192():
    assert chosen_context(spec_from_config(ENDLESS), None) == 8192
    assert chosen_context(spec_from_config(CONFIG), None) == 192
    assert chosen_context(spec_from_config(CONFIG), 192) == 192
    with pytest.raises(UserError, match="1 to 192"):
        chosen_context(spec_from_config(CONFIG), 193)


def test_rope_tables_are_as_large_as_was_said_and_the_same_however_they_are_computed(monkeypatch):
    spec = spec_from_config(CONFIG)
    angles = np.outer(np.arange(1000), inverse_frequencies(spec.layers[0].attention.rope, 12))
    expected = np.concatenate([np.cos(angles).reshape(-1), np.sin(angles).reshape(-1)]).astype(np.float32)
    monkeypatch.setattr("llmos.api.assemble._POSITIONS", 300)
    tables = rope_tables(spec, 1000)
    assert tables.nbytes == rope_bytes(spec, 1000)
    np.testing.assert_array_equal(tables, expected)


@pytest.mark.parametrize("stored", ["float32", "float16"])
def test_a_checkpoint_keeps_its_precision_and_so_do_keys_and_values(stored, tmp_path):
    spec = spec_from_config(CONFIG)
    tensors = {s.name: np.ones(shapes(spec)[n], stored) for n, s in sources(spec).items()}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert choose_options(open_source(str(tmp_path)), None, None) == Options(weights=stored, kv=stored)


def test_formats_are_those_asked_for_and_four_bits_are_none_of_keys_and_values():
    source = open_source("llmos-mini")
    assert choose_options(source, None, None) == Options(weights="bf16", kv="bf16")
    assert choose_options(source, "int4", None) == Options(weights="int4", kv="bf16")
    assert choose_options(source, "uint4", "float16") == Options(weights="uint4", kv="float16")
    with pytest.raises(UserError, match=r"kv format 'int4' is not known; allowed: float32, float16, bf16, int8"):
        choose_options(source, None, "int4")
