"""Buckets of relative positions, shared by every implementation of the operations."""

import math

from llmos.models.spec import RelativeBias

__all__ = ["bucket", "buckets"]


def bucket(relative: RelativeBias, distance: int, causal: bool) -> int:
    """The bucket of a key that stands `distance` after its query (before it: negative).

    Source: arXiv:1910.10683, as transformers `modeling_t5._relative_position_bucket` has it, in double precision.
    """
    first, count = 0, relative.buckets
    if causal:
        distance = max(-distance, 0)
    else:
        count //= 2
        first, distance = (count if distance > 0 else 0), abs(distance)
    exact = count // 2
    if distance < exact:
        return first + distance
    growth = math.log(distance / exact) / math.log(relative.max_distance / exact)
    return first + min(exact + int(growth * (count - exact)), count - 1)


def buckets(relative: RelativeBias, causal: bool) -> list[int]:
    """The buckets of the distances from -max_distance to max_distance; further ones are in those of the ends."""
    reach = relative.max_distance
    return [bucket(relative, distance, causal) for distance in range(-reach, reach + 1)]
