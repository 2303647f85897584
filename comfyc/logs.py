"""Where log lines go when the command line runs: stderr, one line each, as loud as asked."""

from __future__ import annotations

import logging
import sys

LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}


class LineFormatter(logging.Formatter):
    """`warning: text`; INFO has no prefix, DEBUG names its module."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            return f"{record.levelname.lower()}: {text}"
        return f"{record.name}: {text}" if record.levelno <= logging.DEBUG else text


class StderrHandler(logging.Handler):
    """Writes to the sys.stderr of the moment (progress bars replace it while they are on screen)."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(self.format(record) + "\n")


def set_up_logging(loudness: int) -> None:
    """loudness: -1 quiet (errors), 0 warnings, 1 what each phase does, 2 everything."""
    handler = StderrHandler()
    handler.setFormatter(LineFormatter())
    level = LEVELS[max(-1, min(2, loudness))]
    for name in ("comfyc", "compiler", "runtime", "graphs"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [h for h in logger.handlers if not isinstance(h, StderrHandler)]
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
