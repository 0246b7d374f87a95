"""`llmos cache`: what is kept on the disk to start faster."""

import time

import click

from llmos.cli.terminal import write_json
from llmos.core.units import format_bytes, format_seconds

__all__ = ["command"]


@click.command("cache")
@click.option(
    "--clear", type=click.Choice(["code", "weights", "all"]), help="Remove it; what is needed is made again [nothing]."
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
def command(clear: str | None, as_json: bool) -> None:
    """List compiled code and packed weights that are kept on the disk, or remove them."""
    from llmos.api.cache import clear_cache, read_cache

    if clear is not None:
        freed = clear_cache(clear)
        write_json({"freed_bytes": freed}) if as_json else click.echo(f"{format_bytes(freed)} freed")
        return
    cache = read_cache()
    images = [
        {"model": image.model, "weights": image.weights, "bytes": image.n_bytes, "used_s": image.used_s}
        for image in cache.images
    ]
    if as_json:
        code = {"files": cache.code_files, "bytes": cache.code_bytes}
        write_json({"folder": str(cache.folder), "code": code, "weights": images, "limit_bytes": cache.limit_bytes})
        return
    click.echo(f"folder   {cache.folder}")
    click.echo(f"code     {cache.code_files} files, {format_bytes(cache.code_bytes)}")
    limit = f"{format_bytes(cache.limit_bytes)} allowed" if cache.limit_bytes else "none are kept: LLMOS_IMAGES is off"
    click.echo(f"weights  {format_bytes(sum(image.n_bytes for image in cache.images))}, {limit}")
    for image in reversed([image for image in cache.images if image.model is not None]):
        ago = format_seconds(max(0.0, time.time() - image.used_s))
        click.echo(f"  {format_bytes(image.n_bytes):>9}  {image.model}, {image.weights}, used {ago} ago")
