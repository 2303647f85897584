"""extra_model_paths.yaml of strangers: one UsageError or a result, quickly. Right ones are in test_folders."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from graphs.errors import UsageError
from runtime.extra_paths import MAX_BYTES, read_extra_paths
from runtime.folders import Folders

HOSTILE = Path(__file__).parents[2] / "../shared/reference/cases/hostile/yaml"
MULTIPLY = "\n".join(["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))])
MERGE = "\n".join(["a0: &a0 {k: v}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], k{n}: v}}" for n in range(1, 60))])


@pytest.mark.parametrize(
    "text",
    [
        "a:\n  vae: 0x_",
        "a:\n  vae: 2023-99-99",
        "[" * 300,
        "{" * 5_000,
        "a: &a\n  vae: *a",
        "&a a: *a",
        "a: !!python/object/apply:os.system [echo]",
        "a:\n  base_path: &b [*b]\n  vae: x",
        f"{MULTIPLY}\nb:\n  vae: *a59",
        f"{MULTIPLY}\nb:\n  base_path: *a59",
        MERGE,
        "a:\n  vae: [[x]]",
        "a:\n  ? [1, 2]\n  : x",
        "a:\n  1: x",
        "a: {vae: 'x\0y'}",
        "\ufeffa: [",
        "x" * (MAX_BYTES + 1),
    ],
)
def test_what_is_none_is_one_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(text, "utf-8")
    began = time.process_time()
    with pytest.raises(UsageError, match=r"e\.yaml"):
        read_extra_paths(file)
    assert time.process_time() - began < 2


def test_an_anchor_and_a_merge_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text("\ufeffa: &a\n  base_path: x\n  vae: v\nb:\n  <<: *a\n  loras: [l, m]\n", "utf-8")
    assert [(p.kind, p.path.name) for p in read_extra_paths(file)] == [
        ("vae", "v"),
        ("vae", "v"),
        ("loras", "l"),
        ("loras", "m"),
    ]


def test_files_of_the_cases(tmp_path: Path) -> None:
    cases = sorted(HOSTILE.glob("*"))
    if not cases:
        pytest.skip(f"the cases are not here: {HOSTILE}")
    for case in cases:
        copy = tmp_path / "e.yaml"
        copy.write_bytes(case.read_bytes())
        began = time.process_time()
        try:
            folders = Folders.of([copy])
        except UsageError:
            continue
        for kind in folders.kinds:
            folders.list(kind)
        assert time.process_time() - began < 2, case.name
