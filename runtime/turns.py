"""Whose turn it is with engines that take one caller at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Turn:
    """A lock of a thread, which may take it again: runs that one thread drives together never wait for each other.

    Unlike an RLock it may be given back by another thread, as a run is when whoever drives it closes it elsewhere.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._thread: int | None = None
        self._holds = 0

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        with self._changed:
            me = threading.get_ident()
            self._changed.wait_for(lambda: not self._holds or self._thread == me)
            self._thread, self._holds = me, self._holds + 1
        try:
            yield
        finally:
            with self._changed:
                self._holds -= 1
                if not self._holds:
                    self._changed.notify_all()


class OpenRuns:
    """The runs of a session that have begun and not ended, by the thread that began them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._threads: list[int] = []
        self.closed = False

    @contextlib.contextmanager
    def counted(self) -> Iterator[bool]:
        """Gives whether the run may go on: nothing begins once they are closed."""
        me = threading.get_ident()
        with self._changed:
            goes_on = not self.closed
            if goes_on:
                self._threads.append(me)
        try:
            yield goes_on
        finally:
            if goes_on:
                with self._changed:
                    self._threads.remove(me)
                    self._changed.notify_all()

    def close(self) -> bool:
        """Lets no run begin, and waits for those of other threads: one of this thread cannot end while it waits.

        Gives whether this call closed them."""
        with self._changed:
            if self.closed:
                return False
            self.closed = True
            me = threading.get_ident()
            self._changed.wait_for(lambda: all(thread == me for thread in self._threads))
            return True
