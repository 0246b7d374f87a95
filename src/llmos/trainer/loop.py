"""The training loop: one process, one device. State is (parameters, optimiser, step); all else is a function of the step."""

import math
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmos.core.errors import LlmosError, UserError
from llmos.models import Spec, check_trainable, spec_from_config
from llmos.trainer.checkpoint import Saved, load_newest, save_checkpoint
from llmos.trainer.documents import documents, limited
from llmos.trainer.evaluate import bits_per_byte
from llmos.trainer.export import export_model
from llmos.trainer.flops import flops_per_token, peak_flops
from llmos.trainer.module import initial_parameters, logits, mean_loss
from llmos.trainer.optimizer import clip, make_optimizers, optimizer_state, restore_optimizer, set_rate
from llmos.trainer.progress import Reporter
from llmos.trainer.recipe import Recipe, Source
from llmos.trainer.sampling import Sampler
from llmos.trainer.schedule import rate
from llmos.trainer.shards import open_shard, prepare_shard
from llmos.trainer.tokenizer import open_tokenizer, prepare_tokenizer

__all__ = ["Result", "run"]

_REPORT_EVERY_STEPS = 10


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run leaves: the model folder, steps done, mean loss of the last step, bits per byte by held-out source."""

    model: Path
    steps: int
    loss: float | None
    bits_per_byte: dict[str, float]


def run(recipe: Recipe, *, progress: bool = False) -> Result:
    """Trains `recipe` to its last step and writes the model. Raises KeyboardInterrupt after saving when asked to stop."""
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    spec = model_spec(recipe)
    check_sizes(recipe, spec)
    tokenizer = prepare_tokenizer(recipe, spec.context)
    check_vocabulary(tokenizer, spec)
    sampler = make_sampler(recipe, tokenizer)
    trainer = Trainer(recipe, spec, sampler)
    with Reporter(recipe.folder / "log.jsonl", recipe.schedule.steps, progress) as reporter:
        trainer.train(reporter, tokenizer)
        quality = trainer.evaluate(tokenizer, None)
        model = export_model(recipe, spec, trainer.w, tokenizer)
        reporter.event("done", step=trainer.step, bits_per_byte=quality)
    return Result(model=model, steps=trainer.step, loss=trainer.loss, bits_per_byte=quality)


class Trainer:
    """The state of a run and its one step."""

    def __init__(self, recipe: Recipe, spec: Spec, sampler: Sampler):
        self.recipe, self.spec, self.sampler = recipe, spec, sampler
        self.w = initial_parameters(spec, recipe.data.seed)
        self.optimizers = make_optimizers(self.w, recipe.optimizer)
        self.step = 0
        self.loss: float | None = None
        self.saved_step: int | None = None
        self.compiled = wants_compile(recipe)
        self.loss_function = torch.compile(self._loss, dynamic=False) if self.compiled else self._loss

    def train(self, reporter: Reporter, tokenizer: Path) -> None:
        self.resume()
        if self.step > self.recipe.schedule.steps:
            wanted = self.recipe.schedule.steps
            reporter.event(
                "notice", f"{self.step} steps are done already, more than schedule.steps = {wanted}: none is added"
            )
        peak = self.announce(reporter)
        started_s, started_step = time.perf_counter(), self.step
        with stop_requests() as stopped:
            while self.step < self.recipe.schedule.steps:
                norm = self.advance()
                if self.step % _REPORT_EVERY_STEPS == 0 or self.step == self.recipe.schedule.steps:
                    speed = (self.step - started_step) * self.recipe.batch.tokens / (time.perf_counter() - started_s)
                    self.report(reporter, norm, speed, peak)
                    started_s, started_step = time.perf_counter(), self.step
                if self.step % self.recipe.checkpoints.every_steps == 0:
                    self.save()
                if self.step % self.recipe.evaluation.every_steps == 0 and self.recipe.data.heldout:
                    quality = self.evaluate(tokenizer, self.recipe.evaluation.max_bytes)
                    reporter.event(
                        "evaluation",
                        f"step {self.step}: bits per byte {quality}",
                        step=self.step,
                        bits_per_byte=quality,
                    )
                if stopped():
                    self.save()
                    raise KeyboardInterrupt
        self.save()

    def advance(self) -> float:
        """One optimiser step. Returns the norm of the gradients before clipping."""
        batch = self.recipe.batch
        total = 0.0
        for part in range(batch.accumulate):
            window = torch.from_numpy(self.sampler.batch(self.step, part, batch.sequences, batch.accumulate))
            loss = self.loss_function(self.w, window) / batch.accumulate
            loss.backward()
            total += float(loss.detach())
        norm = clip(self.w, self.recipe.optimizer.clip)
        if not (math.isfinite(total) and math.isfinite(norm)):
            raise LlmosError(
                f"step {self.step + 1}: the loss is {total} and the gradient norm {norm}; nothing was saved after step "
                f"{self.saved_step or 0}: lower optimizer.lr or lengthen schedule.warmup_steps, then start again to go on from there"
            )
        set_rate(self.optimizers, rate(self.recipe.schedule, self.step))
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step, self.loss = self.step + 1, total
        return norm

    def save(self) -> None:
        if self.saved_step != self.step:
            saved = Saved(step=self.step, parameters=self.w, optimizer=optimizer_state(self.w, self.optimizers))
            save_checkpoint(
                self.recipe.folder / "checkpoints", saved, self.recipe.identity(), self.recipe.checkpoints.keep
            )
            self.saved_step = self.step

    def resume(self) -> None:
        saved = load_newest(self.recipe.folder / "checkpoints", self.recipe.identity())
        if saved is None:
            return
        with torch.no_grad():
            for name, value in saved.parameters.items():
                self.w[name].copy_(value)
        restore_optimizer(self.w, self.optimizers, saved.optimizer)
        self.step = self.saved_step = saved.step

    def evaluate(self, tokenizer: Path, max_bytes: int | None) -> dict[str, float]:
        """Bits per byte of each held-out source, of its first `max_bytes` or of all of it."""
        e = self.recipe.evaluation
        out = {}
        for source in self.recipe.data.heldout:
            tokens, n_bytes = heldout_tokens(source, self.recipe.folder, tokenizer, max_bytes)
            out[source.name] = round(bits_per_byte(self._score, tokens, n_bytes, self.recipe.window, e.stride), 4)
        return out

    def announce(self, reporter: Reporter) -> float:
        """Says how this run computes. Returns the machine's measured peak in operations per second."""
        peaks = {name: peak_flops(dtype) for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16))}
        how = (
            "compiled"
            if self.compiled
            else "eager: torch.compile found no C++ compiler (g++), or the recipe forbids it"
        )
        message = (
            f"step {self.step} of {self.recipe.schedule.steps}, {self.recipe.precision}, {how}; peaks "
            + ", ".join(f"{name} {peak / 1e9:.0f} GFLOP/s" for name, peak in peaks.items())
        )
        reporter.event(
            "start", message, step=self.step, compiled=self.compiled, precision=self.recipe.precision, peak_flops=peaks
        )
        return max(peaks.values())

    def report(self, reporter: Reporter, norm: float, speed: float, peak: float) -> None:
        assert self.loss is not None, "a report follows a step"
        utilisation = speed * flops_per_token(self.spec, self.recipe.batch.length) / peak
        values: dict[str, Any] = {
            "step": self.step,
            "loss": round(self.loss, 4),
            "norm": round(norm, 3),
            "tokens_per_s": round(speed),
        }
        share = rate(self.recipe.schedule, self.step - 1)
        reporter.event(
            "step", **values, utilisation=round(utilisation, 3), rate=round(share, 4), time=round(time.time())
        )
        reporter.step(self.step, f"loss {self.loss:.3f}  {speed:,.0f} tokens/s  {utilisation:.0%} of peak")

    def _loss(self, w: dict[str, Tensor], window_BT1: Tensor) -> Tensor:
        return self._autocast(lambda: mean_loss(self.spec, w, window_BT1))

    def _score(self, tokens_BT: Tensor) -> Tensor:
        return self._autocast(lambda: logits(self.spec, self.w, tokens_BT))

    def _autocast(self, compute: Callable[[], Tensor]) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            return compute()


def model_spec(recipe: Recipe) -> Spec:
    """The spec of the recipe's model. Raises UserError for what its table lacks or has too much."""
    try:
        spec = spec_from_config(recipe.config)
        check_trainable(spec)
    except UserError as error:
        raise UserError(f"the table [model] of the recipe: {error}") from error
    return spec


def check_sizes(recipe: Recipe, spec: Spec) -> None:
    """Raises UserError where sequences are longer than the model's context."""
    for name, length in (("batch.length", recipe.batch.length), ("evaluation.length", recipe.window)):
        if length > spec.context:
            raise UserError(f"{name} is {length}; the model's context is {spec.context}: lower it or raise the context")


def check_vocabulary(tokenizer: Path, spec: Spec) -> None:
    """Raises UserError where the tokenizer has ids that the model has no row for."""
    n_tokens = open_tokenizer(tokenizer).get_vocab_size()
    if n_tokens > spec.vocab:
        raise UserError(
            f"the tokenizer has {n_tokens} tokens, the model a vocabulary of {spec.vocab}: raise vocab_size"
        )


def make_sampler(recipe: Recipe, tokenizer: Path) -> Sampler:
    """The data order of the recipe, after encoding what is not encoded yet."""
    folder = recipe.folder / "shards"
    shards = [open_shard(prepare_shard(source, tokenizer, folder)) for source in recipe.data.sources]
    try:
        return Sampler(shards, [s.weight for s in recipe.data.sources], recipe.batch.length, recipe.data.seed)
    except ValueError as error:
        raise UserError(f"data.sources: {error}; lower batch.length or give more text") from error


def heldout_tokens(source: Source, folder: Path, tokenizer: Path, max_bytes: int | None):
    """(tokens, their UTF-8 bytes) of a held-out source, of its first `max_bytes` or of all of it."""
    encoder = open_tokenizer(tokenizer)
    texts = list(documents(source) if max_bytes is None else limited(documents(source), max_bytes))
    ids = [i for encoding in encoder.encode_batch_fast(texts) for i in encoding.ids]
    return torch.tensor(ids).numpy(), sum(len(text.encode()) for text in texts)


def wants_compile(recipe: Recipe) -> bool:
    """Whether to compile. Raises UserError where the recipe insists and there is no compiler."""
    found = any(shutil.which(name) for name in ("g++", "c++", "clang++"))
    if recipe.compile == "yes" and not found:
        raise UserError('compile = "yes" needs a C++ compiler and none was found: install g++, or set compile = "auto"')
    return found and recipe.compile != "no"


@contextmanager
def stop_requests():
    """Gives a function that says whether ctrl-C or SIGTERM came; in other threads than the main one it never does."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.signal(number, lambda *_: asked.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
