"""SentencePiece models: the ids and the text of the sentencepiece package, for real models and trained ones of every kind."""

import io
import json
import random
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmos.core.errors import FormatError, LlmosError, UserError
from llmos.text import PromptFormat, Tokenizer
from llmos.text.sentencepiece_file import CONTROL, UNKNOWN, parse
from tests.mutations import damaged, modest_memory, replaced
from tests.unicode_texts import TEXTS

spm = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")

REAL = [
    "llama2_tokenizer.model",
    "mistral_tokenizer.model.v1",
    "mistral_tokenizer.model.v3",
    "sentencepiece_test_model.model",
    "sentencepiece_test_ja_model.model",
]

# What a trainer may be asked for; each changes how text becomes ids.
TRAINED = {
    "bpe": {"model_type": "bpe"},
    "bpe, bytes, identity, spaces kept": {
        "model_type": "bpe",
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "allow_whitespace_only_pieces": True,
        "user_defined_symbols": ["[INST]", "▁▁", "the", "=", "==", "\n"],
        "control_symbols": ["<|im_start|>"],
    },
    "bpe, folded, no prefix": {
        "model_type": "bpe",
        "normalization_rule_name": "nmt_nfkc_cf",
        "add_dummy_prefix": False,
        "user_defined_symbols": ["<sep>", "Hello", "a b"],
    },
    "unigram": {"model_type": "unigram"},
    "unigram, bytes, symbols": {
        "model_type": "unigram",
        "byte_fallback": True,
        "user_defined_symbols": ["[INST]", "the", "=", "==", " x"],
    },
    "unigram, nfkc, spaces kept, no prefix": {
        "model_type": "unigram",
        "normalization_rule_name": "nfkc",
        "remove_extra_whitespaces": False,
        "add_dummy_prefix": False,
        "split_by_whitespace": False,
    },
    "unigram, pieces over words": {
        "model_type": "unigram",
        "split_by_whitespace": False,
        "max_sentencepiece_length": 24,
    },
}

SENTENCES = [
    "Hello the world, this is the thing: 3.14 and 12 dwarfs.",
    "the quick brown fox  jumps over the lazy dog ===== ----- the end",
    "nothing, something, everything and a thing; Äpfel, Öl und Übermut",
    "[INST] ask the model [/INST] aaaa bbbb abababab eeee lololo",
    "日本語 and 中文 and 한국 with é and ½ …",
]


@cache
def trained(kind: str) -> bytes:
    out = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 3),
        model_writer=out,
        vocab_size=420 if TRAINED[kind].get("byte_fallback") else 160,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
        **TRAINED[kind],
    )
    return out.getvalue()


def folder_of(model: bytes, folder: Path, **config) -> Path:
    (folder / "tokenizer.model").write_bytes(model)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def agree(theirs, ours: Tokenizer, text: str) -> None:
    """The same ids; and the same text back, where SentencePiece has no sign of its own for what it does not know."""
    ids = theirs.encode(text)
    assert ours.encode(text, special=False) == ids
    if theirs.unk_id() not in ids and "▁" not in text:
        assert ours.decode(ids) == theirs.decode(ids)


def controls(model: bytes) -> list[str]:
    return [piece.text for piece in parse(model, "x").pieces if piece.kind in (CONTROL, UNKNOWN)]


def fuzz(model: bytes, folder: Path, examples: int) -> None:
    theirs = spm.SentencePieceProcessor(model_proto=model)
    ours = Tokenizer(PromptFormat.load(folder_of(model, folder)))
    names = controls(model)

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(text=TEXTS)
    def holds(text):
        if not any(name in text for name in names):  # SentencePiece reads no control token in a text
            agree(theirs, ours, text)

    holds()


@pytest.mark.parametrize("kind", [kind for kind in TRAINED if kind.startswith("unigram")])
def test_runs_fall_into_the_pieces_of_sentencepiece(kind, tmp_path):
    """Where many ways have equal sums, float32 rounding and the order in which they are found decide."""
    theirs = spm.SentencePieceProcessor(model_proto=trained(kind))
    ours = Tokenizer(PromptFormat.load(folder_of(trained(kind), tmp_path)))
    draw = random.Random(1)
    parts = ["=", "a", "ab", "the", "-", "lo", "é", " ", "1", "b", "日", " x"]
    for _ in range(1000):
        agree(theirs, ours, "".join(draw.choice(parts) * draw.randint(1, 9) for _ in range(draw.randint(1, 4))))


@pytest.mark.parametrize("name", REAL)
def test_a_real_model_gives_the_ids_of_sentencepiece(name, data_dir, tmp_path):
    model = (data_dir / "tokenizers" / name).read_bytes()
    fuzz(model, tmp_path, 80)
    theirs = spm.SentencePieceProcessor(model_proto=model)
    ours = Tokenizer(PromptFormat.load(tmp_path))
    for line in (data_dir / "tokenizers" / "botchan.txt").read_text("utf-8").split("\n")[:150]:
        agree(theirs, ours, line)


@pytest.mark.parametrize("kind", TRAINED)
def test_a_model_of_any_kind_gives_the_ids_of_sentencepiece(kind, tmp_path):
    fuzz(trained(kind), tmp_path, 100)


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_a_real_model_gives_them_for_many_more_texts(name, data_dir, tmp_path):
    fuzz((data_dir / "tokenizers" / name).read_bytes(), tmp_path, 5000)


@pytest.mark.slow
@pytest.mark.parametrize("kind", TRAINED)
def test_a_model_of_any_kind_gives_them_for_many_more_texts(kind, tmp_path):
    fuzz(trained(kind), tmp_path, 5000)


def test_llama_vectors_give_the_reference_ids(data_dir, tmp_path):
    """llama.cpp's vectors; it writes the ids of a text without the beginning."""
    vectors = data_dir / "tokenizers" / "vectors"
    ours = Tokenizer(PromptFormat.load(folder_of((data_dir / "tokenizers" / REAL[0]).read_bytes(), tmp_path)))
    texts = (vectors / "ggml-vocab-llama-spm.gguf.inp").read_text("utf-8").split("\n__ggml_vocab_test__\n")
    lines = (vectors / "ggml-vocab-llama-spm.gguf.out").read_text("utf-8").split("\n")
    pairs = list(zip(texts, lines, strict=False))
    assert len(pairs) > 20
    for text, line in pairs:
        assert ours.encode(text, special=False) == [int(id) for id in line.split()], repr(text)


@pytest.mark.parametrize("kind", ["bpe, bytes, identity, spaces kept", "unigram"])
def test_the_rules_travel_with_the_prompt_format(kind, tmp_path):
    format = PromptFormat.load(folder_of(trained(kind), tmp_path))
    again = PromptFormat.from_dict(json.loads(json.dumps(format.to_dict())))
    assert again == format
    assert again.hash == format.hash
    Tokenizer(again).verify_golden(Tokenizer(format).golden())


KIND = "bpe, bytes, identity, spaces kept"


def test_ends_of_a_text_are_those_that_the_settings_state(tmp_path):
    plain = Tokenizer(PromptFormat.load(folder_of(trained(KIND), tmp_path)))
    bare = plain.encode("the thing", special=False)
    assert plain.encode("the thing") == [1, *bare]
    assert plain.format.bos_id == 1
    assert plain.format.stop_ids == (2,)
    both = folder_of(trained(KIND), tmp_path, add_bos_token=False, add_eos_token=True)
    assert Tokenizer(PromptFormat.load(both)).encode("the thing") == [*bare, 2]
    assert PromptFormat.unapplied(both) == []


def test_special_tokens_in_a_text_stand_for_themselves(tmp_path):
    """As transformers reads them, and the space before a text comes only before the first part, unless `legacy` is set."""
    theirs = spm.SentencePieceProcessor(model_proto=trained(KIND))
    ours = Tokenizer(PromptFormat.load(folder_of(trained(KIND), tmp_path)))
    with_space, bare = theirs.encode("a thing"), theirs.encode("x\na thing")[2:]
    assert bare != with_space
    start = theirs.piece_to_id("<|im_start|>")
    text = "a thing</s>a thing<|im_start|>a thing"
    assert ours.encode(text, special=False)[: len(with_space) + 1] == [*with_space, 2]
    old = Tokenizer(PromptFormat.load(folder_of(trained(KIND), tmp_path, legacy=True)))
    assert old.encode(text, special=False) == [*with_space, 2, *with_space, start, *with_space]
    no_prefix = folder_of(trained(KIND), tmp_path, add_prefix_space=False)
    assert (
        Tokenizer(PromptFormat.load(no_prefix)).encode("</s>a", special=False)[1:]
        == ours.encode("</s>a", special=False)[1:]
    )


def test_tokens_beside_the_vocabulary_get_the_ids_that_are_stated(tmp_path):
    n = len(parse(trained("unigram"), "x").pieces)
    folder = folder_of(trained("unigram"), tmp_path)
    (folder / "added_tokens.json").write_text(json.dumps({"<|end|>": n + 1, "<|start|>": n}))
    ours = Tokenizer(PromptFormat.load(folder))
    assert ours.encode("<|start|><|end|>", special=False) == [n, n + 1]
    (folder / "added_tokens.json").write_text(json.dumps({"<|end|>": n + 5}))
    with pytest.raises(FormatError, match=rf"'<\|end\|>' cannot be {n + 5}"):
        PromptFormat.load(folder)


def test_t5_has_sentinels_behind_its_vocabulary_and_an_end(tmp_path):
    n = len(parse(trained("unigram"), "x").pieces)
    folder = folder_of(trained("unigram"), tmp_path, tokenizer_class="T5Tokenizer")
    (folder / "tokenizer.model").rename(folder / "spiece.model")
    ours = Tokenizer(PromptFormat.load(folder))
    assert ours.encode("the <extra_id_0>")[-2:] == [n + 99, 2]
    assert ours.vocab_size == n + 100
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer", "extra_ids": 3}))
    assert Tokenizer(PromptFormat.load(folder)).vocab_size == n + 3
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer", "extra_ids": -3}))
    with pytest.raises(FormatError, match="extra_ids must be 0 to 10000, not -3"):
        PromptFormat.load(folder)


@pytest.mark.parametrize("name", ["XLMRobertaTokenizer", "NllbTokenizer", "PegasusTokenizer", "SomethingNew"])
def test_a_class_with_rules_of_its_own_is_refused_with_the_way(name, tmp_path):
    with pytest.raises(UserError, match=rf"belongs to a {name}.*save_pretrained"):
        PromptFormat.load(folder_of(trained("unigram"), tmp_path, tokenizer_class=name))


def test_a_family_with_rules_of_its_own_is_refused_where_no_class_is_stated(tmp_path):
    folder = folder_of(trained("unigram"), tmp_path)
    (folder / "config.json").write_text('{"model_type": "xlm-roberta"}')
    with pytest.raises(UserError, match="belongs to a xlm-roberta"):
        PromptFormat.load(folder)


def test_a_vocabulary_that_is_not_read_is_named(tmp_path):
    (tmp_path / "tekken.json").write_text("{}")
    with pytest.raises(UserError, match=r"tekken\.json is no vocabulary that is read.*save_pretrained"):
        PromptFormat.load(tmp_path)


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b"", "has no pieces"),
        (b"\x0a\xff\xff\xff\xff\x7f", "claims 34359738367 bytes, 0 are left"),
        (b"\x80" * 11, "more than ten bytes"),
        (b"\x08\x01", "field 1 is a number"),
        (b"\x0b", "unknown kind 3"),
        (b"\x00\x00", "field has number 0"),
        (b"\x0a\x80", "in the middle of a number"),
        (b"\x0a\x03\x0a\x01\xff", "not UTF-8"),
        (b"\x0a\x03\x0a\x01a", "has 0 unknown pieces"),
        (b"\x0a\x05\x0a\x01a\x18\x09", "unknown kind 9"),
        (b"\x12\x02\x18\x04\x0a\x05\x0a\x01a\x18\x02", "model of kind char"),
        (b"IQ== 0\nIg== 1\n", "unknown kind|claims|field 9 is a number|no pieces"),
    ],
)
def test_bytes_that_are_no_model_are_refused(raw, named):
    with pytest.raises(FormatError, match=named):
        parse(raw, "x")


def use(raw: bytes, path: Path) -> None:
    path.write_bytes(raw)
    tokenizer = Tokenizer(PromptFormat.load(path.parent), str(path))
    tokenizer.decode(tokenizer.encode("the thing é 🦙 ﬁ   </s> [INST]"))


@pytest.mark.parametrize(("kind", "examples"), [("unigram", 100), (KIND, 60)])
def test_a_mutated_model_is_refused_or_works(kind, examples, tmp_path):
    path = tmp_path / "tokenizer.model"
    use(trained(kind), path)

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(raw=damaged(trained(kind)))
    def holds(raw):
        try:
            use(raw, path)
        except LlmosError as error:
            assert str(path) in str(error)

    holds()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_mutated_rules_are_refused_or_work(data, tmp_path):
    format = PromptFormat.load(folder_of(trained("unigram"), tmp_path)).to_dict()
    format["sentencepiece"] = data.draw(replaced(format["sentencepiece"]))
    try:
        tokenizer = Tokenizer(PromptFormat.from_dict(format, "x"), "x")
        tokenizer.decode(tokenizer.encode("the thing é 🦙 ﬁ   </s>"))
    except LlmosError as error:
        assert "x" in str(error)


def test_a_charsmap_that_leads_nowhere_is_refused(tmp_path):
    format = PromptFormat.load(folder_of(trained("unigram"), tmp_path)).to_dict()
    for charsmap in ("AAAA", "////////", "not base64"):
        raw = format | {"sentencepiece": format["sentencepiece"] | {"charsmap": charsmap}}
        with pytest.raises(FormatError, match=r"rules of normalisation|base64"):
            Tokenizer(PromptFormat.from_dict(raw, "x"), "x").encode("ab\x00" + chr(0xFF))


def test_a_claim_of_much_memory_takes_none(tmp_path):
    with modest_memory(1 << 20), pytest.raises(FormatError):
        parse(b"\x0a\xff\xff\xff\xff\x07" + b"a" * 1000, "x")


@pytest.mark.parametrize("name", REAL[2:])
def test_a_book_in_one_piece_gives_the_ids_of_sentencepiece(name, data_dir, tmp_path):
    """A sum of scores that is long past what float32 can tell apart."""
    model = (data_dir / "tokenizers" / name).read_bytes()
    text = (data_dir / "tokenizers" / "botchan.txt").read_text("utf-8")
    ours = Tokenizer(PromptFormat.load(folder_of(model, tmp_path)))
    assert ours.encode(text, special=False) == spm.SentencePieceProcessor(model_proto=model).encode(text)
