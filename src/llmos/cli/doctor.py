"""`llmos doctor`: what this machine is, how fast it measures, what is installed, what is missing and how to get it."""

from dataclasses import asdict, dataclass
from typing import Any

import click

import llmos
from llmos.api.roofs import Roofs, measure_roofs
from llmos.cli.examine import Finding, examine_installation
from llmos.cli.terminal import Progress, counted, write_json
from llmos.cli.warm import warm_toolchain
from llmos.compiler import (
    FORMATS,
    KV_FORMATS,
    Implementation,
    attention_implementation,
    chosen_target,
    machine_features,
    product_implementation,
    row_implementation,
)
from llmos.core.errors import LlmosError
from llmos.core.units import format_bytes
from llmos.hardware import Memory, Topology, accelerators, architecture, caches, memory, model_name, topology

__all__ = ["command"]

_TOLD = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "asimddp", "sve")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The facts that decide how a model runs here."""

    architecture: str
    processor: str
    features: list[str]
    topology: Topology
    caches: list[Any]
    memory: Memory
    accelerators: list[Any]


@dataclass(frozen=True, kw_only=True)
class Code:
    """What models are compiled for here, and what does the work.

    products: of matrices of each weight format; attention: over keys and values of each format; rows: norms, activations, draws.
    """

    target: str
    products: dict[str, Implementation]
    attention: dict[str, Implementation]
    rows: Implementation


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
@click.option("--quick", is_flag=True, help="Leave the measurements out.")
@click.option("--warm", is_flag=True, help="Only prepare the compiler and the embedded model for their first use.")
def command(as_json: bool, quick: bool, warm: bool) -> None:
    """Examine this machine and this installation.

    Tells the machine's facts, the instructions that models use, the memory bandwidth and the peaks of each number format measured now, the toolchain, and
    what is missing with the way to get it. Exits with 3 where something is missing that every model needs.
    """
    if warm:
        with Progress() as progress:
            warm_toolchain(progress)
        return
    machine, code = _machine(), _code()
    roofs = None if quick else _roofs()
    findings = examine_installation()
    if isinstance(roofs, LlmosError):
        findings.append(Finding(name="measurement", ok=False, text=str(roofs)))
        roofs = None
    if as_json:
        checks = [asdict(finding) for finding in findings]
        measured = asdict(roofs) if roofs else None
        used = asdict(code) if code else None
        write_json(
            {"llmos": llmos.__version__, "machine": asdict(machine), "code": used, "roofs": measured, "checks": checks}
        )
    else:
        _show(machine, code, roofs, findings)
    if any(finding.needed and not finding.ok for finding in findings):
        raise click.exceptions.Exit(3)


def _machine() -> Machine:
    flags = _features()
    return Machine(
        architecture=architecture(),
        processor=model_name(),
        features=[name for name in _TOLD if name in flags],
        topology=topology(),
        caches=caches(),
        memory=memory(),
        accelerators=accelerators(),
    )


def _features() -> frozenset[str]:
    """Instruction sets; none where they have to be asked for by code and there is no compiler, which is said elsewhere."""
    try:
        return machine_features()
    except LlmosError:
        return frozenset()


def _code() -> Code | None:
    """None where models cannot be compiled, which is said elsewhere."""
    try:
        target = chosen_target(None)
    except LlmosError:
        return None
    products = {format: product_implementation(target, format) for format in FORMATS}
    attention = {format: attention_implementation(target, format) for format in KV_FORMATS}
    return Code(target=target.name, products=products, attention=attention, rows=row_implementation(target))


def _roofs() -> Roofs | LlmosError:
    with Progress() as progress:
        try:
            return measure_roofs(progress)
        except LlmosError as error:
            return error


def _show(machine: Machine, code: Code | None, roofs: Roofs | None, findings: list[Finding]) -> None:
    cpus, ram = machine.topology, machine.memory
    limit = f", limited to {format_bytes(ram.limit)}" if ram.limit else ""
    lines = [
        ("processor", f"{machine.processor} ({machine.architecture})"),
        ("instructions", " ".join(machine.features) or "no vector extension that LLMOS uses"),
        (
            "cores",
            f"{cpus.cores} in {counted(cpus.packages, 'package')}, {counted(cpus.threads, 'thread')}, {cpus.usable} usable",
        ),
        (
            "caches",
            ", ".join(f"L{cache.level} {format_bytes(cache.size_bytes)}" for cache in machine.caches) or "unknown",
        ),
        ("memory", f"{format_bytes(ram.total)}, {format_bytes(ram.available)} available{limit}"),
        ("accelerators", ", ".join(_accelerator(item) for item in machine.accelerators) or "none"),
    ]
    if code is not None:
        lines += _ways(code)
    if roofs is not None:
        lines += _measured(roofs)
    for name, text in lines:
        click.echo(f"{name:<14}{text}")
    click.echo()
    for finding in findings:
        click.echo(
            f"{'ok' if finding.ok else 'MISSING' if finding.needed else 'note':<9}{finding.name}: {finding.text}"
        )


def _ways(code: Code) -> list[tuple[str, str]]:
    lines = [("target", f"{code.target}; rows use {code.rows}, and products of weights in:")]
    lines += [(f"  {format}", str(way)) for format, way in code.products.items()]
    lines.append(("", "attention to keys and values in:"))
    return lines + [(f"  {format}", str(way)) for format, way in code.attention.items()]


def _measured(roofs: Roofs) -> list[tuple[str, str]]:
    lines = [("measured", f"now, with {counted(roofs.threads, 'thread')}:")]
    lines.append(("  memory", f"{roofs.read_bytes_per_s / 1e9:.1f} GB/s"))
    if roofs.cache_bytes_per_s is not None:
        lines.append(("  last cache", f"{roofs.cache_bytes_per_s / 1e9:.1f} GB/s"))
    return lines + [(f"  {format}", f"{roofs.peak(format) / 1e9:.0f} GOP/s") for format in ("float32", "bf16", "int8")]


def _accelerator(item: Any) -> str:
    size = f", {format_bytes(item.memory_bytes)}" if item.memory_bytes else ""
    return f"{item.vendor} {item.name}{size}" + ("" if item.usable else " (no driver answers for it)")
