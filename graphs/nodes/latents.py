"""LATENT: empty, resized, saved, loaded. Sizes in the widgets are pixels; the ops turn them into latent units."""

from __future__ import annotations

from graphs.rows import op

ROWS = (
    op("EmptyLatentImage", "empty_latent"),
    op("LatentUpscale", "resize_latent", samples="latent", upscale_method="method"),
    op("LatentUpscaleBy", "scale_latent", samples="latent", upscale_method="method", scale_by="factor"),
    op("LoadLatent", "load_latent", latent="file", pure=False),
    op("SaveLatent", "save_latent", samples="latent"),
)
