"""Tokenizers rebuilt from GGUF metadata: llama.cpp's vectors, the rules for special tokens, and metadata that is wrong."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmos.core.errors import FormatError, LlmosError
from llmos.text import Tokenizer
from llmos.text.gguf import prompt_format_of_gguf
from llmos.text.gguf.splits import SPLITS
from llmos.weights import GgufFile
from tests.mutations import modest_memory

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
WHERE = Path("x.gguf")


def metadata(model: str, tokens: dict[str, int], **keys) -> dict:
    """tokens: text -> kind."""
    ours = {"model": model, "tokens": list(tokens), "token_type": np.array(list(tokens.values()), np.int32)}
    return {"tokenizer.ggml." + key: value for key, value in (ours | keys).items()}


def byte_level(**keys) -> dict:
    tokens = {"a": NORMAL, "b": NORMAL, "Ġ": NORMAL, "ab": NORMAL, "1": NORMAL, "<end>": CONTROL, "<user>": USER}
    return metadata("gpt2", tokens, **({"pre": "gpt-2", "merges": ["a b"], "eos_token_id": 5} | keys))


def pieces(tokens: dict[str, tuple[int, float]], **keys) -> dict:
    scores = np.array([score for _, score in tokens.values()], np.float32)
    return metadata("llama", {text: kind for text, (kind, _) in tokens.items()}, scores=scores, **keys)


SPM = {
    "<unk>": (UNKNOWN, 0.0),
    "<s>": (CONTROL, 0.0),
    "</s>": (CONTROL, 0.0),
    **{f"<0x{byte:02X}>": (BYTE, 0.0) for byte in range(256)},
    "▁": (NORMAL, -5.0),
    "a": (NORMAL, -6.0),
    "b": (NORMAL, -7.0),
    "▁a": (NORMAL, -2.0),
    "ab": (NORMAL, -1.0),
}


def tokenizer(metadata: dict) -> Tokenizer:
    format = prompt_format_of_gguf(metadata, WHERE)
    assert format is not None
    return Tokenizer(format)


VECTORS = ("bert-bge", "deepseek-coder", "gpt-2", "llama-spm", "phi-3")


@pytest.mark.data
@pytest.mark.parametrize("name", VECTORS)
def test_ids_are_those_of_llama_cpps_vectors(data_dir, name):
    folder = data_dir / "tokenizers"
    file = GgufFile(folder / f"ggml-vocab-{name}.gguf")
    ours = tokenizer(file.metadata)
    vectors = folder / "vectors" / f"ggml-vocab-{name}.gguf"
    texts = vectors.with_suffix(".gguf.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")[:-1]
    wanted = [[int(id) for id in line.split()] for line in vectors.with_suffix(".gguf.out").read_text().splitlines()]
    assert len(texts) == len(wanted) == 46
    for text, ids in zip(texts, wanted):
        assert ours.encode(text, special=False) == ids, repr(text)


def test_every_way_to_cut_text_compiles_and_keeps_all_of_it():
    text = "I'LL  go\r\n\n to 12345 図書館 Ωμέγα, won't we?! \t"
    tokens = dict.fromkeys((chr(c) for c in range(0x21, 0x180)), NORMAL)
    for pre in SPLITS:
        ours = tokenizer(metadata("gpt2", tokens | {"ab": NORMAL}, pre=pre, merges=["a b"], bos_token_id=0))
        assert ours.decode(ours.encode(text, special=False)) == text, pre


def test_special_tokens_are_cut_out_and_left_out():
    ours = tokenizer(byte_level())
    assert ours.encode("ab<end>b a<user>") == [3, 5, 1, 2, 0, 6]
    assert ours.decode([3, 5, 1, 6]) == "abb<user>"
    assert ours.format.special == {"eos_token": "<end>"} and ours.format.stop_ids == (5,)
    assert ours.format.bos_id is None and not ours.format.add_bos


def test_the_pair_of_the_best_score_is_merged_first():
    ours = tokenizer(pieces(SPM))
    ids = {text: i for i, text in enumerate(SPM)}
    assert ours.encode("ab") == [1, ids["▁"], ids["ab"]]  # not "▁a", whose score is lower
    assert ours.encode("aé", special=False) == [ids["▁a"], ids["<0xC3>"], ids["<0xA9>"]]
    assert ours.encode("a</s>a", special=False) == [ids["▁a"], 2, ids["▁a"]]
    assert ours.decode(ours.encode("ab aé")) == "ab aé"
    bare = tokenizer(pieces(SPM, add_space_prefix=False, add_bos_token=False))
    assert bare.encode("ab") == [ids["ab"]] and bare.decode([ids["▁"], ids["ab"]]) == " ab"


def test_tokens_around_a_text_are_as_the_file_says():
    begins = {"bos_token_id": 5, "add_bos_token": True}
    assert tokenizer(byte_level(**begins)).encode("ab") == [5, 3]
    assert tokenizer(byte_level(**begins, add_eos_token=True)).encode("ab") == [5, 3, 5]
    assert tokenizer(byte_level(bos_token_id=5, pre="llama-bpe")).encode("ab") == [5, 3]
    assert tokenizer(byte_level(bos_token_id=5, pre="llama-bpe", add_bos_token=False)).encode("ab") == [3]
    assert tokenizer(pieces(SPM)).format.bos_id == 1


def test_tokens_that_end_an_answer_are_known_by_their_text_too():
    tokens = {"a": NORMAL, "<|im_end|>": CONTROL, "<|endoftext|>": CONTROL, "</s>": NORMAL, "<x>": CONTROL}
    given_ids = {"eos_token_id": 2, "eot_token_id": 4}
    found = prompt_format_of_gguf(
        metadata("gpt2", tokens | {"ab": NORMAL, "b": NORMAL}, merges=["a b"], **given_ids), WHERE
    )
    assert found.stop_ids == (2, 4, 1)


def test_phi_3_swallows_spaces_behind_special_tokens():
    tokens = SPM | {"<|user|>": (CONTROL, 0.0)}
    plain, phi = tokenizer(pieces(tokens)), tokenizer(pieces(tokens) | {"general.name": "Phi-3 mini"})
    assert len(plain.encode("<|user|> a", special=False)) == 3
    assert len(phi.encode("<|user|> a", special=False)) == 2
    assert len(phi.encode("<s> a", special=False)) == 3


def test_the_template_and_its_names_are_the_files():
    found = prompt_format_of_gguf(byte_level(bos_token_id=5) | {"tokenizer.chat_template": "{{ bos_token }}"}, WHERE)
    assert found.chat_template == "{{ bos_token }}" and found.special["bos_token"] == "<end>"


def test_a_file_without_a_vocabulary_has_no_prompt_format():
    assert prompt_format_of_gguf({}, WHERE) is None
    assert prompt_format_of_gguf({"tokenizer.ggml.model": "none"}, WHERE) is None


WRONG = {
    "kind": ({"tokenizer.ggml.model": "rwkv"}, "'rwkv', which is not read; known: llama, gpt2, bert, t5"),
    "no tokens": (byte_level() | {"tokenizer.ggml.tokens": []}, "tokens is missing or empty"),
    "tokens of numbers": (byte_level() | {"tokenizer.ggml.tokens": 5}, "must be a list of texts, not 5"),
    "twice": (metadata("gpt2", {"a": 1}) | {"tokenizer.ggml.tokens": ["a", "a"]}, "'a' is token 0 and token 1"),
    "pre": (byte_level(pre="brand-new"), "'brand-new'.*not known; known: bloom, .*viking"),
    "no merges": (byte_level(merges=[]), "merges is missing or empty"),
    "merge": (byte_level(merges=["ab"]), "must be pairs parted by a space, not 'ab'"),
    "eos": (byte_level(eos_token_id=7), "eos_token_id must be a token below 7, not 7"),
    "eos of text": (byte_level(eos_token_id="x"), "must be a token below 7, not 'x'"),
    "no bos": (byte_level(add_bos_token=True), "there is no tokenizer.ggml.bos_token_id"),
    "flag": (byte_level(add_bos_token=1), "add_bos_token must be true or false, not 1"),
    "kinds": (byte_level(token_type=np.zeros(3, np.int32)), "token_type must be 7 numbers"),
    "scores": (metadata("llama", {"a": NORMAL}), "scores is missing"),
    "NaN score": (pieces(SPM | {"a": (NORMAL, np.nan)}), "scores must be finite numbers.* token 260 must, not nan"),
    "infinite score": (pieces({"a": (NORMAL, -np.inf)}), "scores must be finite numbers.* token 0 must, not -inf"),
    "unknown key": (byte_level(lowercase=True), "lowercase: not understood"),
    "template": (byte_level() | {"tokenizer.chat_template": 5}, "chat_template must be text or null"),
    "no cls": (metadata("bert", {"[UNK]": CONTROL}, unknown_token_id=0), "needs cls_token, sep_token"),
    "long": (pieces({"a" * 9000: (NORMAL, 0.0), "x": (NORMAL, 0.0)}), "longer than those of any model"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_metadata_is_refused_by_name(case):
    data, message = WRONG[case]
    with pytest.raises(FormatError, match=f"x.gguf.*{message}"):
        prompt_format_of_gguf(data, WHERE)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 2**40), st.text(max_size=5), st.lists(st.text(max_size=3), max_size=4)
)


@pytest.mark.parametrize("base", [byte_level(), pieces(SPM)], ids=["gpt2", "llama"])
def test_damaged_metadata_is_refused_or_read(base):
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(key=st.sampled_from(sorted(base)), value=VALUES)
    def holds(key, value):
        try:
            with modest_memory(20_000_000):
                format = prompt_format_of_gguf(base | {key: value}, WHERE)
                if format is not None:
                    Tokenizer(format).encode("ab </s>é")
        except LlmosError as error:
            assert str(error)

    holds()
