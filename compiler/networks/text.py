"""CLIP's text encoders in the key layout of transformers, as Stable Diffusion 1 checkpoints carry the one of theirs.

Keys without "cond_stage_model.transformer."; compiler.models.open_clip_names renames the layout of open_clip to it.
Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision (2021); the key layout and
shapes of the published checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compiler.networks.attention import attend
from compiler.networks.shapes import Shapes

END_TOKEN = 49407


@dataclass(frozen=True)
class TextConfig:
    """heads = width / 64, as every published CLIP text encoder has it (one below a width of 128).

    stop_layer: -1 the last, -2 the last but one; one that lies before the first layer means the last, behind the final
    norm, as in ComfyUI. norm: the hidden states are taken behind the final layer norm. projection: width of the pooled
    vector behind text_projection, 0 for none.
    """

    width: int = 768
    layers: int = 12
    inner: int = 3072
    vocabulary: int = 49408
    positions: int = 77
    stop_layer: int = -1
    activation: str = "quick_gelu"  # or "gelu"
    norm: bool = True
    projection: int = 0

    @property
    def heads(self) -> int:
        return max(1, self.width // 64)

    @property
    def stop_index(self) -> int:
        """The layer whose output is taken, counted from 0."""
        index = self.layers + self.stop_layer
        return index if self.stops else self.layers - 1

    @property
    def stops(self) -> bool:
        """Whether stop_layer names a layer that there is."""
        return 0 <= self.layers + self.stop_layer < self.layers


def text_config(text: Shapes) -> TextConfig:
    """Raises CheckpointError where the shapes are of no CLIP text encoder. Layer, norm and activation leave no trace
    in the shapes: the family sets them (compiler.families)."""
    vocabulary, width = text.of("text_model.embeddings.token_embedding.weight", 2)
    projection = "text_projection.weight"
    config = TextConfig(
        width=width,
        layers=len(text.numbers(r"text_model\.encoder\.layers\.(\d+)\.")),
        inner=text.of("text_model.encoder.layers.0.mlp.fc1.weight", 2)[0],
        vocabulary=vocabulary,
        positions=text.of("text_model.embeddings.position_embedding.weight", 2)[0],
        projection=text.of(projection, 2)[0] if projection in text.shapes else 0,
    )
    if width % config.heads:
        raise text.odd("text_model", "a width that is a multiple of 64", str(width))
    return config


class Table(nn.Module):
    """An embedding table. nn.Embedding draws random weights, for which torch imports its compiler even on meta."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width))

    def forward(self, rows: Tensor) -> Tensor:
        return F.embedding(rows, self.weight)


class TextAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = attend(self.q_proj(x), self.k_proj(x), self.v_proj(x), self.heads, causal=True)
        out: Tensor = self.out_proj(h)
        return out


class TextLayer(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.quick = config.activation == "quick_gelu"
        self.self_attn = TextAttention(config.width, config.heads)
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(config.width, config.inner), "fc2": nn.Linear(config.inner, config.width)}
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + torch.as_tensor(self.self_attn(self.layer_norm1(x)))
        h = self.mlp["fc1"](self.layer_norm2(x))
        h = h * torch.sigmoid(1.702 * h) if self.quick else F.gelu(h)
        return x + torch.as_tensor(self.mlp["fc2"](h))


class TextModel(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict(
            {
                "token_embedding": Table(config.vocabulary, config.width),
                "position_embedding": Table(config.positions, config.width),
            }
        )
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(TextLayer(config) for _ in range(config.layers))})
        self.final_layer_norm = nn.LayerNorm(config.width)


class ClipText(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.text_model = TextModel(config)
        if config.projection:
            self.text_projection = nn.Linear(config.width, config.projection, bias=False)

    def _layers(self) -> list[TextLayer]:
        layers = self.text_model.encoder["layers"]
        assert isinstance(layers, nn.ModuleList)
        return [layer for layer in layers if isinstance(layer, TextLayer)]

    def forward(self, tokens: Tensor, override: Tensor, override_mask: Tensor) -> tuple[Tensor, Tensor]:
        """tokens: (B, 77) int64; override: (B, 77, W), taken in place of the token's vector where override_mask
        (B, 77, 1) is 1.

        Returns hidden (B, 77, W): the chosen layer, and pooled (B, W or the projection's width): the last layer behind
        the final layer norm, at the first end token.
        """
        model, config = self.text_model, self.config
        x = model.embeddings["token_embedding"](tokens)
        x = torch.where(override_mask > 0.5, override, x)
        x = x + model.embeddings["position_embedding"].weight[None]  # type: ignore[index]
        states = [x]
        for layer in self._layers():
            states.append(layer(states[-1]))
        last: Tensor = model.final_layer_norm(states[-1])
        hidden = states[config.stop_index + 1]
        if config.norm or not config.stops:
            hidden = last if config.stop_index == config.layers - 1 else model.final_layer_norm(hidden)
        end = (tokens == END_TOKEN).to(torch.int64).argmax(dim=-1)
        pooled = torch.gather(last, 1, end[:, None, None].expand(-1, 1, config.width)).squeeze(1)
        return hidden, self.text_projection(pooled) if config.projection else pooled
