"""What a caller sees of speculation: the same text, ids and numbers, in fewer steps, and counts."""

import pytest

import llm
from llmos.api.generation import Generation
from llmos.plan.running import DRAFTED_ROWS
from llmos.runtime import Engine, drafting
from llmos.runtime.drafting import Drafter
from llmos.text import StopMatcher

pytestmark = pytest.mark.toolchain
TEXT = "The old man went down to the sea. The old man went down to the sea. The old man went down to the"
SETTINGS = [
    {"temperature": 0.0},
    {"temperature": 0.7, "seed": 4, "logprobs": True, "top_logprobs": 3},
    {"temperature": 0.9, "seed": 1, "repetition_penalty": 1.2, "presence_penalty": 0.3},
    {"temperature": 0.0, "min_tokens": 30, "stop": ["sea", "a m", " "]},
    {"temperature": 0.0, "stop": "man w"},
]


@pytest.fixture(scope="module")
def plain():
    with llm.load_model("llmos-mini", speculation="off") as model:
        yield model


@pytest.mark.parametrize("speculation", ["auto", 15])
def test_a_real_model_says_the_same_with_and_without(plain, speculation):
    with llm.load_model("llmos-mini", speculation=speculation) as model:
        for prompt in (TEXT, "Once upon a time"):
            for settings in SETTINGS:
                given, expected = (each.generate(prompt, max_tokens=90, **settings) for each in (model, plain))
                assert (given.text, given.tokens, given.finish_reason) == (
                    expected.text,
                    expected.tokens,
                    expected.finish_reason,
                )
                assert (given.logprobs, given.top_logprobs) == (expected.logprobs, expected.top_logprobs)
        told = model.info()["speculation"]
        assert told["setting"] == speculation
        assert 0 < told["accepted"] <= told["drafted"]
    assert plain.info()["speculation"] == {"setting": "off"}


class Knowing(Drafter):
    """Guesses the ids that are known to come."""

    def __init__(self, ids):
        super().__init__(15, measured=False)
        self.ids = ids

    def guess(self, sequence):
        return self.ids[len(sequence.ids) :][: self.most]


@pytest.mark.parametrize("n", range(3, 40, 9))
def test_what_comes_behind_a_stop_string_is_not_part_of_a_generation(plain, n):
    """A stop string that is met first is the one that ends, though a longer one begins before it, as with one id at a time."""
    whole = plain.generate(TEXT, max_tokens=60, temperature=0, logprobs=True, top_logprobs=1)
    met = whole.text[n]
    stop = [whole.text[n - 2 : n + 6], met] if met not in whole.text[n - 2 : n] else [whole.text[n - 2 : n + 6]]
    asked = {"max_tokens": 60, "temperature": 0, "logprobs": True, "top_logprobs": 1, "stop": stop}
    expected = plain.generate(TEXT, **asked)
    plan = plain._plan(TEXT, asked)
    drafter = Knowing([*plan.request.ids, *whole.tokens])
    given = Generation(Engine(plain._executor, drafter=drafter), plan.request, plain._tokenizer, StopMatcher(stop), 0)
    assert "".join(given) == expected.text == given.text
    assert (given.tokens, given.finish_reason) == (expected.tokens, "stop")
    assert (given.logprobs, given.top_logprobs) == (expected.logprobs, expected.top_logprobs)
    assert given.speculation["accepted"] > 0 or len(given.tokens) < 3


def test_an_impossible_setting_is_refused_before_anything_is_loaded():
    with pytest.raises(llm.UserError, match="speculation is 'sometimes'; allowed: 'auto', 'off', or 1 to 15"):
        llm.load_model("no-such-model", speculation="sometimes")


def test_a_plan_has_room_for_the_rows_of_drafts():
    assert DRAFTED_ROWS == drafting._MOST_ROWS == 2 * (drafting.MOST_DRAFTS + 1)
