"""The full-size model files of the parity cases: the tag of each one's streams, its layout, the hash of its bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.parity.layouts import lora_kinds as kinds
from tests.parity.layouts.layout import Draw, Layout
from tests.parity.layouts.lora import lora_sd15, lora_sdxl
from tests.parity.layouts.text import clip, embedding, open_clip
from tests.parity.layouts.unet import REFINER, SD2, SD15, SD15_INPAINT, SDXL, UNet, control, unet
from tests.parity.layouts.vae import rrdb, taesd_decoder, taesd_encoder, vae

GROUPS = ("sd15", "sdxl", "sd2")  # each has its own `make` targets, for its size on disk and its time
UNET, VAE, CLIP = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."


def sd1(s: Layout, shape: UNet) -> None:
    unet(s, UNET, shape)
    vae(s, VAE)
    clip(s, CLIP + "transformer.", 768, 12, 3072)


def sd2(s: Layout, *, predicts_v: bool) -> None:
    unet(s, UNET, SD2)
    vae(s, VAE)
    open_clip(s, CLIP + "model.", 1024, 24)
    # the deviation of this bias is what ComfyUI tells v-prediction from eps by: above or below 0.09
    s.tensors[UNET + "output_blocks.11.1.transformer_blocks.0.norm1.bias"] = Draw((320,), 0.15 if predicts_v else 0.05)


def sdxl(s: Layout) -> None:
    unet(s, UNET, SDXL)
    vae(s, VAE)
    clip(s, "conditioner.embedders.0.transformer.", 768, 12, 3072)
    open_clip(s, "conditioner.embedders.1.model.", 1280, 32)


def refiner(s: Layout) -> None:
    unet(s, UNET, REFINER)
    vae(s, VAE)
    open_clip(s, "conditioner.embedders.0.model.", 1280, 32)


@dataclass(frozen=True)
class File:
    """One file: the tag its streams are keyed by, its layout, its group. sha256: of the bytes; empty for pickles.

    prefix: stands before a key in the name of its stream, for files that are a part of another one.
    """

    tag: str
    build: Callable[[Layout], None]
    sha256: str = ""
    group: str = "sd15"
    prefix: str = ""


FILES: dict[str, File] = {
    "embeddings/emb_a.safetensors": File(
        "emb_a",
        lambda s: embedding(s, emb_params=(2, 768)),
        "320a2337073afb2042cafd28e128b8f0a48ab7c3be810f11721ee3e813e0e25c",
    ),
    "embeddings/emb_b.pt": File("emb_b", lambda s: embedding(s, **{"*": (3, 768)})),
    "controlnet/control_sd15.safetensors": File(
        "control_sd15",
        lambda s: control(s, "", SD15),
        "8c783ff303f22cceaebc15e653ae397119c09e04861308bc8e24d4a139154602",
    ),
    "loras/lora_sd15.safetensors": File(
        "lora_sd15", lora_sd15, "b14d12d1a5120a8e5fa15d411dc39c7503c94eb675db09c8d241e8db0b05d760"
    ),
    "vae/vae_alt.safetensors": File(
        "vae_alt", lambda s: vae(s, ""), "1c2421ad1f6a58ca12d109dbefbb6d4887411e41938ab7df2dd2595940b6f15a"
    ),
    "vae_approx/taesd_encoder.safetensors": File(
        "taesd_encoder", taesd_encoder, "7324c228671cd9dc0c246cfc273333a4e4275857d4edd5517269bd5ef359c00c"
    ),
    "vae_approx/taesd_decoder.safetensors": File(
        "taesd_decoder", taesd_decoder, "5c4d924d25d18b58aa80fc485bc5e12bea5f382a587768b950965027ac2b7e1b"
    ),
    "upscale_models/RealESRGAN_x4plus.safetensors": File(
        "realesrgan", rrdb, "6f5c9c0abba46a2e123d44d2316de22fa89ee82be005aa9df763f1546ff9c810"
    ),
    "upscale_models/RealESRGAN_x4plus.pth": File("realesrgan", rrdb),
    "checkpoints/sd15.safetensors": File(
        "sd15", lambda s: sd1(s, SD15), "b1870ef9e921ed15b290e4e951c99f159c55f05fc01628feb14e4fc6cd88055d"
    ),
    "checkpoints/sd15_inpaint.safetensors": File(
        "sd15_inpaint",
        lambda s: sd1(s, SD15_INPAINT),
        "8fec0c17013f0542ba849f80786e7a3366b610411ee87e66104cc9f988f53132",
    ),
    "checkpoints/sd15_b.safetensors": File(
        "sd15_b", lambda s: sd1(s, SD15), "9df09837c775227f18299179927c032547d85f7acd0106488d61755d51f83adb"
    ),
    "loras/loha_sd15.safetensors": File(
        "loha",
        lambda s: kinds.loha(s, decomposed=True),
        "5c1ce16ccf70d8e7e4c8172e3783ed30a4d342f24dda2b29dfc10fad06c062c8",
    ),
    "loras/loha_flat_sd15.safetensors": File(
        "loha_flat",
        lambda s: kinds.loha(s, decomposed=False),
        "27120593b068764144eeb6567e49c0cd254ac6af0bcb1ad81f9f3352a22ddf09",
    ),
    "loras/lokr_sd15.safetensors": File(
        "lokr", lambda s: kinds.lokr(s, whole=False), "ed7c53c45c302287725575615227973cb4eaec5e792e831adb227e08a5b41d83"
    ),
    "loras/lokr_full_sd15.safetensors": File(
        "lokr_full",
        lambda s: kinds.lokr(s, whole=True),
        "b9308356192f5790f834ef7d36761bcd24e3adbc9eb3aab6ded766a5fe76672f",
    ),
    "loras/locon_sd15.safetensors": File(
        "locon", kinds.locon, "4961d924e95d7c288744de24836957b88c4f438d8ac80c2ed65b7cc301ab1b0b"
    ),
    "loras/locon_mid_sd15.safetensors": File(
        "locon_mid",
        lambda s: kinds.locon(s, mid=True),
        "e3a625f4a9cb767b701569afe5fb29f35d05fe295c142ec8006de3947716f93a",
    ),
    "loras/lcm_sd15.safetensors": File(
        "lcm",
        lambda s: kinds.locon(s, rank=64, alpha=8.0),
        "904d40d0c735c1a64560b62ba4180d56209ffef1b2a4b8003b0ed12e1a1b3f62",
    ),
    "loras/dora_out_sd15.safetensors": File(
        "dora_out",
        lambda s: kinds.dora(s, by_output=True),
        "72bb27578b39125a4de960dc3ab47d537c48bbc1c679c115abd535c67fe5d569",
    ),
    "loras/dora_in_sd15.safetensors": File(
        "dora_in",
        lambda s: kinds.dora(s, by_output=False),
        "051de233b27e5e581231a076813a4d06ca268aeb28cc3c201f40fb74bc548b47",
    ),
    "loras/diffusers_old_sd15.safetensors": File(
        "diff_old", kinds.old_diffusers, "2b7d4d0f8f4d4ca3ee994bb8db0811ae9869d47775a0e490c9e6310c6a643a15"
    ),
    "loras/peft_sd15.safetensors": File(
        "peft", kinds.peft, "b144995a45a08ed813bf4c89860bece4fa919a74a60cd6649bf29e9c5d3999e1"
    ),
    "loras/glora_sd15.safetensors": File(
        "glora", kinds.glora, "d5782da8d899f10c99987233a73c8df965f1da11465ba64e54652abcb773a775"
    ),
    "loras/oft_sd15.safetensors": File(
        "oft", kinds.oft, "4ef79bfe6d9d28783613c85c4d19c5c89d9772f4f5cc9b7ec30cfd711014572a"
    ),
    "loras/fulldiff_sd15.safetensors": File(
        "fulldiff", kinds.full_difference, "bb2fd43b1c63e5a8a96a2c264537a7408027bdb6e09d559944e0b447f1e96603"
    ),
    "checkpoints/sdxl.safetensors": File(
        "sdxl", sdxl, "8d8914d7c0398e6a53221fd0e6f54258b6fc54e6dfcf881eabd93e44644a58a8", group="sdxl"
    ),
    "checkpoints/sdxl_refiner.safetensors": File(
        "sdxl_refiner", refiner, "6a475d0f78c3a90f4d6b0160b1313e5f035b98c7f02159cf1528c198781745da", group="sdxl"
    ),
    "loras/lora_sdxl.safetensors": File(
        "lora_sdxl", lora_sdxl, "68c530b0aaa585c2908a0cc9f9c17e1fc06d7ed55fa47b52c8886246affcb446", group="sdxl"
    ),
    "embeddings/emb_xl.safetensors": File(
        "emb_xl",
        lambda s: embedding(s, clip_g=(2, 1280), clip_l=(2, 768)),
        "119782e5419a602aa80e1856374e8c86f31394e51821da0ed6225ad5a9d801b2",
        group="sdxl",
    ),
    "text_encoders/clip_l.safetensors": File(
        "sd15",
        lambda s: clip(s, "", 768, 12, 3072, position_ids=False),
        "db8049f1727041a86669ed8eea7c7f3cec7a78647accc51f122d73fbbdd35706",
        group="sdxl",
        prefix="cond_stage_model.transformer.",
    ),
    "text_encoders/clip_g.safetensors": File(
        "clip_g",
        lambda s: clip(s, "", 1280, 32, 5120, 1280, position_ids=False),
        "2304afb545e2b90205085c221be931420b22e6d94c231ee512de44d1066face3",
        group="sdxl",
    ),
    "checkpoints/sd20_base.safetensors": File(
        "sd20_base",
        lambda s: sd2(s, predicts_v=False),
        "014c00ea74b1d1948441cbe3a7dc94a958bad66ba697d24ae32bec2594a9c95f",
        group="sd2",
    ),
    "checkpoints/sd21_768v.safetensors": File(
        "sd21_v",
        lambda s: sd2(s, predicts_v=True),
        "3696116d52cd6d4b73729477f305cced205c0a115bf269be152776e5d28d3407",
        group="sd2",
    ),
}


def layout_of(name: str) -> Layout:
    layout = Layout()
    FILES[name].build(layout)
    return layout
