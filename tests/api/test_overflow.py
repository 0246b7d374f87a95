"""Prompts over the context, where the caller asked that their oldest part be left out: it is said how much."""

import warnings

import pytest

import llm
from llmos.api.overflow import newest_ids, newest_messages
from llmos.core.errors import UserError

SYSTEM = {"role": "system", "content": "Be kind."}


def exchange(i: int, length: int = 1) -> list[dict[str, str]]:
    said = f"word{i} " * length
    return [{"role": "user", "content": said}, {"role": "assistant", "content": said}]


def spelled(messages) -> list[int]:
    """An id for each letter of what is said, and one for each message."""
    return [0] * sum(1 + len(message["content"]) for message in messages)


def test_the_newest_ids_stay_and_a_beginning_token_too():
    assert newest_ids([1, 2, 3, 4], 4, 1) == [1, 2, 3, 4]
    assert newest_ids([1, 2, 3, 4], 2, None) == [3, 4]
    assert newest_ids([1, 2, 3, 4], 2, 1) == [1, 4]


def test_whole_exchanges_go_from_the_oldest_and_the_system_message_stays():
    seen = []

    def encode(messages):
        seen.append(messages)
        return spelled(messages)

    ask = {"role": "user", "content": "Why?"}
    conversation = [SYSTEM, *exchange(1), *exchange(2), *exchange(3), ask]
    room = len(spelled([SYSTEM, *exchange(3), ask])) + 3
    assert len(newest_messages(conversation, encode, room, 100)) == room - 3
    assert seen[-1] == [SYSTEM, *exchange(3), ask]


def test_a_conversation_that_fits_stays_whole_whoever_begins_it():
    conversation = [{"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Hi"}]
    assert newest_messages(conversation, spelled, 100, 100) == spelled(conversation)


def test_the_last_exchange_stays_even_where_little_room_is_left():
    last = [{"role": "user", "content": "Hello"}]
    assert newest_messages([*exchange(1), *last], spelled, 3, 6) == spelled(last)


def test_a_last_message_that_is_too_long_is_refused_with_the_counts():
    with pytest.raises(UserError, match=r"has 6 tokens, the context holds 5"):
        newest_messages([*exchange(1), {"role": "user", "content": "Hello"}], spelled, 3, 5)


@pytest.fixture(scope="module")
def model():
    with llm.load_model("llmos-mini") as model:
        yield model


@pytest.mark.toolchain
@pytest.mark.parametrize("method", ["generate_text", "generate_tokens", "stream_text", "chat"])
def test_what_gives_bare_values_warns_of_what_was_left_out(model, method):
    prompt = exchange(0, 300)[:1] + exchange(1)[1:] + exchange(2)[:1] if method == "chat" else [5] * 520
    with pytest.warns(llm.ModelNotice, match=r"^\d+ tokens of the prompt were left out") as caught:
        getattr(model, method)(prompt, overflow="drop_oldest", max_tokens=1)
    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.toolchain
def test_a_generation_says_it_itself(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.generate([5] * 520, overflow="drop_oldest", max_tokens=1).dropped_tokens == 9
        assert model.generate_tokens([5] * 20, overflow="drop_oldest", max_tokens=1)


@pytest.mark.toolchain
def test_the_tags_of_a_template_are_never_cut_and_the_answer_has_room(model):
    kept = [SYSTEM, *exchange(3), {"role": "user", "content": "Why?"}]
    whole = model.generate(kept, temperature=0, max_tokens=20)
    long = [SYSTEM, *exchange(1, 200), *exchange(2, 200), *kept[1:]]
    cut = model.generate(long, temperature=0, max_tokens=20, overflow="drop_oldest")
    assert (cut.tokens, cut.prompt_tokens) == (whole.tokens, whole.prompt_tokens)
    assert cut.dropped_tokens > 400
