"""Names that people type and what they resolve to, and why.

A name is embedded (shipped with LLMOS), an alias of a Hub repository, or the name of a model whose weights were never
published; the last resolve to the embedded model with a warning that says so.
"""

from dataclasses import dataclass

__all__ = ["CATALOGUE", "DEFAULT_MODEL", "Entry", "lookup"]

DEFAULT_MODEL = "llmos-mini"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One catalogue name. Exactly one of `embedded` and `hub_id` is set; `notice` is shown when it is not what it says."""

    name: str
    about: str
    embedded: str | None = None
    hub_id: str | None = None
    notice: str | None = None


def _unpublished(name: str, title: str, owner: str, stand_in: str, example: str) -> Entry:
    """stand_in: what comes nearest to it among open models."""
    advice = f"The strongest open stand-in is {stand_in}: load_model({example!r})"
    return Entry(
        name=name,
        about=f"{title} was never published: gives {DEFAULT_MODEL}",
        embedded=DEFAULT_MODEL,
        notice=(
            f"the weights of {title} were never published by {owner}: this is {DEFAULT_MODEL}, the small embedded model. "
            + advice
        ),
    )


_OPT = "OPT (facebook/opt-66b, once its pickles are saved as safetensors); one that loads as it is"

CATALOGUE = {
    entry.name: entry
    for entry in (
        Entry(name=DEFAULT_MODEL, about="the small model shipped with LLMOS", embedded=DEFAULT_MODEL),
        _unpublished("gpt-3", "GPT-3", "OpenAI", _OPT, "allenai/OLMo-2-1124-13B"),
        _unpublished("lamda", "LaMDA", "Google", "Gemma 2", "google/gemma-2-27b"),
        _unpublished("bard", "Bard", "Google", "Gemma 2", "google/gemma-2-27b-it"),
        Entry(name="gpt2", about="GPT-2 124M", hub_id="openai-community/gpt2"),
        Entry(name="gpt2-medium", about="GPT-2 355M", hub_id="openai-community/gpt2-medium"),
        Entry(name="gpt2-large", about="GPT-2 774M", hub_id="openai-community/gpt2-large"),
        Entry(name="gpt2-xl", about="GPT-2 1.5B", hub_id="openai-community/gpt2-xl"),
        Entry(name="tinyllama", about="TinyLlama 1.1B chat", hub_id="TinyLlama/TinyLlama-1.1B-Chat-v1.0"),
        Entry(name="llama-3.2-1b", about="Llama 3.2 1B (gated)", hub_id="meta-llama/Llama-3.2-1B"),
        Entry(name="smollm2-135m", about="SmolLM2 135M instruct", hub_id="HuggingFaceTB/SmolLM2-135M-Instruct"),
        Entry(name="smollm2-360m", about="SmolLM2 360M instruct", hub_id="HuggingFaceTB/SmolLM2-360M-Instruct"),
    )
}


def lookup(name: str) -> Entry | None:
    """The catalogue entry of a name, upper and lower case alike; None where there is none."""
    return CATALOGUE.get(name.lower())
