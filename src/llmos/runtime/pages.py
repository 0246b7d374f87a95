"""KV pages: who holds which, and which hold a prefix that may be used again.

Like virtual memory: a sequence has a table of pages, full pages with equal content history are shared, and pages that nobody
holds stay filled until their place is needed, least recently used first. A partly filled page belongs to one sequence.
"""

import itertools
from collections import OrderedDict
from collections.abc import Sequence

from llmos.runtime.abi import PAGE_TOKENS

__all__ = ["PagePool"]

Key = tuple[int, tuple[int, ...]]  # (serial number of the page before, 0 for none; ids of this page)


class PagePool:
    """Allocation of `n_pages` page numbers with reference counts and a prefix index. share: reuse prefixes at all."""

    def __init__(self, n_pages: int, *, share: bool = True):
        self.n_pages, self.share = n_pages, share
        self._free = list(range(n_pages - 1, -1, -1))
        self._holders = [0] * n_pages
        self._page_of: dict[Key, int] = {}
        self._key_of: dict[int, Key] = {}
        self._serial_of: dict[
            int, int
        ] = {}  # a new number whenever a page is published, so that a key names one history
        self._serials = itertools.count(1)
        self._idle: OrderedDict[int, None] = OrderedDict()  # filled pages that nobody holds, oldest first

    @property
    def n_available(self) -> int:
        """Pages that can be had now: free ones and idle ones."""
        return len(self._free) + len(self._idle)

    def allocate(self) -> int | None:
        """A page for one holder; None when all are held."""
        if self._free:
            page = self._free.pop()
        elif self._idle:
            page, _ = self._idle.popitem(last=False)
            del self._page_of[self._key_of.pop(page)]
            del self._serial_of[page]
        else:
            return None
        self._holders[page] = 1
        return page

    def release(self, pages: Sequence[int]) -> None:
        """Give pages up, the last of a sequence first, so that the beginnings of prefixes stay longest."""
        for page in reversed(pages):
            assert self._holders[page] > 0, f"page {page} is released more often than held"
            self._holders[page] -= 1
            if self._holders[page] == 0:
                if page in self._key_of:
                    self._idle[page] = None
                else:
                    self._free.append(page)

    def match(self, ids: Sequence[int]) -> list[int]:
        """Filled pages of the longest known prefix of ids, now held once more. The last id is never covered."""
        pages: list[int] = []
        serial = 0
        for start in range(0, len(ids) - PAGE_TOKENS, PAGE_TOKENS) if self.share else ():
            page = self._page_of.get((serial, tuple(ids[start : start + PAGE_TOKENS])))
            if page is None:
                break
            serial = self._serial_of[page]
            self._holders[page] += 1
            self._idle.pop(page, None)
            pages.append(page)
        return pages

    def publish(self, ids: Sequence[int], pages: Sequence[int], first: int) -> None:
        """Make pages `first` and later, all full, findable. A content that is known already keeps its first page."""
        if not self.share or first >= len(pages):
            return
        serial = 0
        for i, page in enumerate(pages):
            if i < first and page in self._serial_of:
                serial = self._serial_of[page]
                continue
            key = (serial, tuple(ids[i * PAGE_TOKENS : (i + 1) * PAGE_TOKENS]))
            known = self._page_of.get(key)
            if known is None and page not in self._key_of:
                self._page_of[key], self._key_of[page] = page, key
                self._serial_of[page] = next(self._serials)
                known = page
            if known is None:
                return  # published under another history: nothing can hang on it
            serial = self._serial_of[known]

    def check(self, tables: Sequence[Sequence[int]]) -> None:
        """Assert that holders are exactly the given tables and that no page is lost or both free and held."""
        held = [0] * self.n_pages
        for table in tables:
            for page in table:
                held[page] += 1
        assert held == self._holders, "reference counts differ from the tables"
        idle, free = set(self._idle), set(self._free)
        busy = {page for page in range(self.n_pages) if held[page]}
        assert len(self._free) == len(free) and not (idle & free) and not (busy & (idle | free)), (
            "a page is in two places"
        )
        assert len(busy) + len(idle) + len(free) == self.n_pages, "a page is lost"
        assert {self._page_of[key]: key for key in self._page_of} == self._key_of, "prefix index is inconsistent"
