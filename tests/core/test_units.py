"""Sizes and times as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.core.errors import UserError
from llmos.core.units import format_bytes, format_seconds, parse_bytes


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.50 KiB"),
        (10 << 20, "10.0 MiB"),
        (3 << 30, "3.00 GiB"),
        (5 << 50, "5120 TiB"),
    ],
)
def test_bytes_have_three_digits_and_a_binary_unit(n_bytes, text):
    assert format_bytes(n_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(2e-6, "2 µs"), (0.0123, "12.3 ms"), (1.5, "1.5 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_seconds_take_the_unit_that_fits(seconds, text):
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("text", "n_bytes"), [("512", 512), ("1.5 GiB", 3 << 29), ("2g", 2 << 30), ("10 MB", 10_000_000), (" 3 kb ", 3000)]
)
def test_sizes_are_read_as_binary_or_decimal(text, n_bytes):
    assert parse_bytes(text) == n_bytes


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1.2.3 MB", "5 parsecs", "1e9"])
def test_what_is_no_size_is_refused_with_what_is_allowed(text):
    with pytest.raises(UserError, match="is not a size: write a number with"):
        parse_bytes(text)


@given(st.integers(0, 1 << 60))
def test_what_is_written_is_read_back_to_three_digits(n_bytes):
    assert parse_bytes(format_bytes(n_bytes)) == pytest.approx(n_bytes, rel=0.006)
