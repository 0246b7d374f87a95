"""Embeddings against sentence-transformers, with a real encoder and with the settings that its files may hold."""

import json

import numpy as np
import pytest

import llm
from llmos.api.embedding_settings import read_embedding_settings
from tests.embedding_model import TEXTS, folder, reference, varied

pytestmark = [pytest.mark.toolchain, pytest.mark.torch]
MODULES = json.loads((folder() / "modules.json").read_text())
LONG = "one two three " * 150  # 452 tokens with marks; the model states 256


@pytest.fixture(scope="module")
def model():
    with llm.load_model(str(folder())) as model:
        yield model


@pytest.fixture(scope="module")
def theirs():
    return reference(folder())


def close(ours, theirs):
    assert ours.dtype == np.float32
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-5


def test_vectors_are_those_of_sentence_transformers(model, theirs):
    close(model.embed(TEXTS), theirs.encode(TEXTS))


def test_a_text_gives_the_same_bits_alone_and_among_others(model):
    together = model.embed([*TEXTS, *TEXTS[::-1]])
    for text, *rows in zip(TEXTS, together, together[::-1], strict=False):
        for row in rows:
            np.testing.assert_array_equal(model.embed(text), row)


def test_more_texts_than_wait_in_the_engine_come_out_in_their_order(model, theirs):
    texts = [f"Sentence {i} is about {'cats' if i % 2 else 'the sea and ships'}." for i in range(150)]
    vectors = model.embed(texts)
    close(vectors[::37], theirs.encode(texts[::37]))
    assert not model.processes()


def test_a_long_text_is_refused_with_its_length_or_cut_with_a_warning(model, theirs):
    with pytest.raises(llm.UserError, match=r"text 1 has 452 tokens, 256 is the most"):
        model.embed(["short", LONG])
    with pytest.warns(llm.ModelNotice, match="a text was cut to 256 tokens: it had 452"):
        cut = model.embed(["short", LONG], truncate="end")
    close(cut, theirs.encode(["short", LONG]))
    with pytest.warns(llm.ModelNotice, match="2 texts were cut to 7 tokens: the longest had 452"):
        few = model.embed([LONG, "a b c d e f g h i"], truncate="end", max_tokens=7)
    theirs.max_seq_length = 7
    close(few, theirs.encode([LONG, "a b c d e f g h i"]))
    theirs.max_seq_length = 512
    close(model.embed(LONG, max_tokens=512), theirs.encode(LONG))
    theirs.max_seq_length = 256


@pytest.mark.parametrize(("mode", "normalize"), [("cls", False), ("mean", False), ("lasttoken", True)])
def test_pooling_and_normalisation_of_the_files(mode, normalize, tmp_path, model):
    pooling = {"embedding_dimension": 384, "pooling_mode": mode, "include_prompt": True}
    path = varied(tmp_path, {"1_Pooling/config.json": pooling, "modules.json": MODULES[: 3 if normalize else 2]})
    expected = reference(path).encode(TEXTS)
    ours = mode.removesuffix("token")
    close(model.embed(TEXTS, pooling=ours, normalize=normalize), expected)
    stated = read_embedding_settings(path)
    assert (stated.pooling, stated.normalize) == (ours, normalize)
    if mode == "cls":
        with llm.load_model(str(path)) as changed:
            close(changed.embed(TEXTS), expected)


def test_prompts_are_those_of_the_files(tmp_path):
    prompts = {"prompts": {"query": "query: ", "passage": "passage: "}, "default_prompt_name": "passage"}
    path = varied(tmp_path, {"config_sentence_transformers.json": prompts})
    theirs = reference(path)
    with llm.load_model(str(path)) as model:
        close(model.embed(TEXTS), theirs.encode(TEXTS))
        close(model.embed(TEXTS, prompt_name="query"), theirs.encode(TEXTS, prompt_name="query"))
        close(model.embed(TEXTS, prompt="find: "), theirs.encode(TEXTS, prompt="find: "))
        np.testing.assert_array_equal(model.embed(TEXTS, prompt="query: "), model.embed(TEXTS, prompt_name="query"))
        with pytest.raises(llm.UserError, match="no prompt 'title'; its prompts: 'passage', 'query'"):
            model.embed("x", prompt_name="title")
        with pytest.raises(llm.UserError, match="two ways"):
            model.embed("x", prompt_name="query", prompt="x")


def test_lower_case_is_made_where_the_files_ask_for_it(tmp_path):
    tokenizer = json.loads((folder() / "tokenizer.json").read_text())
    tokenizer["normalizer"] = tokenizer["normalizer"] | {"lowercase": False}
    lengths = {"max_seq_length": 128, "do_lower_case": True}
    settings = json.loads((folder() / "tokenizer_config.json").read_text()) | {"do_lower_case": False}
    changes = {"tokenizer.json": tokenizer, "tokenizer_config.json": settings, "sentence_bert_config.json": lengths}
    path = varied(tmp_path, changes | {"vocab.txt": None})
    texts = ["Paris IN Spring ΑΘΗΝΑΣ", "paris in spring"]
    with llm.load_model(str(path)) as model:
        close(model.embed(texts), reference(path).encode(texts))
        assert model.info()["embedding"]["max_tokens"] == 128


def test_a_bundle_carries_the_settings_and_gives_the_same_vectors(model, tmp_path):
    llm.compile(str(folder()), tmp_path / "e.llm")
    with llm.load_model(str(tmp_path / "e.llm")) as bundled:
        np.testing.assert_array_equal(bundled.embed(TEXTS), model.embed(TEXTS))
        assert bundled.info()["embedding"] == model.info()["embedding"]
        with pytest.raises(llm.UserError, match="256 is the most"):
            bundled.embed(LONG)


@pytest.mark.parametrize(("weights", "bound"), [("bf16", 2e-2), ("int8", 5e-2)])
def test_fewer_bits_change_the_direction_little(model, weights, bound):
    with llm.load_model(str(folder()), weights=weights) as small:
        assert (1 - (small.embed(TEXTS) * model.embed(TEXTS)).sum(-1)).max() <= bound


def test_an_encoder_refuses_to_speak(model):
    for call in (model.generate_text, model.stream_text, model.start, model.chat, model.generate_tokens, model.score):
        with pytest.raises(llm.UserError, match="is an encoder, which says nothing: use embed"):
            call("Hello")


@pytest.mark.parametrize(
    ("texts", "settings", "message"),
    [
        ("x", {"pooling": "max"}, "pooling is 'max'; it must be one of mean, cls, last"),
        ("x", {"normalize": 1}, "normalize is 1"),
        ("x", {"truncate": "start"}, "truncate is 'start'"),
        ("x", {"max_tokens": 600}, "max_tokens is 600; the context holds 512: that is the longest of this model"),
        ("x", {"max_tokens": 0}, "max_tokens is 0"),
        ("x y", {"max_tokens": 2, "truncate": "end"}, "2 of them are marks"),
        (b"x", {}, "not a bytes"),
        (7, {}, "not a int"),
        ({"x": 1}, {}, "not a dict"),
        (["x", 7], {}, "item 1 is a int"),
        ("x\ud800", {}, "surrogate"),
    ],
)
def test_what_cannot_be_embedded_is_refused(model, texts, settings, message):
    with pytest.raises(llm.UserError, match=message):
        model.embed(texts, **settings)


def test_no_texts_give_no_vectors_and_a_closed_model_none_either(model):
    assert model.embed([]).shape == (0, 384)
    assert model.embed(iter(["a"])).shape == (1, 384)
    with llm.load_model(str(folder()), context=64) as small:
        assert small.embed("a").shape == (384,)
    with pytest.raises(llm.UserError, match="closed"):
        small.embed("a")


def test_a_decoder_gives_its_last_token_by_default_and_what_its_files_say(tmp_path):
    import torch

    from tests import tiny_checkpoints
    from tests.tiny_tokenizer import tokenizer_text

    tiny = tiny_checkpoints.llama(vocab_size=260)
    tiny_checkpoints.save(tiny, tmp_path)
    (tmp_path / "tokenizer.json").write_text(tokenizer_text())
    texts = ["abc", "b c d " * 20]
    with llm.load_model(str(tmp_path)) as model:
        for text in texts:
            ids = torch.tensor([model.tokenize(text)])
            with torch.no_grad():
                rows = tiny.model(ids).last_hidden_state[0].double().numpy()
            last, mean = rows[-1], rows.mean(0)
            np.testing.assert_allclose(model.embed(text), last / np.linalg.norm(last), atol=1e-5)
            np.testing.assert_allclose(
                model.embed(text, pooling="mean", normalize=False), mean, atol=2e-5 * abs(mean).max()
            )
            np.testing.assert_allclose(
                model.embed(text, pooling="cls", normalize=False), rows[0], atol=2e-5 * abs(rows[0]).max()
            )
        assert model.generate_text("abc", max_tokens=3, seed=1, ignore_eos=True) is not None
        with pytest.raises(llm.UserError, match="text 0 is empty"):
            model.embed("")
