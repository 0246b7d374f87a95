"""Flags of llama.cpp, Ollama, vLLM and transformers that people try, and what they are called here."""

import click

__all__ = ["hint_at_ours"]

_OURS = {
    "--lora": "--adapter",
    "--n-predict": "--max-tokens",
    "-n": "--max-tokens",
    "--max-new-tokens": "--max-tokens",
    "--num-predict": "--max-tokens",
    "--ctx-size": "--context",
    "--num-ctx": "--context",
    "--max-model-len": "--context",
    "-c": "--context",
    "-t": "--threads",
    "--temp": "--temperature",
    "-s": "--seed",
    "--dtype": "--weights",
    "--quantization": "--weights",
    "--cache-type-k": "--kv",
    "--kv-cache-dtype": "--kv",
    "--repeat-penalty": "--repetition-penalty",
}
_WORDS = {
    "-m": "the model is the first word",
    "--model": "the model is the first word",
    "-hf": "the model is the first word, owner/name",
    "-p": "the prompt is the word after the model's",
    "--prompt": "the prompt is the word after the model's",
}


def hint_at_ours(error: click.NoSuchOption) -> click.NoSuchOption:
    """The error of an unknown flag with what that is called here, where its verb has it."""
    name, ctx = error.option_name, error.ctx
    if ctx is None:
        return error
    if _OURS.get(name) in {flag for parameter in ctx.command.params for flag in parameter.opts}:
        return click.NoSuchOption(name, f"No such option {name!r}. Did you mean {_OURS[name]!r}?", ctx=ctx)
    if name in _WORDS:
        form = " ".join([ctx.command_path, *ctx.command.collect_usage_pieces(ctx)[1:]])
        return click.NoSuchOption(name, f"No such option {name!r}: {_WORDS[name]}, as in {form}", ctx=ctx)
    return error
