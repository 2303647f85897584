"""Workflows on the demo model, each the default one that ships with a few nodes more, and what it is asked to draw."""

from __future__ import annotations

import numpy as np

from tests.e2e.measures import Caption, contours, rendered
from tests.e2e.studio import SIDE, Nodes, Picture, Studio, default, node
from training.scenes import Scene, Thing

STEPS = 12  # enough to show what is asked for; the slow tests take 20
DEFAULT = default()
PASTEL = default(**{"4": {"ckpt_name": "pastel.safetensors"}})

# Four shapes where chance puts none.
SPOTS = ((48, 50), (200, 66), (76, 196), (206, 200))
KEPT_COLUMNS = 17  # of the latent's 32: what the mask of `inpainting` leaves as it is


def outlines(strength: float = 1.0) -> Nodes:
    loader = node(
        "LoraLoader", model=["4", 0], clip=["4", 1], lora_name="outlines.safetensors", strength_model=strength,
        strength_clip=strength,
    )  # fmt: skip
    return default(**{"10": loader, "3": {"model": ["10", 0]}, "6": {"clip": ["10", 1]}, "7": {"clip": ["10", 1]}})


def spots(shape: str, colour: str, background: str) -> Scene:
    things = tuple(Thing(shape, colour, x=x, y=y, radius=33) for x, y in SPOTS)
    return Scene("many", things, background, counts=(4,))


def controlled(studio: Studio, scene: Scene) -> Nodes:
    """The scene's contours through a ControlNet."""
    hint = studio.put("contours.png", contours(scene))
    return default(**{
        "10": node("LoadImage", image=hint),
        "11": node("ControlNetLoader", control_net_name="contours.safetensors"),
        "12": node("ControlNetApplyAdvanced", positive=["6", 0], negative=["7", 0], control_net=["11", 0],
                   image=["10", 0], strength=1.0, start_percent=0.0, end_percent=1.0),
        "3": {"positive": ["12", 0], "negative": ["12", 1]},
    })  # fmt: skip


def from_picture(studio: Studio, scene: Scene) -> Nodes:
    """Sampling starts from the scene, as training draws it."""
    photo = studio.put("photo.png", rendered(scene))
    return default(**{
        "10": node("LoadImage", image=photo),
        "11": node("VAEEncode", pixels=["10", 0], vae=["4", 2]),
        "3": {"latent_image": ["11", 0], "denoise": 0.6},
    })  # fmt: skip


INPAINTED = Caption(
    "a red circle on the left and a blue star on the right on a white background",
    Scene("pair", (Thing("circle", "red"), Thing("star", "blue")), "white", relation="", counts=(1, 1)),
)


_LEFT = Scene("one", (Thing("circle", "red", x=70, y=128, radius=40),), "white", counts=(1,))


def kept(picture: Picture) -> bool:
    """Whether the left of the picture that `inpainting` starts from is as it was, but for the VAE's losses."""
    left = 8 * KEPT_COLUMNS - 24
    return float(np.abs(picture - rendered(_LEFT))[:, :left].mean()) < 0.02


def inpainting(studio: Studio) -> Nodes:
    """A red circle on the left of white; the right is transparent, which is what is to be painted."""
    alpha = np.full((SIDE, SIDE), 255, np.uint8)
    alpha[:, 8 * KEPT_COLUMNS :] = 0
    photo = studio.put("masked.png", rendered(_LEFT), alpha)
    return default(**{
        "10": node("LoadImage", image=photo),
        "11": node("VAEEncode", pixels=["10", 0], vae=["4", 2]),
        "12": node("SetLatentNoiseMask", samples=["11", 0], mask=["10", 1]),
        "3": {"latent_image": ["12", 0]},
    })  # fmt: skip
