"""Write graphs/nodes/schemas.json from a server's /object_info answer: python tools/make_schemas.py DUMP [OUT]

The file holds facts: names, types, defaults, ranges, widget order, outputs. Prose (tooltips, descriptions) stays out,
and lists of files on the dumping server's disk become the name of their model folder. One class per line, sorted, so
that a new version shows as a readable diff. Classes and widgets that are newer than the dump stand in the same form in
graphs/nodes/schemas_newer.json, which is written by hand and wins.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

Json = Any

# Input name -> model folder of ComfyUI, for combos that list files. Entries "Class.input" win over plain names.
FOLDERS = {
    "ckpt_name": "checkpoints",
    "lora_name": "loras",
    "vae_name": "vae",
    "clip_name": "text_encoders",
    "clip_name1": "text_encoders",
    "clip_name2": "text_encoders",
    "clip_name3": "text_encoders",
    "clip_name4": "text_encoders",
    "unet_name": "diffusion_models",
    "control_net_name": "controlnet",
    "style_model_name": "style_models",
    "gligen_name": "gligen",
    "hypernetwork_name": "hypernetworks",
    "audio_encoder_name": "audio_encoders",
    "photomaker_model_name": "photomaker",
    "config_name": "configs",
    "CLIPVisionLoader.clip_name": "clip_vision",
    "UpscaleModelLoader.model_name": "upscale_models",
    "LatentUpscaleModelLoader.model_name": "latent_upscale_models",
    "ModelPatchLoader.name": "model_patches",
    "DiffusersLoader.model_path": "diffusers",
    "TrainLoraNode.existing_lora": "loras",
    "LoadImage.image": "input",
    "LoadImageMask.image": "input",
    "LoadImageOutput.image": "output",
    "LoadAudio.audio": "input",
    "LoadVideo.file": "input",
    "LoadLatent.latent": "input",
    "Load3D.model_file": "input",
    "Load3DAnimation.model_file": "input",
}
# Choices of such combos that are no files.
FIXED_CHOICES = {"VAELoader.vae_name": ["pixel_space"], "TrainLoraNode.existing_lora": ["[None]"]}
PROSE = frozenset({"tooltip", "display", "advanced", "multiselect", "remote", "image_folder", "placeholder"})


def main(dump: Path, out: Path) -> None:
    classes = json.loads(dump.read_text("utf-8"))
    lines = [f"{json.dumps(name)}: {_compact(facts(name, classes[name]))}" for name in sorted(classes)]
    out.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
    print(f"{out}: {len(lines)} classes, {out.stat().st_size // 1024} KiB")


def facts(class_type: str, info: dict[str, Json]) -> dict[str, Json]:
    """One /object_info entry without prose, inputs in widget order, file lists replaced by their folder."""
    order = info.get("input_order", {})
    inputs: dict[str, dict[str, Json]] = {}
    for section in ("required", "optional", "hidden"):
        members = info["input"].get(section) or {}
        names = order.get(section) or list(members)
        if members:
            inputs[section] = {n: input_facts(class_type, n, members[n]) for n in names if n in members}
    outputs = ["COMBO" if isinstance(t, list) else t for t in info["output"]]
    entry: dict[str, Json] = {"input": inputs, "output": outputs}
    if info.get("output_name", entry["output"]) != entry["output"]:
        entry["output_name"] = info["output_name"]
    if any(info.get("output_is_list", ())):
        entry["output_is_list"] = info["output_is_list"]
    for flag in ("output_node", "deprecated"):
        if info.get(flag):
            entry[flag] = True
    if info.get("display_name") not in (None, class_type):
        entry["display_name"] = info["display_name"]
    if info.get("category"):
        entry["category"] = info["category"]
    return entry


def input_facts(class_type: str, name: str, spec: Json) -> Json:
    if isinstance(spec, str):
        return spec
    kind = spec[0]
    options = {k: v for k, v in (spec[1] if len(spec) > 1 else {}).items() if k not in PROSE}
    if isinstance(kind, list):
        kind, options["options"] = "COMBO", kind
    folder = FOLDERS.get(f"{class_type}.{name}") or FOLDERS.get(name)
    if kind == "COMBO" and folder:
        options["folder"] = folder
        options.pop("options", None)
        if fixed := FIXED_CHOICES.get(f"{class_type}.{name}"):
            options["options"] = fixed
    return [kind, options] if options else [kind]


def _compact(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    default = Path(__file__).parents[1] / "graphs" / "nodes" / "schemas.json"
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else default)
