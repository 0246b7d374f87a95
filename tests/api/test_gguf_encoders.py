"""Encoders, alone and with decoders, in GGUF files: what transformers, sentence-transformers and SentencePiece make of the same."""

from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.torch
models = pytest.importorskip("tests.gguf_models", reason="transformers and torch are not installed")

import torch  # noqa: E402

from llmos.api import load_model  # noqa: E402
from llmos.api.gguf import OpenedGguf, open_gguf  # noqa: E402
from llmos.core.errors import FormatError, UserError  # noqa: E402
from llmos.models import encode, forward, memories  # noqa: E402
from llmos.ops.numpy_ops import NumpyOps  # noqa: E402
from llmos.text import Tokenizer  # noqa: E402
from llmos.text.sentencepiece_file import parse  # noqa: E402
from tests.embedding_model import TEXTS, folder, reference  # noqa: E402
from tests.tiny_encoders import hidden  # noqa: E402

NORMAL, UNKNOWN, CONTROL, UNUSED = 1, 2, 3, 5


def weights(opened: OpenedGguf) -> dict[str, np.ndarray]:
    return {name: opened.parameters[name].float32().astype(np.float64) for name in opened.parameters}


def assert_near(a: np.ndarray, b: np.ndarray) -> None:
    assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


@pytest.mark.parametrize("kind", ["F32", "F16"])
@pytest.mark.parametrize("name", models.ENCODERS)
def test_hidden_rows_of_an_encoder_are_those_of_transformers(name, kind, tmp_path):
    case = models.ENCODERS[name]
    model = case.model()
    opened = open_gguf(models.write_model(tmp_path / "x.gguf", case, model, kind))
    ids = np.random.default_rng(1).integers(2, opened.spec.vocab, 41).tolist()
    ours = forward(NumpyOps(), opened.spec, weights(opened), ids, np.arange(41))
    assert_near(ours, hidden(model.double(), ids))
    assert opened.embedding.pooling == "mean" and opened.embedding.normalize is None


def check_answers(path: Path, model) -> OpenedGguf:
    """Logits of an answer to a source, in float64."""
    opened, rng = open_gguf(path), np.random.default_rng(1)
    source, ids = rng.integers(0, opened.spec.vocab, 70), rng.integers(0, opened.spec.vocab, 21)
    ops, spec, w = NumpyOps(), opened.spec, weights(opened)
    memory = memories(ops, spec, w, encode(ops, spec, w, source, np.arange(len(source))))
    ours = forward(ops, spec, w, ids, np.arange(len(ids)), memory)
    with torch.no_grad():
        given = {"input_ids": torch.from_numpy(source)[None], "decoder_input_ids": torch.from_numpy(ids)[None]}
        assert_near(np.asarray(ours), model.double()(**given).logits[0].numpy())
    return opened


@pytest.mark.parametrize("name", models.TRANSLATORS)
def test_an_encoder_with_a_decoder_computes_what_transformers_does(name, tmp_path):
    case = models.TRANSLATORS[name]
    model = case.model()
    check_answers(models.write_model(tmp_path / "x.gguf", case, model), model)


WIDE = {"vocab_size": 64, "d_model": 64, "d_ff": 96, "d_kv": 32, "num_heads": 2, "num_layers": 1}


def test_layers_of_an_encoder_have_a_say_in_the_formats_as_those_of_a_decoder(tmp_path):
    case = models.translator(**WIDE)
    model = case.model()
    path = models.write_model(tmp_path / "x.gguf", case, model, "Q4_0", {"token_embd.weight": "Q8_0"})
    precision = check_answers(path, model).parameters.precision
    assert (precision.dtype, precision.tables, precision.matrices) == ("int4", "int8", {})
    path = models.write_model(tmp_path / "y.gguf", case, model, "Q8_0", {"enc.blk.0.ffn_down.weight": "Q4_0"})
    precision = check_answers(path, model).parameters.precision
    assert (precision.dtype, precision.tables, precision.matrices) == ("int8", None, {"encoder.0.down": "int4"})


def wordpieces(vocabulary: list[str]) -> dict:
    """vocab.txt as llama.cpp's converter writes it: words are marked, what continues one is not."""
    control = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    marked = [t if t in control else t[2:] if t.startswith("##") else "\u2581" + t for t in vocabulary]
    ids = {"unknown": "[UNK]", "seperator": "[SEP]", "padding": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
    return {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.pre": "jina-v2-en",
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.tokens": marked,
        "tokenizer.ggml.token_type": [CONTROL if t in control else NORMAL for t in vocabulary],
    } | {f"tokenizer.ggml.{name}_token_id": vocabulary.index(text) for name, text in ids.items()}


@pytest.mark.toolchain
def test_a_real_encoder_gives_the_vectors_of_sentence_transformers(tmp_path):
    theirs = reference(folder())
    bert = theirs[0].auto_model
    case = models.Case(model=lambda: bert, arch=models.ENCODERS["bert"].arch, metadata=models.ENCODERS["bert"].metadata)
    words = (folder() / "vocab.txt").read_text(encoding="utf-8").splitlines()
    path = models.write_model(tmp_path / "minilm.gguf", case, bert, vocabulary=wordpieces(words))
    with load_model(path) as model:
        found, expected = model.embed(TEXTS, truncate="end"), theirs.encode(TEXTS)
        facts = model.info()
    assert np.abs(found - expected).max() < 1e-5
    assert facts["architecture"] == "encoder-only" and facts["embedding"]["pooling"] == "mean"


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """A unigram vocabulary with the marks of T5, trained here."""
    library = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")
    base = tmp_path_factory.mktemp("pieces") / "t5"
    text = base.with_suffix(".txt")
    lines = [
        "the cat sat on the mat and the dog sat on the cat",
        "Zw\u00f6lf Boxk\u00e4mpfer jagen Viktor",
        "a b c d e f",
    ]
    text.write_text("\n".join(lines * 3), encoding="utf-8")
    ids = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    sizes = {"vocab_size": 90, "hard_vocab_limit": False, "minloglevel": 2, "model_type": "unigram"}
    library.SentencePieceTrainer.train(input=str(text), model_prefix=str(base), **ids, **sizes)
    return library.SentencePieceProcessor(model_file=str(base.with_suffix(".model")))


def unigram(pieces, more: int) -> dict:
    """A SentencePiece model as the converter writes it, with `more` ids that no text gives."""
    ids, padding = range(pieces.get_piece_size()), [f"[PAD{i}]" for i in range(more)]
    types = [UNKNOWN if pieces.is_unknown(i) else CONTROL if pieces.is_control(i) else NORMAL for i in ids]
    return {
        "tokenizer.ggml.model": "t5",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": [pieces.id_to_piece(i) for i in ids] + padding,
        "tokenizer.ggml.scores": [pieces.get_score(i) for i in ids] + [-10000.0] * more,
        "tokenizer.ggml.token_type": types + [UNUSED] * more,
        "tokenizer.ggml.add_space_prefix": True,
        "tokenizer.ggml.remove_extra_whitespaces": True,
        "tokenizer.ggml.precompiled_charsmap": parse(pieces.serialized_model_proto(), "here").charsmap,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.unknown_token_id": 2,
    }


SOURCES = ["the cat sat", "", "  Zw\u00f6lf   Boxk\u00e4mpfer\tjagen ", "\ufb01 \u2460 x\u0301 \u56fe", "a b c" * 30]


@pytest.mark.toolchain
def test_a_unigram_vocabulary_reads_as_sentencepiece_and_the_answer_is_that_of_transformers(pieces, tmp_path):
    size = pieces.get_piece_size() + 5
    case = models.translator(vocab_size=size, decoder_start_token_id=0)
    hf = case.model()
    path = models.write_model(tmp_path / "x.gguf", case, hf, vocabulary=unigram(pieces, 5))
    with load_model(path) as model:
        for source in SOURCES:
            ids = model.tokenize(source)
            assert ids == [*pieces.encode(source), 1], source
            out = hf.generate(torch.tensor([ids]), max_new_tokens=9, do_sample=False, eos_token_id=1)[0].tolist()[1:]
            assert model.generate_tokens(source, temperature=0, max_tokens=9) == out
        assert model.tokenize("the cat</s>a", special=False) == [*pieces.encode("the cat"), 1, *pieces.encode("a")]
        assert isinstance(model.generate_text("the cat", max_tokens=4, temperature=0), str)
        assert model.info()["architecture"] == "encoder-decoder"


def written(tmp_path, case, keys=None, tensors=None) -> Path:
    """The file of a case with further keys and tensors."""
    model = case.model()
    changed = models.Case(
        model=case.model,
        arch=case.arch,
        metadata=lambda config: case.metadata(config) | (keys or {}),
        extra=lambda config: tensors or {},
    )
    return models.write_model(tmp_path / "x.gguf", changed, model)


def test_what_an_encoders_file_says_and_is_not_done_is_refused_by_name(pieces, tmp_path):
    bert, t5 = models.ENCODERS["bert"], models.TRANSLATORS["t5"]
    with pytest.raises(UserError, match=r"bert\.pooling_type is 9, which is none of 0 .none., 1 .mean."):
        open_gguf(written(tmp_path, bert, {"pooling_type": 9}))
    with pytest.raises(UserError, match=r"attention\.causal = True"):
        open_gguf(written(tmp_path, bert, {"attention.causal": True}))
    assert open_gguf(written(tmp_path, bert, {"pooling_type": 4})).embedding.refused
    assert open_gguf(written(tmp_path, bert, {"pooling_type": 2})).embedding.pooling == "cls"
    one = models.plain("F32", np.zeros((32, 3), np.float32))
    open_gguf(written(tmp_path, t5, tensors={"dec.blk.0.cross_attn_rel_b.weight": one}))
    with pytest.raises(FormatError, match=r"unexpected enc\.blk\.1\.attn_rel_b\.weight"):  # UMT5
        open_gguf(written(tmp_path, t5, tensors={"enc.blk.1.attn_rel_b.weight": one}))
    keys = unigram(pieces, 0)
    case = models.translator(vocab_size=pieces.get_piece_size())
    for change, message in (
        ({"tokenizer.ggml.scores": None}, "scores is missing: a vocabulary of kind t5"),
        ({"tokenizer.ggml.precompiled_charsmap": [1.5]}, "precompiled_charsmap must be a list of bytes"),
    ):
        vocabulary = {key: value for key, value in (keys | change).items() if value is not None}
        with pytest.raises(FormatError, match=message):
            open_gguf(models.write_model(tmp_path / "x.gguf", case, case.model(), vocabulary=vocabulary))


def test_marks_around_a_text_of_a_unigram_vocabulary_are_those_that_the_file_asks_for(pieces, tmp_path):
    """As XLM-RoBERTa has them, and none."""
    case = models.translator(vocab_size=pieces.get_piece_size())
    asked = {"add_bos_token": True, "bos_token_id": 0}, {"add_eos_token": False}
    for flags, before, after in zip(asked, ([0], []), ([1], []), strict=True):
        vocabulary = unigram(pieces, 0) | {f"tokenizer.ggml.{key}": value for key, value in flags.items()}
        path = models.write_model(tmp_path / "x.gguf", case, case.model(), vocabulary=vocabulary)
        ours = Tokenizer(open_gguf(path).prompt_format)
        assert ours.encode("the cat") == [*before, *pieces.encode("the cat"), *after]
