"""Where a parameter is found in a checkpoint: the tensor's name and how to get from it to ours."""

from dataclasses import dataclass

__all__ = ["Source"]


@dataclass(frozen=True)
class Source:
    """A checkpoint tensor that holds a parameter, alone or stacked with others.

    name: tensor name, `{i}` standing for the layer. transpose: stored (in, out). among: the parameters stacked in the
    tensor along the output axis, in order; empty when it holds this one alone.
    """

    name: str
    transpose: bool = False
    among: tuple[str, ...] = ()
