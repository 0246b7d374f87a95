"""What transformers' class of a tokenizer adds to its files: named tokens, ends of a text, how words are found.

Only folders without tokenizer.json need it. A class that is not here is refused by name: others number their pieces in ways
of their own (XLM-RoBERTa, NLLB, mBART, Pegasus) or have further rules. A new one is a line of `CLASSES`, and a test against
transformers.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["CLASSES", "TokenizerClass", "class_named"]

Kind = Literal["sentencepiece", "bytes", "words", "ranks"]

QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, kw_only=True)
class TokenizerClass:
    """kind: of the vocabulary: a SentencePiece model, byte-level BPE, WordPiece, tiktoken ranks.

    special: named tokens where no file states them. before, after: names of those that go around a text always; bos: whether
    bos_token does where no file says. pattern: a regular expression of words, None is GPT-2's. sentinels: so many `<extra_id_N>`
    follow the vocabulary, the last first. extra: further special tokens that follow it.
    """

    kind: Kind
    special: dict[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    bos: bool = False
    pattern: str | None = None
    composes: bool = False
    sentinels: int = 0
    extra: tuple[str, ...] = ()


_LLAMA = TokenizerClass(
    kind="sentencepiece", special={"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, bos=True
)
_GEMMA = TokenizerClass(
    kind="sentencepiece",
    special={"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"},
    bos=True,
)
_T5 = TokenizerClass(
    kind="sentencepiece",
    special={"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"},
    after=("eos_token",),
    sentinels=100,
)
_END_OF_TEXT = "<|endoftext|>"
_GPT2 = TokenizerClass(
    kind="bytes", special={"bos_token": _END_OF_TEXT, "eos_token": _END_OF_TEXT, "unk_token": _END_OF_TEXT}
)
_QWEN2 = TokenizerClass(
    kind="bytes",
    special={"eos_token": _END_OF_TEXT, "unk_token": _END_OF_TEXT, "pad_token": _END_OF_TEXT},
    pattern=QWEN_PATTERN,
    composes=True,
)
_ROBERTA = TokenizerClass(
    kind="bytes",
    special={
        "bos_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "cls_token": "<s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
    },
    before=("cls_token",),
    after=("sep_token",),
)
_BERT = TokenizerClass(
    kind="words",
    special={
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    },
    before=("cls_token",),
    after=("sep_token",),
)
# https://huggingface.co/Qwen/Qwen-7B, tokenization_qwen.py
_QWEN = TokenizerClass(
    kind="ranks",
    special={"eos_token": _END_OF_TEXT},
    pattern=QWEN_PATTERN,
    composes=True,
    extra=(_END_OF_TEXT, "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(205))),
)

# Name of the class, without `Fast`.
CLASSES: dict[str, TokenizerClass] = {
    "LlamaTokenizer": _LLAMA,
    "CodeLlamaTokenizer": _LLAMA,
    "GemmaTokenizer": _GEMMA,
    "T5Tokenizer": _T5,
    "GPT2Tokenizer": _GPT2,
    "CodeGenTokenizer": _GPT2,
    "Qwen2Tokenizer": _QWEN2,
    "RobertaTokenizer": _ROBERTA,
    "BartTokenizer": _ROBERTA,
    "BertTokenizer": _BERT,
    "DistilBertTokenizer": _BERT,
    "ElectraTokenizer": _BERT,
    "QWenTokenizer": _QWEN,
}

# model_type of config.json -> class, where tokenizer_config.json names none; as transformers' AutoTokenizer.
_OF_MODEL = {
    **dict.fromkeys(("llama", "mistral", "mixtral", "phi3"), "LlamaTokenizer"),
    **dict.fromkeys(("gemma", "gemma2", "gemma3", "gemma3_text"), "GemmaTokenizer"),
    **dict.fromkeys(("t5", "mt5", "umt5"), "T5Tokenizer"),
    **dict.fromkeys(("gpt2", "gpt_neo", "gptj", "opt", "gpt_bigcode", "starcoder2"), "GPT2Tokenizer"),
    **dict.fromkeys(("qwen2", "qwen2_moe", "qwen3", "qwen3_moe"), "Qwen2Tokenizer"),
    **dict.fromkeys(("roberta", "longformer"), "RobertaTokenizer"),
    "bart": "BartTokenizer",
    **dict.fromkeys(("bert", "distilbert", "electra"), "BertTokenizer"),
    "qwen": "QWenTokenizer",
}

_USUAL: dict[Kind, str] = {
    "sentencepiece": "LlamaTokenizer",
    "bytes": "GPT2Tokenizer",
    "words": "BertTokenizer",
    "ranks": "QWenTokenizer",
}


def class_named(stated: Any, model_type: Any, kind: Kind) -> tuple[str, TokenizerClass | None]:
    """Name and class of a tokenizer: the one that is stated, that of the model, or the usual one of the files.

    None in place of a class that is not known, or whose files are of another kind.
    """
    name = stated or (_OF_MODEL.get(model_type, model_type) if isinstance(model_type, str) else _USUAL[kind])
    known = CLASSES.get(str(name).removesuffix("Fast"))
    return str(name), known if known is not None and known.kind == kind else None
