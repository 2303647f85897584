"""Write graphs/schemas.json from servers' /object_info answers: python tools/make_schemas.py DUMP [OLDER DUMP ...]

The file holds facts: names, types, defaults, ranges, options, widget order, outputs. Prose (tooltips, descriptions)
stays out, and lists of files on the dumping server's disk become the name of their model folder. One class per line,
sorted, so that a new version shows as a readable diff and a reader may parse only the lines it needs. Of several dumps
the first that knows a class wins: later ones are of older servers and add the classes that were removed since. What is
newer than every dump stands in tools/schemas_by_hand.json in the shape of the result.
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
    "Load3DAdvanced.model_file": "input",
    "LTXAVTextEncoderLoader.text_encoder": "text_encoders",
    "FrameInterpolationModelLoader.model_name": "frame_interpolation",
    "LoadBackgroundRemovalModel.bg_removal_name": "background_removal",
    "LoadDA3Model.model_name": "geometry_estimation",
    "LoadMoGeModel.model_name": "geometry_estimation",
    "LoadMediaPipeFaceLandmarker.model_name": "detection",
    "OpticalFlowLoader.model_name": "optical_flow",
    "LoadImageDataSetFromFolder.folder": "input",
    "LoadImageTextDataSetFromFolder.folder": "input",
    "LoadVideoDataSetFromFolder.folder": "input",
    "LoadVideoTextDataSetFromFolder.folder": "input",
    "LoadTrainingDataset.folder_name": "output",
}
# Choices of such combos that are no files.
FIXED_CHOICES = {
    "VAELoader.vae_name": ["pixel_space"],
    "TrainLoraNode.existing_lora": ["[None]"],
    "Load3D.model_file": ["none"],
    "Load3DAdvanced.model_file": ["none"],
}
PROSE = frozenset({"tooltip", "display", "display_name", "advanced", "image_folder", "placeholder", "gradient_stops"})
WIDGETS = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"})
# The order of a dynamic combo's members is the order of their values in a file. Sorted dumps have lost it; it is
# read off workflow files, which name the members. What no file shows is marked "unordered" and never guessed.
MEMBER_ORDERS: dict[str, list[list[str]]] = {
    "CreateCameraInfo.mode": [["yaw", "pitch", "distance"], ["position_x", "position_y", "position_z"]],
    "DA3Render.output": [["normalization", "apply_sky_clip"]],
    "GLSLShader.size_mode": [["width", "height"]],
    "RemeshMesh.sign_mode": [["qef", "drop_inverted_components", "drop_enclosed_components"], ["qef", "manifold"]],
    "ResizeImageMaskNode.resize_type": [["width", "height", "crop"], ["match", "crop"]],
    "RotateMesh.mode": [["angle_x", "angle_y", "angle_z"]],
    "SaveImageAdvanced.format": [["bit_depth", "input_color_space"]],
    "SaveVideo.encoding": [["crf", "color_space"]],
    "TextGenerate.sampling_mode": [
        ["temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed", "presence_penalty"]
    ],
    "TextGenerateLTX2Prompt.sampling_mode": [
        ["temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed", "presence_penalty"]
    ],
    "WanInfiniteTalkToVideo.mode": [["audio_encoder_output_2", "mask_1", "mask_2"]],
}
BY_HAND = Path(__file__).with_name("schemas_by_hand.json")
OUT = Path(__file__).parents[1] / "graphs" / "schemas.json"


def main(dumps: list[Path], out: Path) -> None:
    classes: dict[str, Json] = {}
    for dump in reversed(dumps):
        classes.update({name: facts(name, info) for name, info in json.loads(dump.read_text("utf-8")).items()})
    classes.update(json.loads(BY_HAND.read_text("utf-8")))
    lines = [f"{json.dumps(name)}: {_compact(classes[name])}" for name in sorted(classes)]
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
    for flag in ("output_node", "deprecated", "accept_all_inputs"):
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
    given = spec[1] if len(spec) > 1 else {}
    options = {k: v for k, v in given.items() if k not in PROSE and v is not None}
    options = {k: v for k, v in options.items() if v is not False or k == "default"}
    if "remote" in options:
        options["remote"] = True  # that it is, not from where
    if isinstance(kind, list):
        kind, options["options"] = "COMBO", kind
    folder = FOLDERS.get(f"{class_type}.{name}") or FOLDERS.get(name)
    if kind == "COMBO" and folder:
        options["folder"] = folder
        options.pop("options", None)
        if fixed := FIXED_CHOICES.get(f"{class_type}.{name}"):
            options["options"] = fixed
    elif kind != "COMBO" and isinstance(options.get("options"), list):
        options["options"] = [_choice(class_type, name, choice) for choice in options["options"]]
    if isinstance(options.get("template"), dict) and "input" in options["template"]:
        options["template"] = {**options["template"], "input": _members(class_type, name, options["template"]["input"])}
    return [kind, options] if options else [kind]


def _choice(class_type: str, name: str, choice: Json) -> Json:
    """One entry of a dynamic combo: its key and the facts of the inputs that it shows."""
    if not isinstance(choice, dict) or "inputs" not in choice:
        return choice
    members = _members(class_type, name, choice["inputs"])
    entry = {"key": choice["key"], "inputs": members}
    names = [n for section in members.values() for n, spec in section.items() if spec[0] in WIDGETS]
    if len(names) > 1 and not any(known and set(names) <= set(known) for known in _orders(class_type, name)):
        entry["unordered"] = True
    return entry


def _orders(class_type: str, name: str) -> list[list[str]]:
    return MEMBER_ORDERS.get(f"{class_type}.{name}", MEMBER_ORDERS.get(f"{class_type}.{name.rpartition('.')[2]}", []))


def _members(class_type: str, name: str, sections: Json) -> Json:
    found: dict[str, Json] = {}
    for section in ("required", "optional"):
        members = sections.get(section) or {}
        order = next((o for o in _orders(class_type, name) if set(members) <= set(o)), list(members))
        if members:
            found[section] = {n: input_facts(class_type, f"{name}.{n}", members[n]) for n in order if n in members}
    return found


def _compact(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main([Path(name) for name in sys.argv[1:]], OUT)
