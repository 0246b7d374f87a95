"""A model with an encoder and a decoder offers the same calls: what it is given is read, the answer is generated."""

import json
import threading

import numpy as np
import pytest

pytestmark = [pytest.mark.torch, pytest.mark.toolchain]
torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from llmos.api import load_model  # noqa: E402
from llmos.core.errors import UserError  # noqa: E402
from tests.models.test_encoder_decoder import random_t5  # noqa: E402
from tests.tiny_tokenizer import tokenizer_text  # noqa: E402

SOURCES = ["ab abc", "a longer text, which is read in one piece: " * 6, "ä", "ab abc ab"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("t5")
    random_t5(vocab_size=260, decoder_start_token_id=258, eos_token_id=259).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    return folder


def theirs(folder, ids: list[int], n: int) -> list[int]:
    model = transformers.T5ForConditionalGeneration.from_pretrained(folder).eval()
    out = model.generate(torch.tensor([ids]), max_new_tokens=n, do_sample=False)[0].tolist()[1:]
    return out[: out.index(259) + 1] if 259 in out else out


def test_the_greedy_answer_is_that_of_transformers(folder):
    with load_model(folder) as model:
        for source in SOURCES:
            ids = model.tokenize(source)
            assert model.generate_tokens(source, temperature=0, max_tokens=12) == theirs(folder, ids, 12)
            generation = model.generate(source, temperature=0, max_tokens=12)
            assert generation.prompt_tokens == len(ids)
            assert generation.text == model.detokenize([id for id in generation.tokens if id != 259])


def test_answers_are_the_same_alone_and_in_a_crowd(folder):
    settings = {"temperature": 1.0, "seed": 3, "max_tokens": 20}
    with load_model(folder) as model:
        alone = [model.generate_tokens(source, **settings) for source in SOURCES]
        together: list[list[int]] = [[] for _ in SOURCES]

        def answer(i: int) -> None:
            together[i] = model.generate_tokens(SOURCES[i], **settings)

        threads = [threading.Thread(target=answer, args=(i,)) for i in range(len(SOURCES))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert together == alone
        model._engine.check()


def test_an_answer_is_scored_given_its_source(folder):
    with load_model(folder) as model:
        source, answer = model.tokenize("abc"), [5, 9, 256]
        scores = model.score(answer, source=source)
        reference = transformers.T5ForConditionalGeneration.from_pretrained(folder).eval()
        with torch.no_grad():
            logits = reference(torch.tensor([source]), decoder_input_ids=torch.tensor([[258, *answer]])).logits[0]
        expected = [logits[i].log_softmax(-1)[id].item() for i, id in enumerate(answer)]
        np.testing.assert_allclose(scores, expected, atol=1e-4)
        with pytest.raises(UserError, match=r"score\(answer, source"):
            model.score(answer)


def test_a_source_beyond_the_context_is_refused_or_shortened_as_asked(folder):
    with load_model(folder, context=64) as model:
        long = list(range(1, 101))
        with pytest.raises(UserError, match="100 tokens, the context holds 64"):
            model.generate_tokens(long, max_tokens=3)
        with pytest.warns(UserWarning, match="left out"):
            got = model.generate_tokens(long, max_tokens=3, temperature=0, overflow="drop_oldest")
        assert got == model.generate_tokens(long[-61:], max_tokens=3, temperature=0)


def test_a_compiled_bundle_answers_alike(folder, tmp_path):
    from llmos.api import compile_model

    path = tmp_path / "t5.llm"
    compile_model(folder, path, weights="int8")
    with load_model(folder, weights="int8") as source, load_model(path) as bundle:
        for text in SOURCES:
            settings = {"temperature": 0, "max_tokens": 10}
            assert bundle.generate_text(text, **settings) == source.generate_text(text, **settings)


def test_the_least_pool_holds_a_whole_source_and_a_whole_answer(folder):
    with load_model(folder, context=64, batch=1) as model:
        assert model.info()["kv_pool"]["n_pages"] == 4
        source = list(range(1, 65))
        assert len(model.generate_tokens(source, max_tokens=63, ignore_eos=True)) == 63
