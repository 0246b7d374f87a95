"""The options of every verb that opens a model come from one place."""

import importlib

import pytest

from llmos.cli import formats
from llmos.compiler import FORMATS, KV_FORMATS


def test_verbs_offer_the_formats_that_there_are():
    """They are written out there, lest help load a compiler."""
    assert tuple(formats.WEIGHTS.choices) == FORMATS
    assert tuple(formats.KV.choices) == KV_FORMATS


@pytest.mark.parametrize("verb", ["run", "embed", "info", "plan", "compile"])
def test_a_verb_that_opens_a_model_takes_all_formats_and_adapters(verb):
    command = importlib.import_module(f"llmos.cli.{verb}").command
    options = {option.name: option for option in command.params}
    assert options["weights"].type is formats.WEIGHTS
    assert options["kv"].type is formats.KV
    assert options["adapter"].multiple
