"""What the tests of the command line share."""

import json
import shutil
from pathlib import Path

import pytest

from llmos.hub import resolve


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model with no end-of-text token and more context than a terminal or a pipe buffers: it never ends."""
    folder = tmp_path_factory.mktemp("endless")
    for file in resolve("llmos-mini").path.iterdir():
        shutil.copyfile(file, folder / file.name)
    for name, changes in {
        "config.json": {"max_position_embeddings": 65536, "eos_token_id": None},
        "generation_config.json": {"eos_token_id": None},
        "tokenizer_config.json": {"eos_token": None},
    }.items():
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder
