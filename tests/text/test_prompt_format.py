"""Prompt formats: from files and from bundles, every field of the right type or refused by name."""

import contextlib
import json
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Reference
from tokenizers import models

from llmos.core.errors import FormatError, LlmosError, UserError
from llmos.text import PromptFormat, Tokenizer
from tests.mutations import damaged, replaced
from tests.tiny_tokenizer import tokenizer_text

TEXT = tokenizer_text()
GOOD = PromptFormat(tokenizer=TEXT, bos_id=258, stop_ids=(259,), special={"bos_token": "<s>"}).to_dict()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tokenizer.json").write_text(TEXT, encoding="utf-8")
    settings = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": True, "chat_template": "x"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [3, 259]}')
    return tmp_path


def test_a_folder_gives_its_format(folder):
    format = PromptFormat.load(folder)
    assert format.bos_id == 258
    assert format.stop_ids == (3, 259)
    assert format.add_bos
    assert format.special == {"bos_token": "<s>", "eos_token": "</s>"}
    assert Tokenizer(format).encode("abc") == [258, 257]


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("tokenizer", 3, "text"),
        ("tokenizer", "\ud800", "text"),
        ("chat_template", ["x"], "text or null"),
        ("bos_id", "258", "a token id or null"),
        ("bos_id", True, "a token id or null"),
        ("bos_id", 2**31, "a token id or null"),
        ("stop_ids", 259, "a list of token ids"),
        ("stop_ids", ["259"], "a list of token ids"),
        ("stop_ids", [-1], "a list of token ids"),
        ("stop_ids", None, "a list of token ids"),
        ("add_bos", 1, "true or false"),
        ("special", ["<s>"], "an object of texts"),
        ("special", {"bos_token": 258}, "an object of texts"),
    ],
)
def test_a_field_of_the_wrong_type_is_refused_by_name(name, value, wanted):
    with pytest.raises(FormatError, match=rf"^x\.llm: field {name} must be {wanted}, not"):
        PromptFormat.from_dict(GOOD | {name: value}, "x.llm")


@pytest.mark.parametrize("raw", [None, [], "text", 3, {}, GOOD | {"unheard_of": 1}])
def test_what_is_no_prompt_format_is_refused(raw):
    with pytest.raises(FormatError, match=r"^x\.llm: "):
        PromptFormat.from_dict(raw, "x.llm")


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("tokenizer.json", "", "is no tokenizer.json"),
        ("tokenizer.json", "[]", "is no tokenizer.json"),
        ("tokenizer.json", '{"model": {"vocab": [3]}}', "is no tokenizer.json"),
        ("tokenizer.json", '{"model": {"vocab": {}}, "added_tokens": ["<s>"]}', "is no tokenizer.json"),
        ("tokenizer_config.json", "[" * 100_000, "is not JSON"),
        ("tokenizer_config.json", "[]", "not a JSON object"),
        ("tokenizer_config.json", '{"bos_token": {"id": 3}}', "bos_token must be"),
        ("tokenizer_config.json", '{"chat_template": 3}', "chat_template must be"),
        ("tokenizer_config.json", '{"chat_template": [{"name": "default"}, 3]}', None),
        ("special_tokens_map.json", "[]", "not a JSON object"),
        ("tokenizer_config.json", '{"add_bos_token": "yes"}', "add_bos must be true or false"),
        ("generation_config.json", '{"eos_token_id": "259"}', "eos_token_id must be"),
        ("generation_config.json", '{"eos_token_id": [[259]]}', "eos_token_id must be"),
    ],
)
def test_a_file_that_says_something_else_than_it_should_is_named(folder, file, content, named):
    (folder / file).write_text(content)
    if named is None:
        assert PromptFormat.load(folder).chat_template is None
        return
    with pytest.raises(FormatError, match=named) as caught:
        PromptFormat.load(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    "file", ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"]
)
def test_a_folder_or_an_unreadable_file_where_a_file_should_be_is_named(folder, file):
    (folder / file).unlink(missing_ok=True)
    (folder / file).mkdir()
    with pytest.raises(UserError, match=f"cannot read .*{file}: Is a directory"):
        PromptFormat.load(folder)
    (folder / file).rmdir()
    (folder / file).symlink_to("/proc/self/mem")  # whose first page cannot be read, by root either
    with pytest.raises(UserError, match=f"cannot read .*{file}: Input/output error"):
        PromptFormat.load(folder)


def test_bytes_that_are_no_text_are_named_with_their_place(folder):
    (folder / "tokenizer.json").write_bytes(b"{\xff}")
    with pytest.raises(FormatError, match=r"tokenizer.json \(byte 1\)"):
        PromptFormat.load(folder)


def test_a_beginning_token_beyond_the_vocabulary_is_refused():
    tokenizer = Tokenizer(PromptFormat.from_dict(GOOD | {"bos_id": 300, "add_bos": True}))
    with pytest.raises(FormatError, match="ids up to 300, the model's vocabulary ends at 259"):
        tokenizer.check_vocab(260)


@pytest.mark.parametrize("golden", [None, {"text": "x"}, [3], [{"text": 3, "ids": []}], [{"text": "x"}]])
def test_golden_ids_that_are_none_are_refused(golden):
    with pytest.raises(FormatError, match=r"^x\.llm: golden\.json: must be a list of objects"):
        Tokenizer(PromptFormat.from_dict(GOOD)).verify_golden(golden, "x.llm: golden.json")


def test_a_tokenizer_that_cannot_encode_says_so():
    words = Reference(models.WordLevel({"a": 0}, unk_token="<unk>"))
    tokenizer = Tokenizer(PromptFormat(tokenizer=words.to_str()), "somewhere")
    with pytest.raises(FormatError, match="somewhere: cannot encode"):
        tokenizer.encode("b")


def use(text: str) -> None:
    """Everything that a tokenizer is asked for when a model is loaded and run."""
    tokenizer = Tokenizer(PromptFormat(tokenizer=text), "x")
    if tokenizer.vocab_size <= 10_000:
        tokenizer.check_vocab(10_000)
    tokenizer.golden()
    tokenizer.decode(tokenizer.encode("abc é 🦙 </s>"))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("normalizer",), [""]),
        (("model", "continuing_subword_prefix"), "é"),
        (("model", "merges"), [["a", "b"], ["ab", "é"]]),
    ],
)
def test_a_panic_of_the_library_is_an_error_like_any_other(place, value):
    """Documents that make `tokenizers` 0.23 panic; a later one may refuse or bear them."""
    document = json.loads(TEXT)
    node = document
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    with contextlib.suppress(FormatError):
        use(json.dumps(document))


MUTANTS = {
    "bytes": damaged(TEXT.encode()).map(lambda data: data.decode("utf-8", "replace")),
    "values": replaced(json.loads(TEXT)).map(json.dumps),
}


def fuzz(mutants: st.SearchStrategy[str], examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(text=mutants)
    def holds(text):
        try:
            use(text)
        except LlmosError as error:
            assert "x: " in str(error)

    holds()


@pytest.mark.parametrize("kind", MUTANTS)
def test_a_mutated_tokenizer_is_refused_or_works(kind):
    fuzz(MUTANTS[kind], 200)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MUTANTS)
def test_many_more_mutated_tokenizers_are_refused_or_work(kind):
    fuzz(MUTANTS[kind], 5000)


def vocabulary_file(pieces: list[bytes]) -> bytes:
    return struct.pack("<i", 9) + b"".join(struct.pack("<fi", -i, len(p)) + p for i, p in enumerate(pieces))


PIECES = [b"<unk>", b"<s>", b"</s>", *(b"?" for _ in range(256)), b" ", b"a", b"b", b"ab"]


@pytest.mark.parametrize(
    ("data", "vocab", "named"),
    [
        (b"", 263, "ends after 0 of 263"),
        (vocabulary_file(PIECES)[:-1], 263, "claims 2 bytes"),
        (vocabulary_file(PIECES), 262, "holds more than 262"),
        (vocabulary_file(PIECES), 264, "ends after 263 of 264"),
        (vocabulary_file(PIECES[:2]), 2, "cannot belong to a model of 2 tokens"),
        (vocabulary_file([*PIECES[:-1], b"a" * 100_000]), 263, "claims 100000 bytes"),
    ],
)
def test_a_llama2c_vocabulary_that_does_not_fit_is_refused(tmp_path, data, vocab, named):
    path = tmp_path / "tokenizer.bin"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=named) as caught:
        PromptFormat.from_llama2c(path, vocab)
    assert str(path) in str(caught.value)


def test_a_folder_in_place_of_a_llama2c_vocabulary_is_named(tmp_path):
    with pytest.raises(UserError, match=f"cannot read {tmp_path}: Is a directory"):
        PromptFormat.from_llama2c(tmp_path, 300)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(raw=damaged(vocabulary_file(PIECES)))
def test_a_mutated_llama2c_vocabulary_is_refused_or_works(tmp_path, raw):
    path = tmp_path / "tokenizer.bin"
    path.write_bytes(raw)
    try:
        tokenizer = Tokenizer(PromptFormat.from_llama2c(path, len(PIECES)), str(path))
        tokenizer.decode(tokenizer.encode("ab é"))
    except LlmosError as error:
        assert str(path) in str(error)
