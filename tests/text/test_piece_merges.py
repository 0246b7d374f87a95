"""Merges of SentencePiece vocabularies: those of transformers, in its order, for real vocabularies and for equal scores."""

import random

import pytest

from llmos.core.errors import FormatError
from llmos.text.gguf.vocabulary import Vocabulary
from llmos.text.piece_merges import piece_merges
from llmos.text.sentencepiece_file import NORMAL, read_sentencepiece
from llmos.weights import GgufFile


def reference(pieces: dict[str, float]) -> list[tuple[str, str]]:
    utils = pytest.importorskip("transformers.tokenization_utils_base", reason="transformers is not installed")
    return utils.generate_merges({text: i for i, text in enumerate(pieces)}, pieces)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["llama2_tokenizer.model", "mistral_tokenizer.model.v3", "ggml-vocab-phi-3.gguf"])
def test_the_merges_of_real_vocabularies_are_those_of_transformers(data_dir, name):
    path = data_dir / "tokenizers" / name
    if path.suffix == ".gguf":
        vocabulary = Vocabulary.read(GgufFile(path).metadata, path)
        pieces = dict(zip(vocabulary.tokens, vocabulary.scores, strict=True))
    else:
        pieces = {piece.text: piece.score for piece in read_sentencepiece(path).pieces if piece.kind == NORMAL}
    merges = piece_merges(pieces.items(), pieces, path)
    assert merges == reference(pieces) and len(merges) > 50_000


@pytest.mark.torch
def test_equal_scores_are_ordered_as_transformers_orders_them():
    draw = random.Random(1)
    texts = ["".join(draw.choice("ab") for _ in range(draw.randint(1, 6))) for _ in range(200)]
    pieces = {text: float(draw.randint(-2, 0)) for text in ("a", "b", *texts)}
    assert piece_merges(pieces.items(), pieces, "x") == reference(pieces)


def test_a_run_grows_from_its_left():
    pieces = dict.fromkeys(("a", "aa", "aaa"), 0.0)
    assert piece_merges(pieces.items(), pieces, "x") == [("aa", "a"), ("a", "aa"), ("a", "a")]


def test_pieces_that_take_too_long_to_look_at_are_refused():
    with pytest.raises(FormatError, match="longer than those of any model"):
        piece_merges([("a" * 9000, 0.0)], {"a"}, "x")
