"""Numbers of settings: every one that float32 holds, and no other."""

import math
from fractions import Fraction

import pytest

from llmos.api.sampling import settings_from
from llmos.core.errors import UserError

NUMBERS = ("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
WHOLE = ("max_tokens", "min_tokens", "top_k", "top_logprobs", "priority", "seed")


def shown(value) -> str:
    return "huge" if isinstance(value, int | Fraction) and abs(value) > 10**300 else repr(value)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "value", [10**400, -(10**400), 10**5000, 1e39, 1e-50, math.inf, math.nan, Fraction(10**400), "1", True], ids=shown
)
def test_a_number_that_float32_does_not_hold_is_refused(name, value):
    with pytest.raises(UserError, match=f"^{name} must be"):
        settings_from({name: value}, {}, 10)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("value", [10**400, -(10**5000), 10**5000], ids=shown)
def test_a_whole_number_of_no_use_is_refused(name, value):
    with pytest.raises(UserError, match=f"^{name} "):
        settings_from({name: value}, {}, 10)


@pytest.mark.parametrize("value", [10**400, 10**5000, 1e308, 1e-300, math.inf, math.nan, Fraction(10**400)], ids=shown)
def test_a_bias_that_float32_does_not_hold_is_refused(value):
    with pytest.raises(UserError, match="logit_bias of token id 5 must be"):
        settings_from({"logit_bias": {5: value}}, {}, 10)


@pytest.mark.parametrize("id", [10, 10**400, 10**5000, -1, "5", True], ids=shown)
def test_a_bias_of_no_token_is_refused(id):
    with pytest.raises(UserError, match=r"logit_bias names token id .*; the vocabulary is 0 to 9"):
        settings_from({"logit_bias": {id: 1.0}}, {}, 10)


def test_what_float32_holds_is_taken():
    extremes = {0: 3.4e38, 1: -3.4e38, 2: 2e-38, 3: 0, 4: -math.inf, 5: Fraction(1, 2)}
    chosen = settings_from({"temperature": Fraction(1, 2), "logit_bias": extremes}, {}, 10)
    assert chosen.temperature == 0.5
    assert chosen.sampling(1).logit_bias[4] == (4, -math.inf)


def test_more_alternatives_than_tokens_are_refused_with_the_size():
    assert settings_from({"top_logprobs": 10}, {}, 10).top_logprobs == 10
    with pytest.raises(UserError, match="top_logprobs is 11; the vocabulary has 10 tokens"):
        settings_from({"top_logprobs": 11}, {}, 10)
