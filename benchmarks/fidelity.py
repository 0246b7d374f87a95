"""The measured difference of every family and format to its reference, as a page: `make fidelity` writes docs/fidelity.md.

References are independent of LLMOS: transformers in float64 for families, the `gguf` package for its block types, the published
formulas for GPTQ and AWQ, llama.cpp's vectors for vocabularies, sentence-transformers for embeddings. Models are the tiny
random ones of the tests, whose every option differs from its default somewhere; number formats are besides judged on the
trained embedded model. Takes some ten minutes on two cores.
"""

import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from fidelity_files import embeddings, gguf_families, gguf_types, quantised_folders, vocabularies
from fidelity_models import families
from fidelity_trained import trained_formats

from llmos.compiler import FORMATS

_ROOT = Path(__file__).parents[1]
PAGE = _ROOT / "docs" / "fidelity.md"

_INTRODUCTION = """# Fidelity

How far every family and format is from its reference, measured by `make fidelity`, which writes this page. An error is the
largest difference to the reference divided by the reference's largest magnitude; *numpy* is the definition of the forward pass in
float64.
"""
_FAMILIES = """## Families

Against transformers in float64, over 41 random tokens of tiny random models at odd sizes: logits, of encoders the hidden rows. The
columns after *numpy* are compiled code with weights in that format, keys and values in bf16 but for the float formats. Every
option is measured in float32, the first case of each family in every format. Random weights are the worst case for few bits: in a
mixture of experts a near tie in the router may choose another expert.
"""
_TRAINED = """## Number formats on a trained model

`llmos-mini` against its float32, on 3072 tokens of a held-out book.
"""
_TYPES = """## GGUF types

*blocks*: decoded values against the `gguf` package's, largest absolute difference. *numpy*: a tiny Llama against transformers with the
decoded weights. *compiled*: the same in the format that the file gets by default, by log-probabilities of tokens.
"""
_GGUF = """## GGUF families

Files of float32 weights, written as llama.cpp's converter does, against transformers.
"""
_FOLDERS = """## Quantised folders

A tiny Llama against transformers with the values that the formulas of the formats give. compressed-tensors, act-order and 8 bits
are held to the bit in `tests/weights/test_quantization.py`.
"""
_VOCABULARIES = """## Vocabularies

Texts whose token ids are those of llama.cpp's vectors, from GGUF metadata. SentencePiece models and `tokenizer.json` files are
compared with their libraries on generated Unicode in `tests/text`.
"""
_EMBEDDINGS = """## Embeddings

all-MiniLM-L6-v2 against sentence-transformers: the largest difference of a component of unit vectors.
"""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main() -> None:
    warnings.simplefilter("ignore")
    data = Path(os.environ["LLMOS_TEST_DATA"])
    trained = ["format", "largest logit error", "mean KL", "same first choice", "perplexity"]
    parts = [
        *(_INTRODUCTION, _FAMILIES, table(["model", "numpy", *FORMATS], families())),
        *(_TRAINED, table(trained, trained_formats(data))),
        *(_TYPES, table(["type", "blocks", "numpy", "becomes", "compiled"], gguf_types())),
        *(_GGUF, table(["family", "architecture", "numpy", "becomes", "compiled"], gguf_families())),
        *(_FOLDERS, table(["format", "numpy", "becomes", "compiled"], quantised_folders())),
        *(_VOCABULARIES, table(["vocabulary", "same ids"], vocabularies(data))),
        *(_EMBEDDINGS, table(["weights", "difference"], embeddings())),
    ]
    PAGE.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
