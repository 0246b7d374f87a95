"""`load_model` and `Model`: one prompt or many threads, text or ids, greedy or sampled."""

import secrets
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from llmos.api.generation import Generation
from llmos.api.prepare import Prepared, prepare
from llmos.api.sampling import Settings, settings_from
from llmos.core.env import environment
from llmos.core.errors import ResourceError, UserError
from llmos.core.units import format_bytes
from llmos.hardware import memory, usable_cores
from llmos.runtime import Engine, NativeExecutor, Process, Request
from llmos.runtime.abi import PAGE_TOKENS, load_library
from llmos.text import StopMatcher, render_chat

__all__ = ["Model", "ModelNotice", "load_model"]

Prompt = str | Sequence[int] | Sequence[Mapping[str, Any]]

_SEQUENCES = 4  # how many full contexts the KV pool holds by default


class ModelNotice(UserWarning):
    """What a user should know about the model that was loaded, for instance that it is not the one that was named."""


def load_model(
    name_or_path: str,
    *,
    weights: str | None = None,
    context: int | None = None,
    threads: int | None = None,
    kv: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> "Model":
    """Load a model, compiling it for this machine the first time.

    name_or_path: an embedded model (`llmos-mini`), a catalogue name (`gpt2`), a Hugging Face folder, a `.llm` bundle, a
    llama2.c `.bin`, or `organisation/name[@revision]` on the Hub. weights: float32, bf16 or int8; None keeps the checkpoint's
    precision, nothing is quantised unasked. context: positions to make room for. threads: None uses every core that the
    process may use. kv: format of keys and values. progress: called with one-line messages during long work.

    Raises UserError for what cannot be used, FormatError for damaged files, ResourceError for too little memory or no compiler.
    """
    prepared = prepare(str(name_or_path), weights=weights, kv=kv, context=context, progress=progress)
    if prepared.notice:
        warnings.warn(prepared.notice, ModelNotice, stacklevel=2)
    if threads is not None and threads < 1:
        raise UserError(f"threads is {threads}; it must be at least 1")
    return Model(prepared, threads=threads or environment().threads or usable_cores())


class Model:
    """A loaded model. Threads may call it at the same time: their sequences run in the same steps."""

    def __init__(self, prepared: Prepared, *, threads: int):
        self._prepared, self._tokenizer = prepared, prepared.tokenizer
        self._format = prepared.prompt_format
        n_pages = _pages(prepared)
        executor = NativeExecutor(prepared.program, threads=threads, n_pages=n_pages)
        self._executor, self._engine = executor, Engine(executor)

    @property
    def name(self) -> str:
        return self._prepared.info["name"]

    @property
    def has_chat_template(self) -> bool:
        return bool(self._format and self._format.chat_template)

    def generate_text(self, prompt: Prompt, **settings: Any) -> str:
        """The continuation of a prompt, without the prompt.

        prompt: text, or a list of token ids. Keyword settings: max_tokens=128, temperature (0 is greedy), top_p, top_k, min_p,
        repetition_penalty, presence_penalty, frequency_penalty, logit_bias={id: value}, seed=None (fresh), stop (text or
        list of texts), overflow="error" or "drop_oldest" for prompts over the context. Raises UserError for settings and
        prompts that cannot be used.
        """
        return self.generate(prompt, **settings).text

    def generate(self, prompt: Prompt, **settings: Any) -> Generation:
        """As `generate_text`, with everything about the generation: ids, finish reason, seed, log-probabilities, timings."""
        generation = self.start(prompt, **settings)
        for _ in generation:
            pass
        return generation

    def stream_text(self, prompt: Prompt, **settings: Any) -> Iterator[str]:
        """The continuation piece by piece. Closing the iterator cancels the generation."""
        generation = self.start(prompt, **settings)
        try:
            yield from generation
        finally:
            generation.cancel()

    def start(self, prompt: Prompt, **settings: Any) -> Generation:
        """A generation that is iterated for its text. prompt may also be a list of chat messages."""
        chosen = settings_from(settings, self._prepared.generation, self._prepared.spec.vocab)
        ids, dropped = self._prompt_ids(prompt, chosen)
        return Generation(
            self._engine, self._request(ids, chosen), self._need_tokenizer(), StopMatcher(chosen.stop), dropped
        )

    def generate_tokens(self, prompt: Prompt, **settings: Any) -> list[int]:
        """The ids of the continuation; for models without a tokenizer too. `stop` needs text and is refused."""
        chosen = settings_from(settings, self._prepared.generation, self._prepared.spec.vocab)
        if chosen.stop:
            raise UserError("stop strings belong to text: use generate_text, or stop at ids by yourself")
        ids, _ = self._prompt_ids(prompt, chosen)
        sequence = self._engine.submit(self._request(ids, chosen))
        try:
            self._engine.wait(sequence)
        finally:
            self._engine.cancel(sequence)
        return sequence.generated

    def chat(self, messages: Sequence[Mapping[str, Any]], **settings: Any) -> str:
        """The assistant's answer to a conversation: messages with role and content, rendered by the model's template."""
        return self.generate(messages, **settings).text

    def score(self, prompt: str | Sequence[int]) -> list[float | None]:
        """Log-probability (natural) of each token given those before it; None for the first."""
        ids = self._ids(prompt)
        self._check_fits(ids)
        sequence = self._engine.submit(Request(ids=tuple(ids), score=True))
        try:
            self._engine.wait(sequence)
        finally:
            self._engine.cancel(sequence)
        return sequence.scores

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """Ids of a text. special: with the beginning-of-text token where the model wants one."""
        return self._need_tokenizer().encode(text, special=special)

    def detokenize(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        return self._need_tokenizer().decode(ids)

    def info(self) -> dict[str, Any]:
        """Facts: name, family, sizes, formats, hashes, memory, threads."""
        pool = {"n_pages": self._executor.n_pages, "page_tokens": PAGE_TOKENS, "page_bytes": self._executor.page_bytes}
        return self._prepared.info | {"threads": self._executor.threads, "kv_pool": pool}

    def processes(self) -> list[Process]:
        """The generations that are running or waiting."""
        return self._engine.processes()

    def close(self) -> None:
        """Give memory and threads back. The model cannot be used afterwards."""
        self._engine.close()

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _request(self, ids: list[int], chosen: Settings) -> Request:
        return Request(
            ids=tuple(ids),
            max_tokens=chosen.max_tokens,
            sampling=chosen.sampling(secrets.randbits(63) if chosen.seed is None else chosen.seed),
            stop_ids=self._format.stop_ids if self._format and not chosen.ignore_eos else (),
            n_top=chosen.top_logprobs,
            logprobs=chosen.logprobs,
            priority=chosen.priority,
            owner=chosen.owner,
        )

    def _need_tokenizer(self):
        if self._tokenizer is None:
            raise UserError("this model came without a tokenizer: give prompts as ids to generate_tokens")
        return self._tokenizer

    def _ids(self, prompt: Prompt) -> list[int]:
        if isinstance(prompt, str):
            return self._need_tokenizer().encode(prompt)
        prompt = list(prompt)
        if prompt and isinstance(prompt[0], Mapping):
            text = render_chat(self._format, prompt) if self._format else ""
            return self._need_tokenizer().encode(text, special=False)
        if not all(isinstance(id, int) and not isinstance(id, bool) for id in prompt):
            raise UserError("a prompt is text, a list of token ids, or a list of chat messages")
        return prompt

    def _prompt_ids(self, prompt: Prompt, chosen: Settings) -> tuple[list[int], int]:
        """Ids, and how many were dropped by the policy that the caller named."""
        ids = self._ids(prompt)
        room = self._executor.context - 1
        if len(ids) <= room or chosen.overflow == "error":
            self._check_fits(ids)
            return ids, 0
        keep_bos = bool(ids) and self._format is not None and ids[0] == self._format.bos_id
        kept = ([ids[0]] if keep_bos else []) + ids[len(ids) - room + keep_bos :]
        return kept, len(ids) - len(kept)

    def _check_fits(self, ids: list[int]) -> None:
        context = self._executor.context
        if len(ids) > context:
            raise UserError(
                f"the prompt has {len(ids)} tokens, the context holds {context}: shorten it, or pass overflow='drop_oldest' to leave out its beginning"
            )


def _pages(prepared: Prepared) -> int:
    """Size of the KV pool: four contexts, or what a quarter of the free memory holds, but at least one context."""
    program = prepared.program
    page_bytes = load_library(str(program.library)).llmos_page_bytes()
    one = -(-program.context // PAGE_TOKENS)
    free = memory().available
    if program.weights_bytes + one * page_bytes > free:
        fits = max(0, int(free - program.weights_bytes) // page_bytes * PAGE_TOKENS)
        raise ResourceError(
            f"{prepared.info['name']} needs {format_bytes(program.weights_bytes)} for weights and {format_bytes(one * page_bytes)} for a context "
            f"of {program.context} tokens; {format_bytes(free)} is free: "
            + (
                f"lower context to {fits}"
                if fits
                else "choose a smaller weight format (weights='int8') or a smaller model"
            )
        )
    return max(one, min(_SEQUENCES * one, int(free // 4 // page_bytes)))
