"""Every hostile file of the cases is one ComfycError or a result, within 2 s of CPU time and 500 MB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.commands import REPOSITORY
from tests.e2e.hostile_worker import READERS

CASES = REPOSITORY / "../shared/reference/cases/hostile"
MOST_SECONDS, MOST_BYTES = 2.0, 500 << 20


def test_every_kind_is_read() -> None:
    if not CASES.is_dir():
        pytest.skip(f"the cases are not here: {CASES}")
    assert {folder.name for folder in CASES.iterdir()} == READERS.keys()


@pytest.mark.parametrize("kind", sorted(READERS))
def test_hostile_files(kind: str, tmp_path: Path) -> None:
    folder = CASES / kind
    if not folder.is_dir():
        pytest.skip(f"the cases are not here: {folder}")
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.hostile_worker", kind, str(folder), str(tmp_path)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["file"] for row in found} == {path.name for path in folder.iterdir()}
    assert [row for row in found if row["seconds"] > MOST_SECONDS or row["grown"] > MOST_BYTES] == []
