"""A tokenizer.json of 260 tokens: every byte, two merges, a beginning and an end."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers


def tokenizer_text() -> str:
    """Ids 258 and 259 are <s> and </s>."""
    letters = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocab = letters | {"ab": 256, "abc": 257}
    tokenizer = Tokenizer(models.BPE(vocab, [("a", "b"), ("ab", "c")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    return tokenizer.to_str()
