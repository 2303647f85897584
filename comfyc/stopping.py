"""How the command line stops: Ctrl-C, SIGTERM and SIGHUP clean up; a second one, or five seconds, end it at once.

Python handles a signal between two of its instructions, and a library can be busy for many seconds without one; what it
raises can also get lost in a callback. So a thread watches, too. Ending at once is safe: whatever is written appears
whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

GRACE_S = 5.0
INTERRUPTED = 130  # of SIGINT, as shells have it: 128 and the signal's number
_SHOW_CURSOR = "\x1b[?25h"

_stopping = False


def watch_signals() -> None:
    """From the main thread, once."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, and shells that start jobs in the background
            signal.signal(number, _stop)
    threading.Thread(target=_watch, args=(read, frozenset(numbers)), name="signals", daemon=True).start()


def _stop(number: int, frame: FrameType | None) -> None:
    global _stopping
    if _stopping:
        _end(number)
    _stopping = True
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _watch(pipe: int, numbers: frozenset[int]) -> None:
    while True:
        number = os.read(pipe, 1)[0]
        if number in numbers:
            break
    time.sleep(GRACE_S)
    _end(number)


def _end(number: int) -> NoReturn:
    if sys.stderr is not None and sys.stderr.isatty():
        with contextlib.suppress(OSError, ValueError):
            os.write(2, _SHOW_CURSOR.encode())  # a progress bar hid it
    os._exit(128 + number)
