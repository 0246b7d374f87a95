"""Where a parameter is found in a checkpoint: the tensor's name and how to get from it to ours."""

from dataclasses import dataclass

__all__ = ["Source"]


@dataclass(frozen=True)
class Source:
    """A checkpoint tensor that holds a parameter, alone or stacked with others.

    name: tensor name, `{i}` standing for the layer, `{e}` for the expert, `{r}` for the row where every row is a tensor.
    transpose: stored (in, out). among: the parameters stacked in the tensor along the output axis, in order; empty when it
    holds this one alone. by_group: stacked once for every key/value head (its queries, its key, its value) and not once
    for all; groups: how many, filled in for a spec. skip: first rows that the model never uses. plus: what is added to
    every value (norms that are stored as their difference from 1). paired_heads: so many heads in each of which the two rows
    that rope turns together are neighbours, where ours have them half a head apart; 0 for rows in our order.
    """

    name: str
    transpose: bool = False
    among: tuple[str, ...] = ()
    by_group: bool = False
    groups: int = 1
    skip: int = 0
    plus: float = 0.0
    paired_heads: int = 0
