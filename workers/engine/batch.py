"""The rows that are being answered, each at its place in the cache, those that write before those that read."""

from __future__ import annotations

from collections.abc import Iterator

from workers.engine.cache import RowCache
from workers.engine.layout import Part
from workers.engine.request import Request


class Batch:
    """Requests with a place; the request at index n stands at place n."""

    def __init__(self, cache: RowCache) -> None:
        self._cache = cache
        self._rows: list[Request] = []

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Request]:
        return iter(tuple(self._rows))

    def room_for(self, request: Request) -> bool:
        """Whether the cache may hold the request beside the others."""
        return self._cache.fits(*self._size_with(request))

    def add(self, request: Request) -> None:
        """Give a request its place; raises whatever a lack of memory raises, and is unchanged then."""
        self._cache.grow(*self._size_with(request))
        request.place = len(self._rows)
        self._rows.append(request)

    def _size_with(self, request: Request) -> tuple[int, int]:
        return len(self._rows) + 1, max(one.needs for one in (*self._rows, request))

    def remove(self, request: Request) -> None:
        """Take a request out; the last one moves to its place."""
        last = self._rows.pop()
        if last is not request:
            self._cache.move(last.place, request.place, last.kept)
            self._rows[request.place] = last
            last.place = request.place
        request.place, request.kept = -1, 0

    def clear(self) -> None:
        """Take every request out; what the model made of them is forgotten."""
        for request in self._rows:
            request.place, request.kept = -1, 0
        self._rows = []

    def wipe(self, request: Request) -> None:
        """Leave nothing of a request's numbers in the cache."""
        self._cache.wipe(request.place)

    def arrange(self) -> int:
        """Bring the rows that write to the front; gives how many they are."""
        front = 0
        for place, request in enumerate(self._rows):
            if request.writing:
                self._swap(front, place)
                front += 1
        return front

    def _swap(self, one: int, other: int) -> None:
        if one == other:
            return
        rows = self._rows
        self._cache.swap(one, other, max(rows[one].kept, rows[other].kept))
        rows[one], rows[other] = rows[other], rows[one]
        rows[one].place, rows[other].place = one, other

    def plan(self, budget: int) -> tuple[list[Request], list[Part], int]:
        """The next step: every row that writes, and pieces of prompts of at most `budget` tokens together.

        The oldest prompt has half of the budget for itself, so that it is read to its end; what is left goes to
        the shortest ones first, so that they need not wait for long ones.
        """
        writing = self.arrange()
        chosen = [(request, 1) for request in self._rows[:writing]]
        reading = sorted(self._rows[writing:], key=lambda request: request.asked)
        left = budget
        for index, request in enumerate([*reading[:1], *sorted(reading[1:], key=lambda one: one.pending)]):
            share = max(1, budget // 2) if index == 0 and len(reading) > 1 else left
            take = min(request.pending, share, left)
            if take:
                chosen.append((request, take))
                left -= take
        return [request for request, _ in chosen], [_part(*one) for one in chosen], writing


def _part(request: Request, take: int) -> Part:
    ids = request.ids[request.kept : request.kept + take]
    tree = request.tree if take == request.pending else None
    return Part(request.place, request.slot, request.kept, ids, tree)
