"""`llmos completion SHELL`."""

import click
from click.shell_completion import get_completion_class

__all__ = ["command"]


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash: llmos completion bash >> ~/.bashrc
    zsh:  llmos completion zsh >> ~/.zshrc
    fish: llmos completion fish > ~/.config/fish/completions/llmos.fish
    """
    made = get_completion_class(shell)
    assert made is not None, shell
    click.echo(made(ctx.find_root().command, {}, "llmos", "_LLMOS_COMPLETE").source())
