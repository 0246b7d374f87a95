"""Stop strings: text is held back while it may be the beginning of one."""

from llmos.core.errors import UserError

__all__ = ["StopMatcher"]


class StopMatcher:
    """Finds the first of several strings in text that comes in pieces, across their borders too."""

    def __init__(self, stops: list[str]):
        for stop in stops:
            if not isinstance(stop, str) or not stop:
                raise UserError(f"a stop string must be text of at least one character, not {stop!r}")
        self._stops = stops
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """What may be shown of the text so far, and whether a stop string was met; text from it on is dropped."""
        self._held += text
        found = [at for at in (self._held.find(stop) for stop in self._stops) if at >= 0]
        if found:
            out, self._held = self._held[: min(found)], ""
            return out, True
        keep = self._possible_start()
        out, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return out, False

    def finish(self) -> str:
        """What was held back, when no more text comes."""
        out, self._held = self._held, ""
        return out

    def _possible_start(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        longest = min(max((len(stop) for stop in self._stops), default=1) - 1, len(self._held))
        for n in range(longest, 0, -1):
            if any(stop.startswith(self._held[-n:]) for stop in self._stops):
                return n
        return 0
