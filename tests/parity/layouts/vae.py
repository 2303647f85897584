"""Keys of the picture networks: the VAE of Stable Diffusion, its tiny stand-in TAESD and the RRDB upscaler."""

from __future__ import annotations

from tests.parity.layouts.layout import Layout


def vae(s: Layout, p: str) -> None:
    widths, c = (128, 256, 512, 512), 128
    s.conv(p + "encoder.conv_in", 3, 128)
    for level in range(4):
        for b in range(2):
            _block(s, f"{p}encoder.down.{level}.block.{b}.", c, widths[level])
            c = widths[level]
        if level < 3:
            s.conv(f"{p}encoder.down.{level}.downsample.conv", c, c)
    _middle(s, p + "encoder.mid.")
    s.norm(p + "encoder.norm_out", 512)
    s.conv(p + "encoder.conv_out", 512, 8, gain=8)
    s.conv(p + "decoder.conv_in", 4, 512)
    _middle(s, p + "decoder.mid.")
    c = 512
    for level in (3, 2, 1, 0):
        for b in range(3):
            _block(s, f"{p}decoder.up.{level}.block.{b}.", c, widths[level])
            c = widths[level]
        if level:
            s.conv(f"{p}decoder.up.{level}.upsample.conv", c, c)
    s.norm(p + "decoder.norm_out", 128)
    s.conv(p + "decoder.conv_out", 128, 3, gain=0.6)
    s.conv(p + "quant_conv", 8, 8, 1)
    s.conv(p + "post_quant_conv", 4, 4, 1)


def _block(s: Layout, p: str, n_in: int, n_out: int) -> None:
    s.norm(p + "norm1", n_in)
    s.conv(p + "conv1", n_in, n_out)
    s.norm(p + "norm2", n_out)
    s.conv(p + "conv2", n_out, n_out, gain=0.3)
    if n_in != n_out:
        s.conv(p + "nin_shortcut", n_in, n_out, 1)


def _middle(s: Layout, p: str) -> None:
    _block(s, p + "block_1.", 512, 512)
    _block(s, p + "block_2.", 512, 512)
    s.norm(p + "attn_1.norm", 512)
    for name in "qkv":
        s.conv(f"{p}attn_1.{name}", 512, 512, 1)
    s.conv(p + "attn_1.proj_out", 512, 512, 1, gain=0.3)


def taesd_encoder(s: Layout) -> None:
    s.conv("0", 3, 64, gain=1.4)
    _taesd_blocks(s, 1, 1)
    for n in (2, 6, 10):
        s.conv(str(n), 64, 64, bias=False)
        _taesd_blocks(s, n + 1, 3)
    s.conv("14", 64, 4)


def taesd_decoder(s: Layout) -> None:
    """Numbers left out are layers without weights: clamp, ReLU, upsample."""
    s.conv("1", 4, 64, gain=1.4)
    for n in (3, 8, 13):
        _taesd_blocks(s, n, 3)
        s.conv(str(n + 4), 64, 64, bias=False)
    _taesd_blocks(s, 18, 1)
    s.conv("19", 64, 3, gain=0.3, offset=0.5)


def _taesd_blocks(s: Layout, first: int, count: int) -> None:
    for n in range(first, first + count):
        for layer in (0, 2, 4):
            s.conv(f"{n}.conv.{layer}", 64, 64, gain=0.3 if layer == 4 else 1.4)


def rrdb(s: Layout) -> None:
    """RealESRGAN_x4plus."""
    s.conv("conv_first", 3, 64)
    for block in range(23):
        for dense in (1, 2, 3):
            for n in range(1, 6):
                s.conv(f"body.{block}.rdb{dense}.conv{n}", 64 + 32 * (n - 1), 64 if n == 5 else 32)
    for key in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
        s.conv(key, 64, 64)
    s.conv("conv_last", 64, 3, gain=0.03, offset=0.6)
