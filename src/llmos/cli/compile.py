"""`llmos compile MODEL -o X.llm`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmos.cli.formats import model_options
from llmos.cli.loading import told_notices
from llmos.cli.names import complete_model
from llmos.cli.terminal import Progress, write_json
from llmos.core.units import format_bytes

if TYPE_CHECKING:
    from llmos.api.explain import Explanation

__all__ = ["command"]


def _complete_target(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from llmos.compiler import TARGETS
    from llmos.hardware import architecture

    here = (target.name for target in TARGETS.values() if target.architecture == architecture())
    return [name for name in here if name.startswith(incomplete)]


@click.command("compile")
@click.argument("model", shell_complete=complete_model)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The .llm file to write [required].",
)
@model_options
@click.option(
    "--target",
    help="Instruction set to compile for [LLMOS_TARGET, else the best of this machine].",
    shell_complete=_complete_target,
)
@click.option(
    "--explain",
    is_flag=True,
    help="Show every operation's bytes, arithmetic, predicted and measured time, and write a page with pictures of them.",
)
@click.option(
    "--verify/--no-verify",
    "verified",
    default=True,
    help="Compare the result with the checkpoint in float32 before it is written [on].",
)
@click.option(
    "--max-kl",
    type=click.FloatRange(min=0, min_open=True),
    help="Mean divergence from the checkpoint that is allowed, in nats [the format's limit].",
)
@click.option(
    "--explain-html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where --explain writes its page [beside the output, as NAME.explain.html].",
)
@click.option("--json", "as_json", is_flag=True, help="Of --explain: one JSON document instead of the table.")
@click.option(
    "--dump", type=click.Path(path_type=Path, file_okay=False), help="Folder for the graph after each pass [none]."
)
def command(
    model: str,
    output: Path,
    weights: str | None,
    kv: str | None,
    target: str | None,
    adapter: tuple[str, ...],
    explain: bool,
    explain_html: Path | None,
    as_json: bool,
    verified: bool,
    max_kl: float | None,
    dump: Path | None,
) -> None:
    """Compile a model into one file that holds its graph, weights and prompt format, and no machine code."""
    from llmos.api import compile_model

    if not explain and (as_json or explain_html):
        raise click.UsageError(
            f"{'--json' if as_json else '--explain-html'} says how to write what --explain finds: give that too"
        )
    if max_kl is not None and not verified:
        raise click.UsageError(
            "--max-kl limits what verification finds, and --no-verify leaves it out: give one of them"
        )
    with told_notices(), Progress() as progress:
        made = compile_model(
            model,
            output,
            weights=weights,
            kv=kv,
            target=target,
            adapter=adapter,
            explain=explain,
            verified=verified,
            max_kl=max_kl,
            dump=dump,
            progress=progress,
        )
    if made.explanation:
        _show(made.explanation, explain_html or output.with_name(f"{output.stem}.explain.html"), as_json)
    if made.report:
        click.echo(str(made.report), err=True)
    click.echo(f"{output} ({format_bytes(made.n_bytes)})", err=True)


def _show(explanation: "Explanation", page: Path, as_json: bool) -> None:
    if as_json:
        write_json(explanation.to_dict())
    else:
        click.echo(str(explanation))
    explanation.write_page(page)
    click.echo(f"{page}", err=True)
