"""Messages of the Python interface read as flags at the command line."""

import pytest

from llmos.cli.wording import in_flags


@pytest.mark.parametrize(
    ("message", "worded"),
    [
        ("or pass overflow='drop_oldest' to", "or pass --overflow drop_oldest to"),
        ("repetition_penalty must be finite", "--repetition-penalty must be finite"),
        ("there is no file ./context=4096/model.llm", "there is no file ./context=4096/model.llm"),
        ("./threads=2 holds no weights", "./threads=2 holds no weights"),
        ("a smaller format (weights='int8') or", "a smaller format (--weights int8) or"),
        ("weights='float16' or 'float32' keeps", "--weights float16 or float32 keeps"),
        ("top_k is 3; it must be", "--top-k is 3; it must be"),
        (
            "such as load_model('gpt2-xl') or load_model('tinyllama')",
            "such as llmos run gpt2-xl or llmos run tinyllama",
        ),
        ("there is no file seed=3.bin", "there is no file seed=3.bin"),
        ("the context is a fine thing", "the context is a fine thing"),
    ],
)
def test_settings_are_worded_as_flags(message, worded):
    assert in_flags(message) == worded
