"""What is left out of a prompt over the context, where the caller named that policy."""

from collections.abc import Callable, Sequence
from typing import Any

from llmos.api.prompts import Messages
from llmos.core.errors import UserError

__all__ = ["newest_ids", "newest_messages"]

_STANDING = ("system", "developer")  # roles of messages that hold for the whole conversation


def newest_ids(ids: Sequence[int], room: int, bos_id: int | None) -> list[int]:
    """The last `room` ids, or all; a beginning-of-text token that stands first stays."""
    if len(ids) <= room:
        return list(ids)
    keep_bos = ids[0] == bos_id
    return [*ids[:keep_bos], *ids[len(ids) - room + keep_bos :]]


def newest_messages(messages: Messages, encode: Callable[[Messages], list[int]], room: int, most: int) -> list[int]:
    """Ids of the conversation without its oldest exchanges, so few that `room` ids hold the rest, where that can be.

    Whole messages go, never a part of a template's tags. What stands before the first exchange stays, and what is kept begins
    with a user, as templates want it. The last exchange is kept as long as `most` ids hold it. Raises UserError where they do
    not.
    """
    roles: list[Any] = [message.get("role") for message in messages]
    n_standing = next((i for i, role in enumerate(roles) if role not in _STANDING), len(roles))
    later = [i for i in range(n_standing + 1, len(roles)) if roles[i] == "user"]
    for first in (n_standing, *later):
        ids = encode([*messages[:n_standing], *messages[first:]])
        if len(ids) <= room:
            return ids
    if len(ids) <= most:
        return ids
    raise UserError(
        f"what cannot be left out of the conversation has {len(ids)} tokens, the context holds {most}: shorten it"
    )
