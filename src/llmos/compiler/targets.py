"""Instruction sets that code is made for. A target decides the compiler flags, never the layout of weights."""

from dataclasses import dataclass

from llmos.core.errors import UserError

__all__ = ["TARGETS", "Target", "target_named"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """name: as users write it; cpu: the toolchain's -mcpu with the features that the kernels use."""

    name: str
    cpu: str
    needs: frozenset[str]  # flags of /proc/cpuinfo without which the code would not run


_V3 = frozenset({"avx2", "fma", "bmi2", "f16c"})
_V4 = _V3 | {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"}

TARGETS = {
    target.name: target
    for target in (
        Target(name="portable", cpu="x86_64", needs=frozenset()),
        Target(name="x86-64-v3", cpu="x86_64_v3", needs=_V3),
        Target(name="x86-64-v4", cpu="x86_64_v4", needs=_V4),
        Target(name="x86-64-v4-vnni", cpu="x86_64_v4+avx512vnni", needs=_V4 | {"avx512_vnni"}),
        Target(
            name="x86-64-v4-vnni-bf16",
            cpu="x86_64_v4+avx512vnni+avx512bf16",
            needs=_V4 | {"avx512_vnni", "avx512_bf16"},
        ),
    )
}


def target_named(name: str | None, features: frozenset[str]) -> Target:
    """The target of that name, or the best that `features` (names as in /proc/cpuinfo) can run.

    `x86-64-v4` takes VNNI and BF16 where they are present. Raises UserError for a name that is unknown or that this
    machine cannot run.
    """
    able = [target for target in TARGETS.values() if target.needs <= features]
    if name is None:
        return able[-1]
    if name not in TARGETS:
        raise UserError(f"target {name!r} is not known; allowed: {', '.join(TARGETS)}")
    chosen = [
        target for target in able if target.name == name or (name == "x86-64-v4" and target.name.startswith(name))
    ]
    if not chosen:
        missing = ", ".join(sorted(TARGETS[name].needs - features))
        raise UserError(f"this machine cannot run target {name}: its processor lacks {missing}")
    return chosen[-1]
