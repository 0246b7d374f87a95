"""Tokens and text: ids of the reference, no half characters, stops found across borders."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.core.errors import FormatError, UserError
from llmos.hub import resolve
from llmos.text import Decoder, PromptFormat, StopMatcher, Tokenizer, render_chat


@pytest.fixture(scope="module")
def mini() -> Tokenizer:
    return Tokenizer(PromptFormat.load(resolve("llmos-mini").path))


def test_gpt2_vectors_give_the_reference_ids(data_dir):
    vectors = data_dir / "tokenizers" / "vectors"
    tokenizer = Tokenizer(PromptFormat(tokenizer=(data_dir / "tokenizers" / "gpt2_tokenizer.json").read_text("utf-8")))
    texts = (vectors / "ggml-vocab-gpt-2.gguf.inp").read_text("utf-8").split("\n__ggml_vocab_test__\n")
    lines = (vectors / "ggml-vocab-gpt-2.gguf.out").read_text("utf-8").split("\n")
    compared = 0
    for text, line in zip(texts, lines, strict=False):
        assert tokenizer.encode(text, special=False) == [int(id) for id in line.split()], repr(text)
        compared += 1
    assert compared > 20


def test_llama2c_vocabulary_gives_the_recorded_ids_and_text(data_dir):
    folder = data_dir / "real-weights"
    expected = json.loads((folder / "stories260K_expected.json").read_text())
    tokenizer = Tokenizer(PromptFormat.from_llama2c(folder / "tok512.bin", 512))
    for case in expected["greedy"]:
        assert tokenizer.encode(case["prompt"]) == case["prompt_ids"]


@pytest.mark.parametrize(
    "name", ["Qwen-Qwen2.5-7B-Instruct", "microsoft-Phi-3.5-mini-instruct", "mistralai-Mistral-Nemo-Instruct-2407"]
)
def test_chat_templates_render_as_transformers_renders_them(data_dir, name, mini):
    utilities = pytest.importorskip("transformers.utils.chat_template_utils", reason="transformers is not installed")
    template = (data_dir / "tokenizers" / "templates" / f"{name}.jinja").read_text("utf-8")
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    format = PromptFormat(tokenizer=mini.format.tokenizer, chat_template=template, special=special)
    messages = [
        {"role": "user", "content": "Hi <b>there</b>\n"},
        {"role": "assistant", "content": "Grüß dich!"},
        {"role": "user", "content": "What is 2 + 2?"},
    ]
    for add in (True, False):
        theirs, _ = utilities.render_jinja_template(
            [messages], chat_template=template, add_generation_prompt=add, **special
        )
        assert render_chat(format, messages, add_generation_prompt=add) == theirs[0]


def test_a_template_cannot_reach_the_program(mini):
    attack = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    format = PromptFormat(tokenizer=mini.format.tokenizer, chat_template=attack)
    with pytest.raises(UserError, match="is Python's own and barred"):
        render_chat(format, [{"role": "user", "content": "x"}])


def test_a_model_without_template_says_so(mini):
    with pytest.raises(UserError, match="no chat template"):
        render_chat(PromptFormat(tokenizer=mini.format.tokenizer), [{"role": "user", "content": "x"}])


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=40))
def test_pieces_joined_are_the_whole_and_never_half_a_character(mini, text):
    ids = mini.encode(text, special=False)
    decoder = Decoder(mini)
    pieces = [decoder.push(id) for id in ids]
    assert "".join(pieces) + decoder.finish() == mini.decode(ids)
    if "\N{REPLACEMENT CHARACTER}" not in text:
        assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


@settings(max_examples=200, deadline=None)
@given(
    text=st.text("abc", max_size=30),
    stops=st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
    cut=st.integers(1, 5),
)
def test_a_stop_string_is_found_however_the_text_is_cut(text, stops, cut):
    matcher, out, stopped = StopMatcher(stops), "", False
    for start in range(0, len(text), cut):
        piece, stopped = matcher.push(text[start : start + cut])
        out += piece
        if stopped:
            break
    out += "" if stopped else matcher.finish()
    ends = [end for end in (text.find(stop) for stop in stops) if end >= 0]
    assert stopped == bool(ends)
    if not stopped:
        assert out == text
    else:
        assert text.startswith(out)
        assert not any(stop in out for stop in stops)


def test_a_tokenizer_that_does_not_fit_the_vocabulary_is_refused(mini):
    with pytest.raises(FormatError, match=r"8191.*99"):
        mini.check_vocab(100)


def test_a_damaged_tokenizer_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(FormatError, match="tokenizer"):
        PromptFormat.load(tmp_path)


def test_golden_ids_travel_and_are_checked(mini):
    golden = mini.golden()
    mini.verify_golden(golden)
    golden[1]["ids"] = [1, 2, 3]
    with pytest.raises(UserError, match="other ids"):
        mini.verify_golden(golden)
    again = PromptFormat.from_dict(json.loads(json.dumps(mini.format.to_dict())))
    assert again.hash == mini.format.hash


@pytest.mark.parametrize(
    "template", ["{{ 1 // 0 }}", "{{ messages[9].x.y }}", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"]
)
def test_a_template_that_fails_says_so(mini, template):
    format = PromptFormat(tokenizer=mini.format.tokenizer, chat_template=template)
    with pytest.raises(UserError, match="chat template refuses"):
        render_chat(format, [{"role": "user", "content": "x"}])


@pytest.mark.parametrize("ids", [[-1], [2**32], ["a"], [1.5]])
def test_ids_that_are_none_are_refused(mini, ids):
    with pytest.raises(UserError, match="whole numbers"):
        mini.decode(ids)


def test_text_that_is_not_unicode_is_refused(mini):
    with pytest.raises(UserError, match="surrogate"):
        mini.encode("ab\udcff")
