"""The files that a model was loaded from: none of them stays mapped once the weights are in their arena."""

from pathlib import Path

import pytest

import llm
from llmos.api import compile_model
from tests.tiny_checkpoints import llama, save

pytestmark = [pytest.mark.toolchain, pytest.mark.torch]


def mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


def test_no_file_of_a_checkpoint_or_bundle_stays_mapped(tmp_path):
    folder = save(llama(), tmp_path / "tiny")
    bundle = tmp_path / "tiny.llm"
    compile_model(str(folder), bundle)
    for source in (folder, bundle):
        with llm.load_model(source) as model:
            assert not mapped(tmp_path)
            assert len(model.generate_tokens([1, 2, 3], max_tokens=4, ignore_eos=True)) == 4
