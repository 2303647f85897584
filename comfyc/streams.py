"""Standard output that can be closed, full, or of an encoding that has no Greek letters."""

from __future__ import annotations

import codecs
import errno
import os
import sys
import traceback

from graphs.errors import ComfycError

_ESCAPED = "comfyc-json-escapes"


def prepare_streams() -> None:
    """UTF-8 into files and pipes, whatever the system's encoding is; what cannot be written becomes JSON's escapes."""
    codecs.register_error(_ESCAPED, _escaped)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            encoding = stream.encoding if stream.isatty() else "utf-8"
            reconfigure(encoding=encoding, errors=_ESCAPED)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    r"""é as \u00e9, and letters beyond the first plane as two, so that JSON stays JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2)), error.end


def flush_output() -> None:
    """Raises OSError where what was printed cannot be written."""
    if sys.stdout is not None:
        sys.stdout.flush()


def output_error(error: OSError) -> ComfycError | None:
    """What to say where printing failed; None where the error is another one. Nothing more is printed after it."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or frames[-1].name not in ("echo", "flush_output"):
        return None
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    if error.errno in (errno.EPIPE, errno.EINVAL):  # nobody reads any more; Windows says the latter
        return ComfycError("")
    return ComfycError(f"cannot write the output: {error.strerror or error}", hint="free some space")
