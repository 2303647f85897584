"""PNG, APNG and WebP files that carry a workflow, and files that do not."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from graphs.errors import WorkflowError
from graphs.reading import picture
from graphs.workflow import ReadOptions, read_workflow, to_api
from tests.graphs.ui_files import loader, png, ui, webp

API = {"1": {"class_type": "VAELoader", "inputs": {"vae_name": "ä.safetensors"}}}
UI = ui([loader(7)], [])
PROMPT, WORKFLOW = json.dumps(API).encode(), json.dumps(UI).encode()


def test_the_prompt_is_what_made_the_picture() -> None:
    graph = read_workflow(png([(b"tEXt", b"prompt\0" + PROMPT), (b"tEXt", b"workflow\0" + WORKFLOW)]))
    assert list(graph.nodes) == ["1"]
    assert graph["1"].inputs == {"vae_name": "ä.safetensors"}
    assert graph.workflow == UI


def test_the_ui_form_on_request_or_alone() -> None:
    both = png([(b"tEXt", b"prompt\0" + PROMPT), (b"tEXt", b"workflow\0" + WORKFLOW)])
    assert list(read_workflow(both, options=ReadOptions(prefer_ui=True)).nodes) == ["7"]
    assert list(read_workflow(png([(b"tEXt", b"workflow\0" + WORKFLOW)])).nodes) == ["7"]


def test_a_damaged_prompt_leaves_the_workflow() -> None:
    both = png([(b"tEXt", b"prompt\0{"), (b"tEXt", b"workflow\0" + WORKFLOW)])
    assert list(read_workflow(both).nodes) == ["7"]


@pytest.mark.parametrize(
    "chunk",
    [
        (b"iTXt", b"prompt\0\0\0en\0\0" + json.dumps(API, ensure_ascii=False).encode()),
        (b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(PROMPT)),
        (b"zTXt", b"prompt\0\0" + zlib.compress(PROMPT)),
        (b"comf", b"prompt\0" + PROMPT),
        (b"tEXt", b"Prompt\0" + json.dumps(json.dumps(API)).encode()),
    ],
)
def test_every_kind_of_chunk(chunk: tuple[bytes, bytes]) -> None:
    assert read_workflow(png([chunk]))["1"].inputs["vae_name"] == "ä.safetensors"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
@pytest.mark.parametrize("word", [b"prompt:", b"Prompt:"])
def test_webp(order: str, prefix: bytes, word: bytes) -> None:
    file = webp([(0x010F, b"workflow:" + WORKFLOW + b"\0"), (0x0110, word + PROMPT + b"\0")], order, prefix)
    graph = read_workflow(file)
    assert list(graph.nodes) == ["1"]
    assert graph.workflow == UI


def test_files_that_pillow_writes(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", json.dumps(API))
    info.add_itxt("workflow", json.dumps(UI), zip=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    exif = Image.Exif()
    exif[0x0110] = f"prompt:{json.dumps(API)}"
    Image.new("RGB", (4, 4)).save(tmp_path / "a.webp", exif=exif)
    assert read_workflow(tmp_path / "a.png").workflow == UI
    assert list(read_workflow(tmp_path / "a.webp").nodes) == ["1"]


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (png([]), "carries no workflow"),
        (png([(b"tEXt", b"Title\0hello")]), "title"),
        (png([(b"tEXt", b"parameters\0a cat\nSteps: 20, Sampler: Euler")]), "another program"),
        (png([(b"tEXt", b"prompt\0{]")]), "cannot be read"),
        (png([(b"zTXt", b"prompt\0\0" + b"no zlib")]), "damaged"),
        (webp([]), "carries no workflow"),
        (b"", "empty"),
        (b"\xff\xd8\xff\xe0 a JPEG", "not utf-8"),
        (b"a cat\nSteps: 20, Sampler: Euler", "another program"),
        (b"[1, 2", "line 1, column 6"),
        (b"[]", "no workflow"),
        (b"{}", "no workflow"),
        (b"17", "no workflow"),
    ],
)
def test_files_without_a_workflow(file: bytes, says: str) -> None:
    with pytest.raises(WorkflowError) as error:
        read_workflow(file)
    assert says in str(error.value)


def test_texts_that_unpack_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "MAX_TEXT", 1000)
    with pytest.raises(WorkflowError, match="unpacks to more"):
        read_workflow(png([(b"zTXt", b"prompt\0\0" + zlib.compress(b"x" * 100_000))]))
    with pytest.raises(WorkflowError, match="100007 bytes"):
        read_workflow(png([(b"tEXt", b"prompt\0" + b"x" * 100_000)]))


def test_a_cut_off_picture_ends() -> None:
    """With an error, or with the workflow where all of its text was there."""
    whole = png([(b"tEXt", b"prompt\0" + PROMPT)])
    expected, read = to_api(read_workflow(whole)), []
    for length in range(8, len(whole)):
        try:
            found = to_api(read_workflow(whole[:length]))
        except WorkflowError:
            continue
        assert found == expected
        read.append(length)
    assert read == list(range(min(read), len(whole)))
    assert min(read) >= whole.index(PROMPT) + len(PROMPT)


def test_a_chunk_that_claims_more_than_there_is() -> None:
    file = picture.PNG + struct.pack(">I", 50) + b"tEXtprompt\0{}"
    assert picture.picture_texts(io.BytesIO(file)) == {"prompt": "{}"}


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(WorkflowError, match=r"a\.json: cannot be read"):
        read_workflow(path)
    path.write_text("{")
    with pytest.raises(WorkflowError) as error:
        read_workflow(path)
    assert error.value.where == str(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_of_json_files(encoding: str) -> None:
    data = json.dumps(API, ensure_ascii=False).encode(encoding)
    assert read_workflow(data)["1"].inputs["vae_name"] == "ä.safetensors"
