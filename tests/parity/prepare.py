"""Makes sure that the model files of the parity cases are in a folder.

usage: python -m tests.parity.prepare FOLDER [GROUP ...]     (no group: sd15)
"""

from __future__ import annotations

import os
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.parity.layouts.files import FILES, GROUPS
from tests.parity.make_ckpt import size_bytes, write

SPARE_BYTES = 1 << 28


def prepare(folder: Path, groups: tuple[str, ...] = GROUPS[:1]) -> None:
    """Writes what is missing. Raises SystemExit when the disk is too small."""
    missing = [name for name, file in FILES.items() if file.group in groups and not (folder / name).is_file()]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = sum(map(size_bytes, missing)) + SPARE_BYTES, shutil.disk_usage(folder).free
    if free < needed:
        raise SystemExit(f"{folder}: needs {needed >> 20} MiB, {free >> 20} MiB free; set PARITY_MODELS elsewhere")
    largest_first = sorted(missing, key=size_bytes, reverse=True)
    with ProcessPoolExecutor(os.cpu_count()) as pool:  # drawing numbers is what takes the time
        for name, done in [(name, pool.submit(write, folder, name)) for name in largest_first]:
            print(f"writing {folder / name}", file=sys.stderr, flush=True)
            done.result()


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), tuple(sys.argv[2:]) or GROUPS[:1])
