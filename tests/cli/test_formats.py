"""The formats that verbs offer are written out there, lest their help load a compiler."""

from llmos.cli import formats
from llmos.compiler import FORMATS, KV_FORMATS


def test_verbs_offer_the_formats_that_there_are():
    assert tuple(formats.WEIGHTS.choices) == FORMATS
    assert tuple(formats.KV.choices) == KV_FORMATS
