"""A translator made here, as small as it can be, translates: encoder, decoder and SentencePiece vocabulary from end to end."""

import json
import lzma

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.toolchain, pytest.mark.slow, pytest.mark.data]
torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
sentencepiece = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")

from llmos.api import load_model  # noqa: E402

PREFIX = "translate English to German: "
SIZES = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}


@pytest.fixture(scope="module")
def pairs(data_dir) -> list[tuple[str, str]]:
    with lzma.open(data_dir / "eval" / "tatoeba_en-de_test.tsv.xz", "rt", encoding="utf-8") as file:
        lines = [line.rstrip("\n").split("\t")[-2:] for line in file]
    short = [(english, german) for english, german in lines if len(english) < 40 and len(german) < 40]
    return list(dict(short).items())[:10]


@pytest.fixture(scope="module")
def translator(pairs, tmp_path_factory):
    """A T5 that has learned the pairs by heart, in the files that the published ones come in."""
    folder = tmp_path_factory.mktemp("translator")
    text = folder / "text.txt"
    text.write_text("\n".join(PREFIX + english + "\n" + german for english, german in pairs), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "spiece"),
        vocab_size=220,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        character_coverage=1.0,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=pieces.get_piece_size(),
        decoder_start_token_id=0,
        eos_token_id=1,
        pad_token_id=0,
        dropout_rate=0,
        **SIZES,
    )
    model = transformers.T5ForConditionalGeneration(config)

    def padded(texts: list[str], value: int):
        ids = [torch.tensor([*pieces.encode(text), 1]) for text in texts]
        return torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=value)

    sources = padded([PREFIX + english for english, _ in pairs], 0)
    answers = padded([german for _, german in pairs], -100)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0)
    for _ in range(400):
        loss = model(input_ids=sources, attention_mask=(sources != 0).long(), labels=answers).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if loss.item() < 0.01:
            break
    assert loss.item() < 0.05, f"the pairs were not learned: loss {loss.item()}"
    model.save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "T5Tokenizer",
                "eos_token": "</s>",
                "pad_token": "<pad>",
                "unk_token": "<unk>",
                "extra_ids": 0,
            }
        )
    )
    return folder


@pytest.mark.parametrize("weights", ["float32", "bf16", "int8"])
def test_generate_text_translates(translator, pairs, weights):
    with load_model(translator, weights=weights) as model:
        got = [model.generate_text(PREFIX + english, temperature=0, max_tokens=40) for english, _ in pairs]
    assert got == [german for _, german in pairs]
