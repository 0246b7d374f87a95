"""Byte-level BPE: trained from the recipe's sources, or taken over from a folder. GPT-2's splitting pattern.

Every encoding starts with the document token, as every document does in training; the chat template writes it itself.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer as Encoder
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from llmos.core.errors import FormatError, UserError
from llmos.core.files import atomic_directory, atomic_write
from llmos.trainer.documents import documents, limited
from llmos.trainer.recipe import Recipe, Source, Tokenizer

__all__ = ["open_tokenizer", "prepare_tokenizer", "train_tokenizer"]


def prepare_tokenizer(recipe: Recipe, context: int) -> Path:
    """The folder with the run's tokenizer, trained now unless it is there already.

    context: longest sequence of the model, stored as the tokenizer's limit.
    """
    folder = recipe.folder / "tokenizer"
    if (folder / "tokenizer.json").exists():
        return folder
    if recipe.tokenizer.path is not None:
        return _take_over(recipe.tokenizer.path, folder)
    encoder = train_tokenizer(recipe.tokenizer, _sample(recipe))
    with atomic_directory(folder) as temporary:
        (temporary / "tokenizer.json").write_text(encoder.to_str(pretty=False), encoding="utf-8")
        settings = tokenizer_settings(recipe.tokenizer, context)
        (temporary / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    return folder


def open_tokenizer(folder: Path) -> Encoder:
    """The encoder in a folder. Raises UserError where there is none, FormatError where it is damaged."""
    path = folder / "tokenizer.json"
    if not path.exists():
        raise UserError(f"there is no tokenizer.json in {folder}")
    try:
        return Encoder.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises bare Exception for whatever it cannot parse
        raise FormatError(path, f"not a tokenizer: {error}") from error


def train_tokenizer(wanted: Tokenizer, texts: Iterator[str]) -> Encoder:
    """A byte-level BPE of exactly `wanted.vocab` entries; special tokens have the first ids, in order."""
    encoder = Encoder(models.BPE())
    encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    encoder.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=wanted.vocab,
        special_tokens=list(wanted.special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    encoder.train_from_iterator(texts, trainer=trainer)
    if encoder.get_vocab_size() != wanted.vocab:
        raise UserError(
            f"the sources have only enough text for {encoder.get_vocab_size()} of {wanted.vocab} tokens: lower tokenizer.vocab"
        )
    start = wanted.special[0]
    encoder.post_processor = processors.TemplateProcessing(
        single=f"{start} $A", pair=f"{start} $A $B", special_tokens=[(start, encoder.token_to_id(start))]
    )
    return encoder


def tokenizer_settings(wanted: Tokenizer, context: int) -> dict:
    """What transformers reads as tokenizer_config.json."""
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": wanted.special[0],
        "eos_token": wanted.special[0],
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }
    return settings | ({"chat_template": wanted.chat_template} if wanted.chat_template else {})


def _sample(recipe: Recipe) -> Iterator[str]:
    """Text of every source in proportion to its weight, special tokens taken out so that none is split into pieces."""
    total = sum(source.weight for source in recipe.data.sources)
    for source in recipe.data.sources:
        for text in limited(_spread(source), int(recipe.tokenizer.sample_bytes * source.weight / total)):
            for token in recipe.tokenizer.special:
                text = text.replace(token, " ")
            yield text


def _spread(source: Source) -> Iterator[str]:
    """Long documents as pieces of 20,000 characters, taken from all documents in turn rather than from the first few."""
    texts = list(documents(source))
    piece = 20_000
    for start in range(0, max(map(len, texts), default=0), piece):
        for text in texts:
            if start < len(text):
                yield text[start : start + piece]


def _take_over(source: Path, folder: Path) -> Path:
    open_tokenizer(source)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (source / name).exists():
            with (source / name).open("rb") as original, atomic_write(folder / name) as copy:
                shutil.copyfileobj(original, copy)
    return folder
