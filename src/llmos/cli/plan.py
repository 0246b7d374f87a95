"""`llmos plan MODEL`: memory and speed of a verb before it is done."""

from typing import Any

import click

from llmos.cli.formats import memory_option, model_options
from llmos.cli.loading import told_notices
from llmos.cli.names import complete_model
from llmos.cli.terminal import Progress, counted, write_json
from llmos.cli.wording import in_flags
from llmos.core.units import format_bytes, parse_bytes

__all__ = ["command"]

_REFUSED = 3  # as where too little memory stops a verb


@click.command("plan")
@click.argument("model", shell_complete=complete_model)
@click.option(
    "--verb",
    type=click.Choice(["run", "serve", "compile", "train"]),
    default="run",
    help="What to plan; serve: run for so long that all memory for keys and values comes into use [run].",
)
@click.option(
    "--context",
    type=click.IntRange(1),
    metavar="N",
    help="Tokens of a sequence, prompt and answer together [the model's own context, at most 8192].",
)
@click.option("--batch", type=click.IntRange(1), default=1, metavar="N", help="Sequences at the same time [1].")
@model_options
@memory_option
@click.option(
    "--threads", type=click.IntRange(1), metavar="N", help="Threads to use [LLMOS_THREADS, else every usable core]."
)
@click.option(
    "--prompt", type=click.IntRange(1), metavar="N", help="Tokens of each prompt [half of the context, at most 512]."
)
@click.option("--free", metavar="SIZE", help="Plan for so much free memory, such as 4GiB [what is free now].")
@click.option("--quick", is_flag=True, help="Tell no speed, for which this machine is measured for a few seconds.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
def command(model: str, free: str | None, quick: bool, as_json: bool, **settings: Any) -> None:
    """Tell what a verb would take with a model: memory and speed, what fits, and what bounds it.

    Nothing is compiled for the model, loaded or written. Exits with 3 where it does not fit.
    """
    from llmos.api import plan_model

    with told_notices(), Progress() as progress:
        plan = plan_model(
            model,
            free_bytes=None if free is None else parse_bytes(free),
            measure=not quick,
            progress=progress,
            **settings,
        )
    if as_json:
        write_json(plan.to_dict())
    else:
        for line in _lines(plan, quick):
            click.echo(line)
    if not plan.fits:
        raise click.exceptions.Exit(_REFUSED)


def _lines(plan: Any, quick: bool) -> list[str]:
    """The plan for reading."""
    from llmos.api.demand import MOST_SEQUENCES

    lines = [f"{plan.verb} {plan.model}: {_size(plan)}", _numbers(plan), "", f"peak memory, {plan.peak_phase}"]
    lines += [f"  {name:<24}{format_bytes(size):>10}" for name, size in plan.memory.items() if size]
    lines.append(f"  {'in all':<24}{format_bytes(plan.peak_bytes):>10}")
    must = "must be free" + ("" if plan.needed_phase == plan.peak_phase else f", {plan.needed_phase}")
    lines.append(
        f"  {must:<24}{format_bytes(plan.needed_bytes):>10}, {format_bytes(plan.free_bytes)} is free: "
        f"{'it fits' if plan.fits else 'it does not fit'}"
    )
    if plan.largest_context is not None:
        more = " or more" if plan.largest_batch == MOST_SEQUENCES else ""
        lines.append(f"  {'largest context':<24}{plan.largest_context:>10,} tokens with batch {plan.batch}")
        lines.append(f"  {'largest batch':<24}{plan.largest_batch:>10,}{more} sequences of {plan.context} tokens")
    lines += [""] + (_speed(plan) if plan.prefill_tokens_per_s is not None else [_no_speed(plan.verb, quick)])
    if not plan.fits:
        advice = in_flags(", or ".join(plan.advice).replace(" and ", " "))
        lines += ["", f"to make it fit: {advice or 'free some memory, or choose a smaller model'}"]
    return lines


def _size(plan: Any) -> str:
    """How much work it is: a bundle has neither a context nor a batch of its own."""
    threads = counted(plan.threads, "thread")
    if plan.verb == "compile":
        return threads
    step = " a step" if plan.verb == "train" else ""
    return f"{counted(plan.batch, 'sequence')} of {plan.context} tokens{step}, {threads}"


def _numbers(plan: Any) -> str:
    if plan.verb == "train":
        return "parameters float32, products bf16"
    mapped = ", mapped from a file" if plan.memory_mode == "mapped" else ""
    return f"weights {plan.weights}{mapped}, keys and values {plan.kv}"


def _no_speed(verb: str, quick: bool) -> str:
    """Why none is told."""
    if verb in ("compile", "train"):
        return f"no speed: that of {verb} is not planned"
    return "no speed: --quick" if quick else "no speed: that of models with an encoder and a decoder is not planned yet"


def _speed(plan: Any) -> list[str]:
    roofs = plan.roofs
    rows = {
        f"prompts of {plan.prompt} tokens": (plan.prefill_tokens_per_s, plan.prefill_bound),
        "decoding": (plan.decode_tokens_per_s, plan.decode_bound),
    }
    lines = [
        f"  {name:<24}{speed:>10,.{1 if speed < 100 else 0}f} tokens/s, bound by {_BOUNDS[bound]}"
        for name, (speed, bound) in rows.items()
        if speed is not None
    ]
    peaks = ", ".join(f"{format} {roofs.peak(format) / 1e9:.0f}" for format in ("float32", "bf16", "int8"))
    memory = f"  {'memory at this moment':<24}{roofs.read_bytes_per_s / 1e9:>10.1f} GB/s"
    return ["speed, all sequences together", *lines, memory, f"  {'arithmetic':<24}      GOP/s: {peaks}"]


_BOUNDS = {
    "memory": "the bandwidth of memory",
    "compute": "arithmetic",
    "waiting": "waiting: for threads, caches and Python",
}
