"""The other kinds of adapter in LoRA files, for Stable Diffusion 1: LyCORIS, DoRA, GLoRA, OFT, diffusers, PEFT."""

from __future__ import annotations

from tests.parity.layouts.layout import Draw, Layout
from tests.parity.layouts.lora import SD15_BLOCKS

RANK = 4  # of the LyCORIS kinds
FACTOR = 8  # LoKr: a weight is a Kronecker product with a matrix of that size


def _linears() -> list[tuple[str, int, int]]:
    """(module in diffusers' names, in, out)."""
    found = []
    places = [(f"{side}_blocks.{block}", c, count) for block, c, count, side in SD15_BLOCKS] + [("mid_block", 1280, 1)]
    for place, c, count in places:
        for a in range(count):
            p = f"{place}.attentions.{a}.transformer_blocks.0."
            for name, context in (("attn1", c), ("attn2", 768)):
                found += [(f"{p}{name}.to_q", c, c), (f"{p}{name}.to_k", context, c), (f"{p}{name}.to_v", context, c)]
                found.append((f"{p}{name}.to_out.0", c, c))
            found += [(p + "ff.net.0.proj", c, 8 * c), (p + "ff.net.2", 4 * c, c)]
    return found


def _convolutions() -> list[tuple[str, int, int]]:
    """3x3, on the way down."""
    found, n_in = [], 320
    for block, c in enumerate((320, 640, 1280, 1280)):
        for r in (0, 1):
            found.append((f"down_blocks.{block}.resnets.{r}.conv1", n_in, c))
            found.append((f"down_blocks.{block}.resnets.{r}.conv2", c, c))
            n_in = c
        if block < 3:
            found.append((f"down_blocks.{block}.downsamplers.0.conv", c, c))
    return found


def _text_linears() -> list[tuple[str, int, int]]:
    found = []
    for i in range(12):
        p = f"text_model.encoder.layers.{i}."
        found += [(f"{p}self_attn.{name}_proj", 768, 768) for name in ("q", "k", "v", "out")]
        found += [(p + "mlp.fc1", 768, 3072), (p + "mlp.fc2", 3072, 768)]
    return found


LINEARS, CONVOLUTIONS, TEXT = _linears(), _convolutions(), _text_linears()


def _kohya(module: str) -> str:
    return "lora_unet_" + module.replace(".", "_")


def loha(s: Layout, *, decomposed: bool) -> None:
    """decomposed: convolutions keep their kernel in a core tensor (CP)."""
    for module, n_in, n_out in LINEARS:
        name = _kohya(module)
        s.constant(name + ".alpha", 2.0)
        for half in ("w1", "w2"):
            s.weight(f"{name}.hada_{half}_a", (n_out, RANK), 0.7, fan=1)
            s.weight(f"{name}.hada_{half}_b", (RANK, n_in), 1.0, fan=n_in**0.5)
    for module, n_in, n_out in CONVOLUTIONS:
        name = _kohya(module)
        s.constant(name + ".alpha", 2.0)
        for half, core in (("w1", "t1"), ("w2", "t2")):
            if decomposed:
                s.weight(f"{name}.hada_{core}", (RANK, RANK, 3, 3), 1.0, fan=RANK)
            columns = n_in if decomposed else 9 * n_in
            s.weight(f"{name}.hada_{half}_a", (RANK, n_out) if decomposed else (n_out, RANK), 0.7, fan=1)
            s.weight(f"{name}.hada_{half}_b", (RANK, columns), 1.0, fan=(9 * n_in) ** 0.5)


def lokr(s: Layout, *, whole: bool) -> None:
    """whole: the second factor is one matrix and the first one two, else the other way round."""
    modules = [(*m, 1) for m in LINEARS] + [(*m, 3) for m in CONVOLUTIONS]
    for module, n_in, n_out, kernel in modules:
        name = _kohya(module)
        s.constant(name + ".alpha", 2.0)
        if whole:
            s.weight(name + ".lokr_w1_a", (FACTOR, 2), 1.0, fan=FACTOR)
            s.weight(name + ".lokr_w1_b", (2, FACTOR), 1.0, fan=1)
            s.weight(name + ".lokr_w2", (n_out // FACTOR, n_in // FACTOR, *((3, 3) if kernel == 3 else ())), 0.5)
        else:
            s.weight(name + ".lokr_w1", (FACTOR, FACTOR))
            if kernel == 3:
                s.weight(name + ".lokr_t2", (RANK, RANK, 3, 3))
            across = (RANK, n_out // FACTOR) if kernel == 3 else (n_out // FACTOR, RANK)
            s.weight(name + ".lokr_w2_a", across, 0.5, fan=1)
            s.weight(name + ".lokr_w2_b", (RANK, n_in // FACTOR))


def locon(s: Layout, *, mid: bool = False, rank: int = 8, alpha: float = 4.0) -> None:
    """LoRA on convolutions too. mid: the kernel in a core tensor."""
    for module, n_in, n_out in LINEARS:
        name = _kohya(module)
        s.constant(name + ".alpha", alpha)
        s.weight(name + ".lora_down.weight", (rank, n_in))
        s.weight(name + ".lora_up.weight", (n_out, rank), 0.3, fan=1)
    for module, n_in, n_out in CONVOLUTIONS:
        name, kernel = _kohya(module), (1, 1) if mid else (3, 3)
        s.constant(name + ".alpha", alpha)
        s.weight(name + ".lora_up.weight", (n_out, rank, 1, 1), 0.3, fan=1)
        s.weight(name + ".lora_down.weight", (rank, n_in, *kernel))
        if mid:
            s.weight(name + ".lora_mid.weight", (rank, rank, 3, 3))


def dora(s: Layout, *, by_output: bool) -> None:
    """by_output: one magnitude an output row, else one an input column."""
    for module, n_in, n_out in LINEARS:
        name = _kohya(module)
        s.constant(name + ".alpha", 4.0)
        s.weight(name + ".lora_down.weight", (8, n_in))
        s.weight(name + ".lora_up.weight", (n_out, 8), 0.3, fan=1)
        norm = 0.5 if module.endswith(("to_out.0", "ff.net.2")) else 1.0
        shape = (n_out, 1) if by_output else (1, n_in)
        s.tensors[name + ".dora_scale"] = Draw(shape, 0.1, norm if by_output else norm * (n_out / n_in) ** 0.5)
    for module, n_in, n_out in CONVOLUTIONS[:6]:
        name = _kohya(module)
        s.constant(name + ".alpha", 4.0)
        s.weight(name + ".lora_down.weight", (8, n_in, 3, 3))
        s.weight(name + ".lora_up.weight", (n_out, 8, 1, 1), 0.3, fan=1)
        norm = 0.3 if module.endswith("conv2") else 1.0
        wide = (n_out, 1, 1, 1) if by_output else (1, n_in, 1, 1)
        s.tensors[name + ".dora_scale"] = Draw(wide, 0.1, norm if by_output else norm * (n_out / n_in) ** 0.5)


def peft(s: Layout) -> None:
    for prefix, modules in (("unet.", LINEARS), ("text_encoder.", TEXT)):
        for module, n_in, n_out in modules:
            s.weight(f"{prefix}{module}.lora_A.weight", (8, n_in))
            s.weight(f"{prefix}{module}.lora_B.weight", (n_out, 8), 0.2, fan=1)


def old_diffusers(s: Layout) -> None:
    """Attention processors' names, and lora_linear_layer in the text encoder."""
    pairs = []
    for module, n_in, n_out in LINEARS:
        if ".to_" in module:
            name = "unet." + module.replace(".to_", ".processor.to_").replace("to_out.0", "to_out") + "_lora"
            pairs.append((name, n_in, n_out))
    for module, n_in, n_out in TEXT:
        if "self_attn" in module:
            pairs.append((f"text_encoder.{module}.lora_linear_layer", n_in, n_out))
    for name, n_in, n_out in pairs:
        s.weight(name + ".down.weight", (8, n_in))
        s.weight(name + ".up.weight", (n_out, 8), 0.2, fan=1)


def glora(s: Layout) -> None:
    for module, n_in, n_out in LINEARS:
        name = _kohya(module)
        s.constant(name + ".alpha", 2.0)
        s.weight(name + ".a1.weight", (n_in, RANK), 0.3, fan=n_in)
        s.weight(name + ".a2.weight", (RANK, n_in), 1.0, fan=1)
        s.weight(name + ".b1.weight", (n_out, RANK), 0.3, fan=1)
        s.weight(name + ".b2.weight", (RANK, n_in))


def oft(s: Layout) -> None:
    for module, _, n_out in LINEARS:
        s.weight(_kohya(module) + ".oft_blocks", (n_out // 40, 40, 40), 0.05, fan=40)
        s.constant(_kohya(module) + ".alpha", 0.2)


def full_difference(s: Layout) -> None:
    """Whole differences of weights, biases and norms, not factored."""
    for module, n_in, n_out in LINEARS[:60]:
        s.weight(_kohya(module) + ".diff", (n_out, n_in), 0.2)
        if module.endswith(("to_out.0", "ff.net.2", "net.0.proj")):
            s.bias(_kohya(module) + ".diff_b", n_out)
    for module, n_in, n_out in CONVOLUTIONS[:6]:
        s.weight(_kohya(module) + ".diff", (n_out, n_in, 3, 3), 0.2)
        s.bias(_kohya(module) + ".diff_b", n_out)
    for norm in ("norm1", "norm2"):
        s.bias(f"lora_unet_down_blocks_0_resnets_0_{norm}.w_norm", 320)
        s.bias(f"lora_unet_down_blocks_0_resnets_0_{norm}.b_norm", 320)
