"""Picture files that strangers made: decoded within bounds, by decoders that start no other program.

A file of a hundred bytes can claim gigabytes of pixels, so sizes are looked at before anything is decoded. A photo that
was cut off is read as far as it goes, with a warning, as ComfyUI does.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from graphs.errors import RunError, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)

T = TypeVar("T")

ENV = "COMFYC_MAX_MEGAPIXELS"
DEFAULT_MEGAPIXELS = 50.0  # of all frames together, 17 bytes each while they are decoded: below a gigabyte
PIXELS_A_BYTE = 2000  # of a damaged file: more than a plain surface has in a JPEG
# Formats of pictures. Not among them: PostScript, which Pillow gives to Ghostscript, and formats of documents and data.
FORMATS = (
    *("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000"),
    *("TGA", "PPM", "ICO", "DDS", "PCX", "SGI", "QOI", "XBM"),
)
ONE_FRAME_FORMATS = frozenset({"MPO", "ICO"})  # further frames are the other eye, a thumbnail, another size
_truncated = threading.Lock()  # the switch is a global of Pillow


def decoded(path: Path, read: Callable[[Iterator[Image]], T], *, where: str) -> T:
    """What `read` makes of the frames of a file, each loaded. It may be called twice, and need not take every frame.

    Raises RunError for a file that is no picture, is damaged, or has more pixels than $COMFYC_MAX_MEGAPIXELS.
    """
    try:
        return _read(path, read, where)
    except (RunError, UsageError, MemoryError):
        raise
    except Exception as error:  # decoders of damaged data raise whatever they come across
        reason = error
    from PIL import ImageFile

    with _truncated:
        before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
        try:
            result = _read(path, read, where, damaged=True)
        except (RunError, UsageError, MemoryError):
            raise
        except Exception:
            hint = "open and save it again in a picture editor, or choose another file"
            what = f"cannot read {path}: {reason or type(reason).__name__}"
            raise RunError(what, where=where, hint=hint) from reason
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before
    log.warning("%s: %s is cut off or damaged (%s): what is missing is left plain", where, path, reason)
    return result


def _read(path: Path, read: Callable[[Iterator[Image]], T], where: str, damaged: bool = False) -> T:
    from PIL import Image

    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    most = max_pixels()
    if Image.MAX_IMAGE_PIXELS is not None and most > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = int(most)  # asked for: Pillow has a bound of its own, for one frame
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound is ours
        with Image.open(path, formats=formats) as opened:
            return read(_frames(opened, path, most, where, PIXELS_A_BYTE * path.stat().st_size if damaged else None))


def _frames(opened: Image, path: Path, most: float, where: str, plausible: int | None) -> Iterator[Image]:
    """The frames, each checked and then loaded. Raises RunError where they are too many pixels. plausible: how many a
    damaged file may claim, else ValueError; None for any number."""
    from PIL import ImageSequence

    pixels = 0
    for frame in ImageSequence.Iterator(opened):
        pixels += frame.width * frame.height
        if pixels > most:
            raise RunError(
                f"{path} is too large a picture",
                where=where,
                expected=f"at most {most / 1e6:g} million pixels in all frames",
                got=f"{frame.width} x {frame.height}, {pixels / 1e6:.1f} million so far",
                hint=f"make it smaller, or set {ENV} to more",
            )
        if plausible is not None and pixels > plausible:
            raise ValueError("its size is damaged")
        frame.load()
        yield frame
        if opened.format in ONE_FRAME_FORMATS:
            return


def max_pixels() -> float:
    """The bound for one file. Raises UsageError."""
    given = os.environ.get(ENV)
    try:
        megapixels = float(given) if given else DEFAULT_MEGAPIXELS
        if not 0 < megapixels < math.inf:
            raise ValueError
    except ValueError:
        raise UsageError(f"{ENV} is not a size", expected="millions of pixels, such as 64", got=str(given)) from None
    return megapixels * 1e6

