"""What a tokenizer_config.json states beside its tokenizer.json: honoured, or named."""

import json

import pytest
from tokenizers import Tokenizer as Reference
from tokenizers import normalizers, pre_tokenizers, processors

from llmos.text import PromptFormat, Tokenizer
from tests.tiny_tokenizer import tokenizer_text

TEXT = tokenizer_text()
NAMES = {"bos_token": "<s>", "eos_token": "</s>"}


def folder_of(folder, text=TEXT, **settings):
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def changed(**parts) -> str:
    """The tiny tokenizer with other parts."""
    tokenizer = Reference.from_str(TEXT)
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    return tokenizer.to_str()


ENDS = changed(
    post_processor=processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 258), ("</s>", 259)])
)
SPACED = {
    "bytes": changed(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "metaspace": changed(pre_tokenizer=pre_tokenizers.Metaspace()),
    "in a sequence": changed(pre_tokenizer=pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=True)])),
    "normalizer": changed(normalizer=normalizers.Prepend("_"), pre_tokenizer=pre_tokenizers.Whitespace()),
}


def test_names_of_tokens_may_stand_in_the_special_tokens_map(tmp_path):
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"bos_token": "b", "eos_token": {"content": "</s>"}}))
    format = PromptFormat.load(folder_of(tmp_path, bos_token="<s>"))
    assert format.special == {"bos_token": "<s>", "eos_token": "</s>"}
    assert format.stop_ids == (259,)


@pytest.mark.parametrize("end", [True, False])
def test_the_document_decides_about_its_ends_and_a_difference_is_named(end, tmp_path):
    settings = NAMES | {"add_bos_token": end, "add_eos_token": end}
    ends = folder_of(tmp_path, ENDS, **settings)
    assert Tokenizer(PromptFormat.load(ends)).encode("abc") == [258, 257, 259]
    assert PromptFormat.unapplied(ends) == ([] if end else ["add_bos_token=False", "add_eos_token=False"])
    bare = folder_of(tmp_path, **settings)
    assert Tokenizer(PromptFormat.load(bare)).encode("abc") == ([258, 257] if end else [257])
    assert PromptFormat.unapplied(bare) == (["add_eos_token=True"] if end else [])


@pytest.mark.parametrize("kind", [processors.BertProcessing, processors.RobertaProcessing])
def test_the_ends_of_other_post_processors_are_seen(kind, tmp_path):
    ends = changed(post_processor=kind(("</s>", 259), ("<s>", 258)))
    folder = folder_of(tmp_path, ends, **NAMES, add_bos_token=True, add_eos_token=True)
    assert Tokenizer(PromptFormat.load(folder)).encode("abc") == [258, 257, 259]
    assert PromptFormat.unapplied(folder) == []
    folder_of(tmp_path, ends, **NAMES, add_bos_token=False, add_eos_token=False)
    assert PromptFormat.unapplied(folder) == ["add_bos_token=False", "add_eos_token=False"]


@pytest.mark.parametrize("kind", SPACED)
def test_a_space_before_the_first_word_that_differs_is_named(kind, tmp_path):
    assert PromptFormat.unapplied(folder_of(tmp_path, SPACED[kind], add_prefix_space=False)) == [
        "add_prefix_space=False"
    ]
    assert PromptFormat.unapplied(folder_of(tmp_path, SPACED[kind], add_prefix_space=True)) == []
    assert PromptFormat.unapplied(folder_of(tmp_path, add_prefix_space=True)) == ["add_prefix_space=True"]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"split_special_tokens": True}, "split_special_tokens=True"),
        ({"do_lower_case": True}, "do_lower_case=True"),
        ({"bos_token": "<bos>"}, "bos_token='<bos>' (which tokenizer.json lacks)"),
        (
            {"added_tokens_decoder": {"300": {"content": "<new>"}}},
            "added_tokens_decoder=['<new>'] (which tokenizer.json lacks)",
        ),
    ],
)
def test_what_is_not_done_is_named(settings, named, tmp_path):
    assert PromptFormat.unapplied(folder_of(tmp_path, **settings)) == [named]


def test_what_asks_for_nothing_is_not_named(tmp_path):
    usual = {"add_bos_token": True, "add_eos_token": None, "add_prefix_space": None, "do_lower_case": False}
    added = {"258": {"content": "<s>"}}
    assert PromptFormat.unapplied(folder_of(tmp_path, **NAMES, **usual, added_tokens_decoder=added)) == []
