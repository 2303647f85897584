"""What comfyc says to libraries about where they may write."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.store_settings import keep_torch_in

NAME = "TORCHINDUCTOR_CACHE_DIR"


def test_torch_keeps_what_it_compiles_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    monkeypatch.setenv(NAME, "to be restored")
    monkeypatch.delenv(NAME)
    keep_torch_in(tmp_path)
    assert cache_dir() == str(tmp_path / "torch")
    monkeypatch.setenv(NAME, str(tmp_path / "mine"))
    keep_torch_in(tmp_path)
    assert cache_dir() == str(tmp_path / "mine")
