"""Orders of steps with a small peak of memory: the search behind the schedule pass.

Steps and values are numbers here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush

EXACT_STATES = 4_000  # all orders are searched while no more sets of finished steps than this have been looked at
EXACT_STEPS = 64

Value = tuple[int, int, tuple[int, ...]]  # bytes, the step that makes it, the steps that use it


class Order:
    """ids: a name per step, which settles ties. values: freed after their last user (at once when there is none).
    kept: (bytes, maker) of values that are never freed. after: pairs of steps, the first of which must come first."""

    def __init__(
        self,
        ids: tuple[str, ...],
        values: Iterable[Value],
        kept: Iterable[tuple[int, int]] = (),
        after: Iterable[tuple[int, int]] = (),
    ) -> None:
        self._ids = ids
        self._made = [0] * len(ids)  # bytes that come to life with a step
        self._instant = [0] * len(ids)  # those of them that nobody uses
        self._values = list(values)
        self._touched: list[list[int]] = [[] for _ in ids]  # the values a step uses
        needs: list[set[int]] = [set() for _ in ids]
        for number, (size, maker, users) in enumerate(self._values):
            self._made[maker] += size
            if not users:
                self._instant[maker] += size
            for user in users:
                self._touched[user].append(number)
                needs[user].add(maker)
        for size, maker in kept:
            self._made[maker] += size
        for first, second in after:
            needs[second].add(first)
        self._needs = needs
        self._followers: list[list[int]] = [[] for _ in ids]
        for step, before in enumerate(needs):
            for earlier in before:
                self._followers[earlier].append(step)

    def peak(self, order: Sequence[int]) -> int:
        """The most bytes that are alive at once."""
        alive, peak = 0, 0
        left = [len(users) for _, _, users in self._values]
        for step in order:
            alive += self._made[step]
            peak = max(peak, alive)
            alive -= self._instant[step]
            for number in self._touched[step]:
                left[number] -= 1
                if left[number] == 0:
                    alive -= self._values[number][0]
        return peak

    def least(self) -> int:
        """No order has a smaller peak: the most that one step makes and uses."""
        needed = list(self._made)
        for step, numbers in enumerate(self._touched):
            needed[step] += sum(self._values[number][0] for number in numbers)
        return max(needed, default=0)

    def best(self) -> list[int]:
        """The order with the smallest peak, for few steps; else the better of two greedy ones."""
        exact = self.exact() if len(self._ids) <= EXACT_STEPS else None
        return exact if exact is not None else min((self.greedy(), self.greedy(deep=True)), key=self.peak)

    def exact(self) -> list[int] | None:
        """The order with the smallest peak, or None when the search is too large.

        It is the shortest path over sets of finished steps, the length of a path being its peak."""
        everything = (1 << len(self._ids)) - 1
        needs = [sum(1 << j for j in before) for before in self._needs]
        masks = [sum(1 << j for j in users) for _, _, users in self._values]
        queue = [(0, 0, 0, 0)]  # peak, minus the number of finished steps, their set, bytes alive
        came: dict[int, tuple[int, int]] = {}
        best = {0: 0}
        closed: set[int] = set()
        while queue:
            peak, _, done, alive = heappop(queue)
            if done in closed:
                continue
            if done == everything:
                return _path(came, done)
            if len(closed) == EXACT_STATES:
                return None
            closed.add(done)
            for step, needed in enumerate(needs):
                bit = 1 << step
                if done & bit or done & needed != needed:
                    continue
                after, higher = done | bit, max(peak, alive + self._made[step])
                if higher >= best.get(after, higher + 1):
                    continue
                best[after], came[after] = higher, (done, step)
                freed = sum(self._values[n][0] for n in self._touched[step] if not masks[n] & ~after)
                left = alive + self._made[step] - self._instant[step] - freed
                heappush(queue, (higher, -after.bit_count(), after, left))
        return None

    def greedy(self, *, deep: bool = False) -> list[int]:
        """Next, of the steps that are ready, the one that leaves least alive.

        deep: among equals the one that became ready last, so that a chain is followed to its end. Ties go by id: the
        order that came in does not matter."""
        waiting = [len(before) for before in self._needs]
        left = [len(users) for _, _, users in self._values]
        last = [0] * len(self._values)  # the users that are left, xor-ed: the user itself once one is left
        growth = [made - instant for made, instant in zip(self._made, self._instant, strict=True)]
        for number, (size, _, users) in enumerate(self._values):
            for user in users:
                last[number] ^= user
            if len(users) == 1:
                growth[users[0]] -= size
        rank = {step: 0 for step, count in enumerate(waiting) if count == 0}  # ready steps
        heap = [(growth[step], 0, self._ids[step], step) for step in rank]
        heapify(heap)
        order: list[int] = []
        while heap:
            grows, _, _, step = heappop(heap)
            if step not in rank or grows != growth[step]:
                continue  # done, or there is a newer entry
            del rank[step]
            order.append(step)
            for number in self._touched[step]:
                left[number] -= 1
                last[number] ^= step
                if left[number] == 1:
                    user = last[number]
                    growth[user] -= self._values[number][0]
                    if user in rank:
                        heappush(heap, (growth[user], rank[user], self._ids[user], user))
            for follower in self._followers[step]:
                waiting[follower] -= 1
                if waiting[follower] == 0:
                    rank[follower] = -len(order) if deep else 0
                    heappush(heap, (growth[follower], rank[follower], self._ids[follower], follower))
        return order


def _path(came: dict[int, tuple[int, int]], done: int) -> list[int]:
    order = []
    while done:
        done, step = came[done]
        order.append(step)
    return order[::-1]
