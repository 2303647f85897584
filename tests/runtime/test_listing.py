"""A folder listing is remembered, and never wrong: everything that changes a tree changes the next answer."""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from runtime import listing
from runtime.file_names import Match, match_name
from runtime.folders import Folders
from runtime.listing import Tree, tree

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and file names as POSIX has them")


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees count as settled at once, so that what is tested is the comparison of stamps."""
    monkeypatch.setattr(listing, "_SETTLED_NS", -(10**12))


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that were read."""
    seen: list[str] = []
    scandir = os.scandir

    def watched(path: str) -> Any:
        seen.append(path)
        return scandir(path)

    monkeypatch.setattr("runtime.listing.os.scandir", watched)
    return seen


def test_a_tree_that_did_not_change_is_not_read_again(tmp_path: Path, old: None, walks: list[str]) -> None:
    put(tmp_path, "b.ckpt", "a.ckpt", "sub/c.ckpt", ".hidden/d.ckpt")
    first = tree(tmp_path)
    assert first.files == ("a.ckpt", "b.ckpt", "sub/c.ckpt")
    assert len(walks) == 2
    assert tree(tmp_path) is first
    assert len(walks) == 2


def test_a_tree_that_just_changed_is_read_again(tmp_path: Path, walks: list[str]) -> None:
    """The clock of the file system may not have moved on between the reading and the next change."""
    put(tmp_path, "a.ckpt")
    tree(tmp_path)
    assert tree(tmp_path).files == ("a.ckpt",)
    assert len(walks) == 2


CHANGES = ("add", "remove", "rename", "add below", "new folder", "gone", "replaced", "kept time")


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(tmp_path: Path, old: None, change: str) -> None:
    root = put(tmp_path / "m", "a.ckpt", "sub/b.ckpt")
    other = put(tmp_path / "o", "z.ckpt")
    assert tree(root).files == ("a.ckpt", "sub/b.ckpt")
    before = root.stat()
    if change == "add":
        put(root, "new.ckpt")
    elif change == "remove":
        (root / "a.ckpt").unlink()
    elif change == "rename":
        (root / "a.ckpt").rename(root / "c.ckpt")
    elif change == "add below":
        put(root, "sub/new.ckpt")
    elif change == "new folder":
        put(root, "more/new.ckpt")
    elif change == "gone":
        shutil.rmtree(root)
    elif change == "replaced":
        root.rename(tmp_path / "away")
        other.rename(root)
    else:  # as tar, rsync and cp -a leave it
        put(root, "new.ckpt")
        os.utime(root, ns=(before.st_atime_ns, before.st_mtime_ns))
    expected = {
        "add": ("a.ckpt", "new.ckpt", "sub/b.ckpt"),
        "remove": ("sub/b.ckpt",),
        "rename": ("c.ckpt", "sub/b.ckpt"),
        "add below": ("a.ckpt", "sub/b.ckpt", "sub/new.ckpt"),
        "new folder": ("a.ckpt", "more/new.ckpt", "sub/b.ckpt"),
        "gone": (),
        "replaced": ("z.ckpt",),
        "kept time": ("a.ckpt", "new.ckpt", "sub/b.ckpt"),
    }
    assert tree(root).files == expected[change]


def test_links_are_followed_anew(tmp_path: Path, old: None) -> None:
    root, away = put(tmp_path / "m", "a.ckpt"), put(tmp_path / "away", "x.ckpt", "d/y.ckpt")
    (root / "file.ckpt").symlink_to(away / "x.ckpt")
    (root / "folder").symlink_to(away / "d")
    (root / "nowhere.ckpt").symlink_to(tmp_path / "nothing")
    assert tree(root).files == ("a.ckpt", "file.ckpt", "folder/y.ckpt")
    (away / "x.ckpt").unlink()
    assert tree(root).files == ("a.ckpt", "folder/y.ckpt")
    put(tmp_path, "nothing")
    assert tree(root).files == ("a.ckpt", "nowhere.ckpt", "folder/y.ckpt")
    put(away, "d/z.ckpt")
    assert tree(root).files == ("a.ckpt", "nowhere.ckpt", "folder/y.ckpt", "folder/z.ckpt")


def test_links_round_in_circles_and_across_end(tmp_path: Path) -> None:
    put(tmp_path, "a/x.ckpt", "b/y.ckpt")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "b/across").symlink_to(tmp_path / "a")
    assert tree(tmp_path).files == ("a/x.ckpt", "b/y.ckpt", "b/across/x.ckpt")


def test_links_do_not_multiply(tmp_path: Path) -> None:
    folders = [tmp_path / f"f{n}" for n in range(9)]
    for folder in folders:
        put(folder, "x.ckpt")
    for folder in folders:
        for other in folders:
            (folder / f"to-{other.name}").symlink_to(other)
    assert len(tree(tmp_path).files) <= len(folders) * listing.MAX_PATHS


def test_a_tree_too_large_is_cut_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, *(f"d{n}/x.ckpt" for n in range(20)))
    monkeypatch.setattr(listing, "MAX_DIRECTORIES", 5)
    assert 0 < len(tree(tmp_path).files) < 10
    assert "the rest is left out" in caplog.text


def test_pipes_and_names_that_are_no_text(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ckpt")
    (tmp_path / os.fsdecode(b"caf\xe9.ckpt")).write_bytes(b"x")
    assert tree(tmp_path).files == ("caf\udce9.ckpt",)


@pytest.mark.parametrize("name", ["x" * 5000, "a/" * 3000 + "x.ckpt", "\ud800.ckpt", "nul\0.ckpt", "caf\udce9"])
def test_impossible_names_are_just_not_there(tmp_path: Path, name: str) -> None:
    from graphs.errors import ModelMissingError

    folders = Folders.of([put(tmp_path, "checkpoints/a.ckpt")])
    with pytest.raises(ModelMissingError, match="not in the model folders"):
        folders.find("checkpoints", name)
    assert Folders(dirs={"checkpoints": (Path(name),)}).list("checkpoints") == ()


def test_unicode_normal_forms_are_one_name(tmp_path: Path) -> None:
    composed, taken_apart = (unicodedata.normalize(form, "modèle.ckpt") for form in ("NFC", "NFD"))
    folders = Folders.of([put(tmp_path, f"checkpoints/{taken_apart}")])
    assert folders.find("checkpoints", composed) == tmp_path / "checkpoints" / taken_apart
    assert match_name(taken_apart, [composed, composed.upper()]) == Match(composed)


def test_names_that_fit_equally_well_are_not_guessed_between() -> None:
    assert match_name("A.ckpt", ["a.ckpt", "sub/a.ckpt"]) == Match("a.ckpt")
    assert match_name("sub\\A.ckpt", ["sub/a.ckpt", "sub/A.CKPT"]) == Match(candidates=("sub/a.ckpt", "sub/A.CKPT"))
    assert match_name("x/a.ckpt", ["a.ckpt", "b.ckpt"]) == Match("a.ckpt", is_elsewhere=True)
    assert match_name("c.ckpt", ["a.ckpt", "b.ckpt"]) == Match()


def test_embeddings_of_one_name(tmp_path: Path) -> None:
    one = put(tmp_path / "1", "embeddings/e.bin", "embeddings/e.pt")
    two = put(tmp_path / "2", "embeddings/e.safetensors")
    assert Folders.of([one, two]).embeddings() == {"e": one / "embeddings/e.pt"}
    assert Folders.of([two, one]).embeddings() == {"e": two / "embeddings/e.safetensors"}


def test_the_same_tree_object_means_the_same_files(tmp_path: Path, old: None) -> None:
    """Lists made of trees are remembered by the trees' identity."""
    folders = Folders.of([put(tmp_path, "loras/a.pt")])
    assert folders.list("loras") is folders.list("loras")
    put(tmp_path, "loras/b.pt")
    assert folders.list("loras") == ("a.pt", "b.pt")
    assert isinstance(tree(tmp_path / "loras"), Tree)


def test_a_listing_lists_only_the_kinds_that_are_asked_for(tmp_path: Path, walks: list[str]) -> None:
    root, pictures = put(tmp_path, "loras/a.pt", "vae/v.pt"), put(tmp_path / "in", "a.png", "s/b.png")
    files = Folders.of([root], input_dir=pictures).files
    assert files["loras"] == ("a.pt",)
    assert [Path(path).name for path in walks] == ["loras"]
    assert files["input"] == ("a.png", "s/b.png")  # also what lies in sub-folders, which a widget may name
    assert "vae" in files
    assert "pictures" not in files
    assert {"loras", "input", "checkpoints"} <= set(files)
    assert "input" not in Folders.of([tmp_path]).files
