"""`llmos run [MODEL] [PROMPT]`: one generation to stdout, or a conversation where a person sits at a terminal."""

import difflib
import re
import sys
import time
from typing import Any

import click

from llmos.cli.formats import memory_option, model_options
from llmos.cli.loading import load
from llmos.cli.names import complete_model
from llmos.cli.terminal import tell, write_json
from llmos.core.errors import UserError
from llmos.models import CATALOGUE, DEFAULT_MODEL, FAMILIES, lookup

__all__ = ["command"]


@click.command("run")
@click.argument("words", nargs=-1, metavar="[MODEL] [PROMPT]", shell_complete=complete_model)
@click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="Tokens to generate at most [128].")
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    metavar="X",
    help="0 takes the likeliest token; higher is more varied [the model's, else 0.8].",
)
@click.option("--greedy", is_flag=True, help="The same as --temperature 0.")
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="X",
    help="Draw from the likeliest tokens of this share [the model's, else 0.95].",
)
@click.option(
    "--top-k",
    type=click.IntRange(0),
    metavar="N",
    help="Draw from this many likeliest tokens; 0: from all [the model's, else 0].",
)
@click.option(
    "--min-p",
    type=click.FloatRange(0, 1),
    metavar="X",
    help="Leave out tokens below this share of the likeliest one's [the model's, else 0].",
)
@click.option(
    "--repetition-penalty",
    type=click.FloatRange(0, min_open=True),
    metavar="X",
    help="Divide the scores of tokens seen by it [the model's, else 1].",
)
@click.option("--seed", type=click.IntRange(0), metavar="N", help="The same seed gives the same text [a fresh one].")
@click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; may be given several times [none].")
@click.option(
    "--overflow",
    type=click.Choice(["error", "drop_oldest"]),
    help="For a prompt over the context: an error, or leave out its beginning [in a chat drop_oldest, else error].",
)
@model_options
@memory_option
@click.option(
    "--context",
    type=click.IntRange(1),
    metavar="N",
    help="Tokens to make room for [the model's own context, at most 8192].",
)
@click.option(
    "--threads", type=click.IntRange(1), metavar="N", help="Threads to use [LLMOS_THREADS, else every usable core]."
)
@click.option(
    "--speculation",
    metavar="HOW",
    help="Compute tokens ahead that the text foretells: auto (where it is faster), off, or 1 to 15 at a time [auto].",
)
@click.option(
    "--chat/--raw",
    "chat",
    default=None,
    help="Put the prompt as a chat message, or as it is [raw; in a conversation chat, where the model has a template].",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Write one JSON document with text, tokens and timings at the end."
)
def command(words: tuple[str, ...], chat: bool | None, as_json: bool, **flags: Any) -> None:
    """Generate text with a model, or chat with it.

    A single word or sentence that names no model is the prompt, and the embedded model answers. Without a prompt, the text
    on standard input is the prompt; at a terminal a conversation begins.

    \b
    llmos run "Once upon a time"
    llmos run gpt2 "The quick brown fox" --max-tokens 50 --seed 7
    echo "The sea was" | llmos run --greedy
    """
    name, prompt = _split(words)
    sampling = _sampling(flags)
    settings = {key: flags[key] for key in ("weights", "kv", "memory", "context", "threads", "adapter")}
    how = flags["speculation"] or "auto"
    settings["speculation"] = int(how) if how.isdecimal() else how
    if prompt is None and sys.stdin.isatty() and not as_json:
        from llmos.cli.chat import converse

        converse(_loaded(name, chat, settings), sampling, chat)
        return
    started = time.perf_counter()
    model = _loaded(name, chat, settings)
    load_s = time.perf_counter() - started
    if prompt is None:
        prompt = _standard_input()
    started = time.perf_counter()
    generation = model.start(_framed(prompt, chat), **sampling)
    if generation.dropped_tokens and not as_json:
        tell(f"{generation.dropped_tokens} tokens of the prompt were left out, its beginning")
    text, first = "", None
    if not as_json and not chat and sys.stdout.isatty():
        _write(prompt)
    for piece in generation:
        first = first or time.perf_counter()
        text += piece
        if not as_json:
            _write(piece)
    ended = time.perf_counter()
    if as_json:
        spans = {"load_s": load_s, "first_text_s": (first or ended) - started, "total_s": ended - started}
        write_json(_document(model.name, prompt, text, generation, spans))
    elif not text.endswith("\n"):
        _write("\n")


def _split(words: tuple[str, ...]) -> tuple[str, str | None]:
    """Model name and prompt of the positional words."""
    if len(words) > 2:
        raise click.UsageError(
            f"a model and a prompt are at most two words, not {len(words)}: put the prompt in quotes"
        )
    if len(words) == 2:
        return words[0], words[1]
    if not words:
        return DEFAULT_MODEL, None
    if _names_a_model(words[0]):
        return words[0], None
    near = difflib.get_close_matches(words[0].lower(), CATALOGUE, n=1, cutoff=0.8)
    if near:
        tell(f"taking {words[0]!r} as the prompt; the model {near[0]!r} has a similar name")
    elif _resembles_a_model(words[0]):
        tell(
            f"taking {words[0]!r} as the prompt of {DEFAULT_MODEL}; a model is named owner/name[:TAG] as on the Hub, by a path, or as "
            "in `llmos models`"
        )
    return DEFAULT_MODEL, words[0]


def _names_a_model(word: str) -> bool:
    """A name of the catalogue or the Hub, or a path: a word that is written like one, or anything that exists."""
    from llmos.hub import existing, is_hub_id, is_path

    if lookup(word) is not None or is_hub_id(word):
        return True
    one_word = not any(character.isspace() for character in word)
    if is_path(word):
        return one_word or existing(word) is not None
    return one_word and existing(word) is not None


def _resembles_a_model(word: str) -> bool:
    """Whether one word is `name:tag`, or begins like the name of a family: llama3, mistral, qwen2.5-7b."""
    stems = {re.split("[^a-z]", family)[0] for family in FAMILIES}
    begins = re.match("[a-z]+", word.lower())
    family = word.lower() in FAMILIES or (begins is not None and len(begins[0]) > 2 and begins[0] in stems)
    return not any(map(str.isspace, word)) and (family or re.fullmatch(r"[A-Za-z][\w.-]*:[\w.-]+", word) is not None)


def _loaded(name: str, chat: bool | None, settings: dict[str, Any]) -> Any:
    """The model of a name, which must know text, and the form of a conversation where one is asked for."""
    from llmos.api.prompts import without_tokenizer

    model = load(name, **settings)
    if model.info()["prompt_format"] is None:
        raise UserError(without_tokenizer(model.info()))
    if chat and not model.has_chat_template:
        raise UserError(f"{model.name} has no chat template: it was not trained for chat; leave out --chat")
    return model


def _standard_input() -> str:
    text = sys.stdin.read()
    if not text.strip():
        raise UserError("there is no prompt: give it as an argument or on standard input")
    return text.removesuffix("\n")


def _sampling(flags: dict[str, Any]) -> dict[str, Any]:
    """The sampling settings that were given; what was not is left to the model's defaults."""
    if flags["greedy"] and flags["temperature"]:
        raise click.UsageError("--greedy is --temperature 0: give one of the two")
    if flags["greedy"]:
        flags["temperature"] = 0.0
    names = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed", "overflow")
    given = {name: flags[name] for name in names if flags[name] is not None}
    return given | ({"stop": list(flags["stop"])} if flags["stop"] else {})


def _framed(prompt: str, chat: bool | None) -> str | list[dict[str, str]]:
    return [{"role": "user", "content": prompt}] if chat else prompt


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _document(name: str, prompt: str, text: str, generation: Any, spans: dict[str, float]) -> dict[str, Any]:
    tokens = list(generation.tokens)
    return {
        "model": name,
        "prompt": prompt,
        "text": text,
        "tokens": tokens,
        "seed": generation.seed,
        "prompt_tokens": generation.prompt_tokens,
        "dropped_tokens": generation.dropped_tokens,
        "finish_reason": generation.finish_reason,
        "speculation": generation.speculation,
        "timings": spans | {"tokens_per_s": len(tokens) / spans["total_s"] if spans["total_s"] else None},
    }
