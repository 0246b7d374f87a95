"""The size of a page, known before compiling, is the one that compiled code gives."""

import pytest

from llmos.compiler import PAGE_TOKENS, Options, build_graph, compile_code, page_bytes, target_named
from llmos.models import spec_from_config
from llmos.native import include_dir, sources_hash
from llmos.runtime import abi
from tests.tiny_programs import CONFIG

ODD_HEADS = {"model_type": "gpt2", "n_embd": 39, "n_head": 3, "n_layer": 2, "n_positions": 64, "vocab_size": 50}
ODD_HEADS |= {"layer_norm_epsilon": 1e-5}


def test_a_page_has_as_many_tokens_as_the_step_abi_says():
    assert PAGE_TOKENS == abi.PAGE_TOKENS


@pytest.mark.toolchain
@pytest.mark.parametrize("kv", ["float32", "float16", "bf16", "int8"])
@pytest.mark.parametrize("config", [CONFIG, CONFIG | {"head_dim": 16}, ODD_HEADS], ids=["12", "16", "13"])
def test_compiled_code_and_the_graph_agree_on_the_size_of_a_page(kv, config):
    graph = build_graph(spec_from_config(config), Options(weights="float32", kv=kv))
    library = compile_code(
        graph, target_named("portable", frozenset()), include=include_dir(), kernels_hash=sources_hash()
    )
    assert page_bytes(graph) == abi.load_library(str(library)).llmos_page_bytes()
