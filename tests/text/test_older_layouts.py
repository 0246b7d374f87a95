"""Vocabularies without tokenizer.json: the ids of transformers' classes, of tokenizer.json itself, and of recorded vectors."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from tokenizers import Tokenizer as Reference

from llmos.core.errors import FormatError, LlmosError, UserError
from llmos.text import PromptFormat, Tokenizer
from tests.mutations import damaged
from tests.unicode_texts import TEXTS

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"abehlot",
    "##a",
    "##e",
    "##lo",
    "##l",
    "the",
    "Hello",
    "hello",
    "日",
    "=",
    "!",
]


def same_ids(ours: Tokenizer, theirs, examples: int = 100, special: bool = True) -> None:
    """theirs: gives ids of a text."""

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(text=TEXTS)
    def holds(text):
        assert ours.encode(text, special=special) == theirs(text)

    holds()


@pytest.fixture(scope="module")
def gpt2(data_dir, tmp_path_factory) -> Path:
    """The published tokenizer in GPT-2's own layout."""
    folder = tmp_path_factory.mktemp("gpt2")
    model = json.loads((data_dir / "tokenizers" / "gpt2_tokenizer.json").read_text("utf-8"))["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    pairs = (pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"])
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *pairs]) + "\n", encoding="utf-8")
    return folder


def test_gpt2_files_give_the_ids_of_its_tokenizer_json(gpt2, data_dir):
    theirs = Reference.from_file(str(data_dir / "tokenizers" / "gpt2_tokenizer.json"))
    ours = Tokenizer(PromptFormat.load(gpt2))
    same_ids(ours, lambda text: theirs.encode(text).ids)
    assert ours.format.stop_ids == (50256,)
    assert ours.format.bos_id == 50256
    assert ours.encode("a<|endoftext|>b")[1] == 50256


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("GPT2Tokenizer", {}),
        ("GPT2Tokenizer", {"add_bos_token": True, "add_prefix_space": True}),
        ("Qwen2Tokenizer", {}),
        ("RobertaTokenizer", {"bos_token": "!", "cls_token": "!", "eos_token": "#", "sep_token": "#"}),
    ],
)
def test_byte_level_classes_give_the_ids_of_transformers(gpt2, tmp_path, name, config):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    for file in ("vocab.json", "merges.txt"):
        (tmp_path / file).write_bytes((gpt2 / file).read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name, **config}))
    theirs = getattr(transformers, name).from_pretrained(tmp_path)
    same_ids(Tokenizer(PromptFormat.load(tmp_path)), lambda text: theirs(text).input_ids, 60)


@pytest.mark.parametrize(
    "config", [{}, {"do_lower_case": False}, {"strip_accents": False}, {"tokenize_chinese_chars": False}]
)
def test_word_pieces_give_the_ids_of_transformers(tmp_path, config):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", **config}))
    theirs = transformers.BertTokenizer.from_pretrained(tmp_path)
    ours = Tokenizer(PromptFormat.load(tmp_path))
    same_ids(ours, lambda text: theirs(text).input_ids)
    assert ours.format.special["cls_token"] == "[CLS]"


def test_qwen_ranks_give_the_recorded_ids(data_dir, tmp_path):
    (tmp_path / "qwen.tiktoken").write_bytes((data_dir / "tokenizers" / "qwen.tiktoken").read_bytes())
    ours = Tokenizer(PromptFormat.load(tmp_path))
    vectors = data_dir / "tokenizers" / "vectors"
    texts = (vectors / "ggml-vocab-qwen2.gguf.inp").read_text("utf-8").split("\n__ggml_vocab_test__\n")
    lines = (vectors / "ggml-vocab-qwen2.gguf.out").read_text("utf-8").split("\n")
    pairs = list(zip(texts, lines, strict=False))
    assert len(pairs) > 20
    for text, line in pairs:
        assert ours.encode(text, special=False) == [int(id) for id in line.split()], repr(text)
    assert ours.encode("<|endoftext|><|im_start|><|im_end|><|extra_0|>") == [151643, 151644, 151645, 151646]


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"vocab.json": "{}", "merges.txt": ""}, "vocab.json: is no vocabulary"),
        ({"vocab.json": '{"a": "b"}', "merges.txt": ""}, "vocab.json: is no vocabulary"),
        ({"vocab.json": '{"a": 0}', "merges.txt": "a b c\n"}, "line 1 must be two pieces"),
        ({"vocab.json": '{"a": 0}', "merges.txt": "a b\n"}, "makes no tokenizer"),
        ({"vocab.txt": "a\nb\n"}, r"it has no \[UNK\]"),
        ({"x.tiktoken": "IQ== 0\n"}, "byte 0 is missing"),
        ({"x.tiktoken": "hello\n"}, "line 1 must be a token in base64 and its rank"),
        ({"x.tiktoken": "IQ== 99999999999999\n"}, "line 1 must be a token"),
    ],
)
def test_a_vocabulary_that_is_none_is_refused(files, named, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(FormatError, match=named):
        PromptFormat.load(tmp_path)


@pytest.mark.parametrize("added", ['{"x": -1}', '{"x": "one"}', '{"x": 1.5}'])
def test_an_added_token_without_a_number_is_refused(added, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    (tmp_path / "added_tokens.json").write_text(added)
    with pytest.raises(UserError, match="added token"):
        PromptFormat.load(tmp_path)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(raw=damaged("\n".join(WORDS).encode()))
def test_a_mutated_vocabulary_is_refused_or_works(raw, tmp_path):
    (tmp_path / "vocab.txt").write_bytes(raw)
    try:
        tokenizer = Tokenizer(PromptFormat.load(tmp_path))
        tokenizer.decode(tokenizer.encode("the hello é 日"))
    except LlmosError:
        return
