"""`load_model` and `Model`: one prompt or many threads, text or ids, greedy or sampled."""

import os
import secrets
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict, TypeGuard, Unpack

import numpy as np

from llmos.api.adapters import Adapters, adapter_list
from llmos.api.embed import choose_embedding, embed_ids, ids_of_texts, texts_of
from llmos.api.generation import Generation
from llmos.api.limits import check_count
from llmos.api.model_defaults import left_undone
from llmos.api.notice import ModelNotice
from llmos.api.overflow import newest_ids, newest_messages
from llmos.api.prepare import Prepared, prepare
from llmos.api.prompts import (
    Messages,
    Prompt,
    messages_of,
    strange_roles,
    template_arguments,
    token_ids,
    without_tokenizer,
)
from llmos.api.sampling import SettingKeywords, Settings, settings_from, takes_settings
from llmos.api.threads import chosen_threads, told_of_threads
from llmos.core.errors import UserError
from llmos.core.names import takes_named
from llmos.runtime import Engine, NativeExecutor, Process, Request
from llmos.runtime.abi import PAGE_TOKENS
from llmos.runtime.drafting import Drafter, Speculation, drafter_of
from llmos.text import StopMatcher, Tokenizer, render_chat

__all__ = ["Model", "ModelNotice", "load_model"]


@takes_named
def load_model(
    name_or_path: str | os.PathLike[str],
    *,
    weights: str | None = None,
    context: int | None = None,
    batch: int | None = None,
    threads: int | None = None,
    kv: str | None = None,
    memory: str | None = None,
    adapter: Adapters = None,
    speculation: Speculation = "auto",
    progress: Callable[[str], None] | None = None,
) -> "Model":
    """Load a model, compiling it for this machine the first time.

    name_or_path: an embedded model (`llmos-mini`), a catalogue name (`gpt2`), a folder in the Hugging Face layout (plain, GPTQ, AWQ
    or compressed-tensors; with an adapter alone it leads to its base), a `.gguf` file or a folder with one, a `.llm` bundle, a
    llama2.c `.bin`, or `organisation/name[@revision][:TAG]` on the Hub. weights: float32, float16, bf16, int8, int4 or uint4; None keeps
    the checkpoint's precision, nothing is quantised unasked. context: positions to make room for. batch: sequences that have such
    room at the same time, None four or fewer where memory is short; those beyond wait. threads: at most one for each core
    that the process may keep busy, None as LLMOS_THREADS says, else so many. kv: format of keys and values, float32, float16, bf16
    or int8; None that of float32 and float16 weights, else bf16. memory: "fast" reads the weights into memory of this process, in huge pages; "mapped" leaves them in a file that processes
    share, which is slower and takes no memory that the system could not take back; "auto" is fast where that fits; None as
    LLMOS_MEMORY says, else auto. adapter: a folder (or Hub name) with a LoRA or DoRA adapter to merge into the model, or several in
    order. speculation: ids that the text itself foretells are computed ahead, which changes no byte: "auto" where that was measured
    to be faster, "off" never, a number (1 to 15) of them wherever anything is foretold. progress: called with one-line messages
    during long work.

    What a user should know (a stand-in for a name, a second rounding, settings left undone) is warned of as `ModelNotice`.
    Raises UserError for what cannot be used, FormatError for damaged files, ResourceError for too little memory or no compiler.
    """
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise UserError(f"a model is named by text or a path, not by {name_or_path!r}")
    check_count("context", context)
    check_count("batch", batch)
    check_count("threads", threads)
    drafter = drafter_of(speculation)
    used = chosen_threads(threads)
    prepared = prepare(
        os.fspath(name_or_path),
        weights=weights,
        kv=kv,
        context=context,
        batch=batch,
        threads=used,
        memory_mode=memory,
        adapters=adapter_list(adapter),
        progress=progress,
    )
    for told in (
        *prepared.notices,
        *told_of_threads(threads),
        *left_undone(prepared.info["name"], prepared.generation, prepared.tokenizer_unapplied),
    ):
        warnings.warn(told, ModelNotice, stacklevel=3)  # past `takes_named`
    return Model(prepared, threads=used, drafter=drafter)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """A generation that was checked and not begun: what to ask of the engine, stop strings, tokens dropped from the prompt."""

    request: Request
    stop: list[str]
    dropped_tokens: int


class _Read(TypedDict):
    """The part of a request that a prompt becomes."""

    ids: tuple[int, ...]
    source: NotRequired[tuple[int, ...]]


class Model:
    """A loaded model. Threads may call it at the same time: their sequences run in the same steps.

    A prompt is text, token ids (a list, or an array of one dimension), or a list of chat messages.
    """

    def __init__(self, prepared: Prepared, *, threads: int, drafter: Drafter | None = None):
        self._prepared, self._tokenizer = prepared, prepared.tokenizer
        self._format = prepared.prompt_format
        max_tokens, max_outputs = prepared.step_rows
        executor = NativeExecutor(
            prepared.program,
            threads=threads,
            n_pages=prepared.n_pages,
            max_tokens=max_tokens,
            max_outputs=max_outputs,
        )
        self._executor, self._engine = executor, Engine(executor, drafter=drafter)
        self._closed = False

    def __repr__(self) -> str:
        facts = self._prepared.info
        state = "closed" if self._closed else f"{self._executor.threads} thread{'s' * (self._executor.threads != 1)}"
        return f"<Model {self.name}: {facts['family']}, {facts['formats']['weights']}, context {facts['context']}, {state}>"

    @property
    def name(self) -> str:
        return self._prepared.info["name"]

    @property
    def has_chat_template(self) -> bool:
        return bool(self._format and self._format.chat_template)

    @takes_settings
    def generate_text(self, prompt: Prompt, **settings: Unpack[SettingKeywords]) -> str:
        """The continuation of a prompt, without the prompt.

        max_tokens: at most so many. min_tokens: the model may not end before so many. temperature: spread of the draw, 0 is
        greedy. top_p, top_k, min_p: what it is limited to. repetition_penalty divides the scores of tokens seen;
        presence_penalty and frequency_penalty are subtracted from those of tokens generated; logit_bias is added: {id: value}.
        seed: the same seed gives the same bytes, None draws a fresh one. stop: a text or texts to end before. overflow: for a
        prompt over the context, "error" or "drop_oldest". ignore_eos goes on past the model's own end. Where temperature,
        top_p, top_k, min_p, repetition_penalty and min_tokens are None, the model's generation_config decides, else 0.8, 0.95,
        0, 0, 1 and 0. logprobs, top_logprobs: see `generate`; priority (smaller runs first) and owner: see `processes`.
        For conversations, tools: JSON schemas or Python functions that the model may call; template_arguments: variables of its
        chat template, such as {"enable_thinking": False}, and documents, chat_template (a name), continue_final_message.

        Raises UserError for settings and prompts that cannot be used, and for a model that is closed.
        """
        generation = self.generate(prompt, **settings)
        _tell_dropped(generation.dropped_tokens)
        return generation.text

    @takes_settings
    def generate(self, prompt: Prompt, **settings: Unpack[SettingKeywords]) -> Generation:
        """As `generate_text`, with everything about the generation: ids, finish reason, seed, log-probabilities, timings."""
        generation = self.start(prompt, **settings)
        try:
            for _ in generation:
                pass
        finally:
            generation.cancel()
        return generation

    @takes_settings
    def stream_text(self, prompt: Prompt, **settings: Unpack[SettingKeywords]) -> Iterator[str]:
        """The continuation piece by piece. Closing the iterator cancels the generation. Settings as for `generate_text`."""
        plan = self._plan(prompt, settings)  # what is wrong is said by the call, not by the first piece
        _tell_dropped(plan.dropped_tokens)

        def pieces() -> Iterator[str]:
            generation = self._begin(plan)
            try:
                yield from generation
                if self._closed and generation.finish_reason == "cancelled":
                    raise UserError(f"the model {self.name} was closed while it was speaking")
            finally:
                generation.cancel()

        return pieces()

    @takes_settings
    def start(self, prompt: Prompt, **settings: Unpack[SettingKeywords]) -> Generation:
        """A generation that is iterated for its text. One that is left early goes on with the next step, unless it is cancelled."""
        return self._begin(self._plan(prompt, settings))

    @takes_settings
    def generate_tokens(self, prompt: Prompt, **settings: Unpack[SettingKeywords]) -> list[int]:
        """The ids of the continuation; for models without a tokenizer too. `stop` needs text and is refused."""
        if settings.get("stop"):
            raise UserError("stop strings belong to text: use generate_text, or stop at ids by yourself")
        plan = self._plan(prompt, settings)
        _tell_dropped(plan.dropped_tokens)
        sequence = self._engine.submit(plan.request)
        try:
            self._engine.wait(sequence)
        finally:
            self._engine.cancel(sequence)
        return sequence.generated

    @takes_settings
    def chat(self, messages: str | Messages, **settings: Unpack[SettingKeywords]) -> str:
        """The assistant's answer to a conversation: messages with role and content, rendered by the model's template.

        What it writes to call one of `tools` is given as it is: how a call looks is the model's own.
        A text is taken as the one message of a user. Settings as for `generate_text`.
        """
        generation = self.generate(messages_of(messages), **settings)
        _tell_dropped(generation.dropped_tokens)
        return generation.text

    def score(self, prompt: Prompt, *, source: Prompt | None = None) -> list[float | None]:
        """Log-probability (natural) of each token given those before it; None for the first.

        source: for a model with an encoder, what it reads; the prompt then is the answer, and its first token has a score too.
        Raises UserError where a model with an encoder gets no source, or one without gets one.
        """
        self._check_speaks()
        ids = self._ids(prompt)
        self._check_fits(ids, can_be_cut=False)
        read: _Read = {"ids": tuple(ids)}
        start = self._prepared.spec.start_id
        if (source is None) != (start is None):
            wanted = "has an encoder: give the source too, score(answer, source=...)"
            raise UserError(f"{self.name} {wanted if source is None else 'has no encoder, which would read a source'}")
        if source is not None and start is not None:
            read = {"ids": (start, *ids), "source": tuple(self._ids(source))}
        sequence = self._engine.submit(Request(**read, score=True))
        try:
            self._engine.wait(sequence)
        finally:
            self._engine.cancel(sequence)
        return sequence.scores if source is None else sequence.scores[1:]

    @takes_named
    def embed(
        self,
        texts: str | Iterable[str],
        *,
        pooling: str | None = None,
        normalize: bool | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        max_tokens: int | None = None,
        truncate: Literal["error", "end"] = "error",
    ) -> np.ndarray:
        """The embedding of a text (D,), or of each of a list (N, D): float32 vectors that lie near where texts mean the same.

        What is None is as the model's own files say (those of sentence-transformers). pooling: "mean" of all tokens, "cls" (the
        first) or "last"; without a word of the model, an encoder's mean and a decoder's last. normalize: to length 1; without
        a word of the model, yes. prompt: put before each text, "" for none; prompt_name: one of the model's own. max_tokens:
        of a text with its marks. truncate: what becomes of a longer one, "error" or "end", which leaves out its end and warns.

        Raises UserError for settings and texts that cannot be used, and for a model that is closed.
        """
        self._check_open()
        check_count("max_tokens", max_tokens)
        spec, stated = self._prepared.spec, self._prepared.embedding
        how = choose_embedding(
            spec,
            stated,
            self._executor.context,
            pooling=pooling,
            normalize=normalize,
            prompt=prompt,
            prompt_name=prompt_name,
            max_tokens=max_tokens,
            truncate=truncate,
        )
        ids, cut = ids_of_texts(self._need_tokenizer(), texts_of(texts), how)
        if cut:
            _tell_cut(cut, how.most)
        vectors = embed_ids(self._engine, ids, how, spec.width)
        return vectors[0] if isinstance(texts, str) else vectors

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """Ids of a text. special: with the beginning-of-text token where the model wants one."""
        if not isinstance(text, str):
            raise UserError(f"tokenize takes text, not {type(text).__name__}")
        return self._need_tokenizer().encode(text, special=special)

    def detokenize(self, ids: Sequence[int]) -> str:
        """The text of ids: a list, or an array of one dimension."""
        return self._need_tokenizer().decode(token_ids(ids, self._prepared.spec.vocab))

    def info(self) -> dict[str, Any]:
        """Facts: name, family, sizes, formats, hashes, memory, threads, drafted and accepted ids."""
        pool = {"n_pages": self._executor.n_pages, "page_tokens": PAGE_TOKENS, "page_bytes": self._executor.page_bytes}
        drafter = self._engine.drafter
        told = drafter.describe() if drafter is not None else {"setting": "off"}
        return self._prepared.info | {"threads": self._executor.threads, "kv_pool": pool, "speculation": told}

    def processes(self) -> list[Process]:
        """The generations that are running or waiting."""
        return self._engine.processes()

    def close(self) -> None:
        """Give memory and threads back. The model cannot generate afterwards; closing it again does nothing."""
        self._closed = True
        self._engine.close()

    def __enter__(self) -> "Model":
        self._check_open()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _begin(self, plan: "_Plan") -> Generation:
        tokenizer, stops = self._need_tokenizer(), StopMatcher(plan.stop)
        return Generation(self._engine, plan.request, tokenizer, stops, plan.dropped_tokens)

    def _plan(self, prompt: Prompt, given: SettingKeywords) -> "_Plan":
        self._check_speaks()
        chosen = settings_from(given, self._prepared.generation, self._prepared.spec.vocab)
        StopMatcher(chosen.stop)  # refuses impossible stop strings
        ids, dropped = self._prompt_ids(prompt, chosen)
        if not ids:
            raise UserError("the prompt is empty and the model has no beginning-of-text token: give at least one token")
        request = Request(
            **self._read_and_begun(ids),
            max_tokens=chosen.max_tokens,
            min_tokens=chosen.min_tokens,
            sampling=chosen.sampling(secrets.randbits(63) if chosen.seed is None else chosen.seed),
            stop_ids=self._format.stop_ids if self._format and not chosen.ignore_eos else (),
            n_top=chosen.top_logprobs,
            logprobs=chosen.logprobs,
            priority=chosen.priority,
            owner=chosen.owner,
        )
        return _Plan(request=request, stop=chosen.stop, dropped_tokens=dropped)

    def _read_and_begun(self, ids: list[int]) -> "_Read":
        """A prompt as a request takes it: what the encoder reads, where there is one, and what the continuation begins with."""
        start = self._prepared.spec.start_id
        return _Read(ids=tuple(ids)) if start is None else _Read(source=tuple(ids), ids=(start,))

    def _check_open(self) -> None:
        if self._closed:
            raise UserError(f"the model {self.name} is closed: load it again")

    def _check_speaks(self) -> None:
        self._check_open()
        if not self._prepared.spec.head:
            raise UserError(f"{self.name} is an encoder, which says nothing: use embed, it turns texts into vectors")

    def _need_tokenizer(self) -> Tokenizer:
        if self._tokenizer is None:
            raise UserError(without_tokenizer(self._prepared.info))
        return self._tokenizer

    def _ids(self, prompt: Prompt, chosen: Settings | None = None) -> list[int]:
        """Ids of a prompt. chosen: what a conversation's template is given besides, and nothing else can use."""
        if _is_conversation(prompt):
            arguments = template_arguments(chosen) if chosen is not None else {}
            text = render_chat(self._format, messages_of(prompt), **arguments) if self._format else ""
            return self._need_tokenizer().encode(text, special=False)
        if chosen is not None and (chosen.tools is not None or chosen.template_arguments):
            raise UserError(
                "tools and template_arguments belong to conversations: give a list of messages, or use chat"
            )
        if isinstance(prompt, str):
            return self._need_tokenizer().encode(prompt)
        return token_ids(prompt, self._prepared.spec.vocab)

    def _prompt_ids(self, prompt: Prompt, chosen: Settings) -> tuple[list[int], int]:
        """Ids, and how many were dropped by the policy that the caller named."""
        ids, context = self._ids(prompt, chosen), self._executor.context
        if _is_conversation(prompt) and self._format:
            _tell_roles(strange_roles(prompt, self._format.chat_template))
        if chosen.overflow == "error":
            self._check_fits(ids, can_be_cut=not _is_conversation(prompt) or len(prompt) > 1)
            return ids, 0
        answer = max(1, min(chosen.max_tokens, context // 2))  # the room that stays free for it
        if _is_conversation(prompt):
            kept = newest_messages(
                messages_of(prompt), lambda messages: self._ids(messages, chosen), context - answer, context
            )
        else:
            kept = newest_ids(ids, context - answer, self._format.bos_id if self._format else None)
        return kept, len(ids) - len(kept)

    def _check_fits(self, ids: list[int], *, can_be_cut: bool) -> None:
        context = self._executor.context
        if len(ids) > context:
            way = ", or pass overflow='drop_oldest' to leave out its beginning" if can_be_cut else ""
            raise UserError(f"the prompt has {len(ids)} tokens, the context holds {context}: shorten it{way}")


def _is_conversation(prompt: Prompt) -> TypeGuard[Messages]:
    return isinstance(prompt, Sequence) and bool(prompt) and isinstance(prompt[0], Mapping)


def _tell_dropped(n: int) -> None:
    """Warn the caller of a method whose result has no place for it."""
    if n:
        warnings.warn(f"{n} tokens of the prompt were left out, its oldest", ModelNotice, stacklevel=3)


def _tell_roles(roles: list[str]) -> None:
    """Warn of messages that the model was hardly trained to read."""
    if roles:
        names = ", ".join(map(repr, roles))
        usual = "system, user, assistant, tool and developer are usual, and its chat template names no other"
        warnings.warn(
            f"the conversation has the role {names}: {usual}", ModelNotice, stacklevel=7
        )  # as deep as `chat` is


def _tell_cut(lengths: list[int], most: int) -> None:
    """Warn the caller of `embed`."""
    n = len(lengths)
    what = f"{n} texts were" if n > 1 else "a text was"
    longest = f"the longest had {max(lengths)}" if n > 1 else f"it had {lengths[0]}"
    warnings.warn(f"{what} cut to {most} tokens: {longest}", ModelNotice, stacklevel=4)  # past `takes_named`
