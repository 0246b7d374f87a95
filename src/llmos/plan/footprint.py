"""The memory of a piece of work: phases one after the other, each the sum of what is held at once.

Two numbers come of it. The *peak* is what the system shows as the resident size of the process (VmHWM): it counts what the
process held before and pages of mapped files. The *need* is what must be free: neither of the two counts, since the former is
taken already and the latter the system takes back when memory is short.
"""

from dataclasses import dataclass

__all__ = ["Footprint", "Part", "Phase"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One thing that takes memory. mapped: pages of a file; reserved: bytes set aside, None where all of them are touched."""

    name: str
    n_bytes: int
    mapped: bool = False
    reserved: int | None = None

    @property
    def needed(self) -> int:
        """Bytes that must be free for it."""
        if self.mapped:
            return 0
        return self.n_bytes if self.reserved is None else self.reserved


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What is held at the same time."""

    name: str
    parts: tuple[Part, ...]

    @property
    def n_bytes(self) -> int:
        return sum(part.n_bytes for part in self.parts)

    @property
    def needed(self) -> int:
        return sum(part.needed for part in self.parts)


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """held_bytes: what the process takes before it begins."""

    held_bytes: int
    phases: tuple[Phase, ...]

    @property
    def peak(self) -> Phase:
        """The phase that takes most."""
        return max(self.phases, key=lambda phase: phase.n_bytes)

    @property
    def peak_bytes(self) -> int:
        return self.held_bytes + self.peak.n_bytes

    @property
    def tightest(self) -> Phase:
        """The phase that asks for the most free memory; it need not be the peak, which counts mapped files too."""
        return max(self.phases, key=lambda phase: phase.needed)

    @property
    def needed_bytes(self) -> int:
        """Memory that must be free."""
        return self.tightest.needed
