"""Where the store is and how large it may grow: $COMFYC_CACHE, $COMFYC_CACHE_MAX_GB."""

from __future__ import annotations

import math
import os
from pathlib import Path

import platformdirs

from graphs.errors import StoreError

DEFAULT_MAX_BYTES = 64 << 30
MOST_GB = 1 << 30  # an exabyte: what is larger is a slip of the hand


def default_root() -> Path:
    """$COMFYC_CACHE, or the user's cache folder. Raises StoreError where there is none or its name is no text."""
    given = os.environ.get("COMFYC_CACHE")
    root = os.path.expanduser(given) if given else platformdirs.user_cache_dir("comfyc")
    hint = "point COMFYC_CACHE to a folder"
    if root.startswith("~"):
        raise StoreError("the home folder cannot be found", where=root, hint=hint)
    try:
        root.encode()
    except UnicodeEncodeError:  # onnxruntime and TensorRT take paths as UTF-8
        what = "the name of the cache folder is not UTF-8"
        raise StoreError(what, where=repr(os.fsencode(root)), hint=f"{hint} with such a name") from None
    return Path(root)


def default_max_bytes() -> int:
    """$COMFYC_CACHE_MAX_GB as bytes. Raises StoreError."""
    given = os.environ.get("COMFYC_CACHE_MAX_GB")
    if not given:
        return DEFAULT_MAX_BYTES
    try:
        gigabytes = float(given)
    except ValueError:
        gigabytes = math.nan
    if not 0 <= gigabytes <= MOST_GB:
        raise StoreError("COMFYC_CACHE_MAX_GB is not a size", expected="gigabytes, such as 40", got=given)
    return int(gigabytes * (1 << 30))


def keep_torch_in(root: Path) -> None:
    """torch keeps what it compiles in a folder of the system's temporary one that it leaves behind, under a name that
    anybody can guess: it goes into the store's. A folder that the user chose stays."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(root / "torch"))
