"""Makes sure that the model files of the parity cases are in a folder. usage: python -m tests.parity.prepare FOLDER"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.parity.layouts import FILES
from tests.parity.make_ckpt import write

NEEDED_BYTES = 3_200_000_000
# sd15_b and lora_sd15_b are for tests of engine reuse, no recorded case needs them
WANTED = tuple(f for f in FILES if "_b.safetensors" not in f)


def prepare(folder: Path) -> None:
    """Writes what is missing. Raises SystemExit when the disk is too small."""
    missing = [name for name in WANTED if not (folder / name).is_file()]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise SystemExit(
            f"{folder}: needs {NEEDED_BYTES >> 20} MiB, {free >> 20} MiB free; set PARITY_MODELS elsewhere"
        )
    for name in missing:
        print(f"writing {folder / name}", file=sys.stderr, flush=True)
        write(folder, name)


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
