"""A helper in training: it reads off the text encoder's output what stands where.

Which of two things is on the left decides little of the diffusion loss, and is learned late. Asked for directly, from
the same vectors that the U-Net attends to, it is learned early. Nothing of this is shipped.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.palette import NAMES
from training.scenes import SHAPES, SIDE

_GRID = 3  # cells along an edge
_ENDS = 4  # the leftmost, rightmost, topmost, bottommost thing
_KINDS = len(NAMES) * len(SHAPES)  # and one more: nothing


class LayoutReader(nn.Module):
    """Learned questions attend to the text, as positions of the U-Net do; each is answered with a kind of thing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.questions = nn.Parameter(torch.randn(_GRID**2 + _ENDS, width) * 0.3)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.answer = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, _KINDS + 1)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (B, 77, W) -> (B, questions, kinds + 1) logits."""
        asked = self.questions.expand(len(hidden), -1, -1)
        seen, _ = self.attention(asked, hidden, hidden, need_weights=False)
        logits: Tensor = self.answer(asked + seen)
        return logits

    def loss(self, hidden: Tensor, things: Tensor) -> Tensor:
        weights = torch.ones(_KINDS + 1, device=hidden.device)
        weights[_KINDS] = 0.3  # most cells are empty
        return F.cross_entropy(self(hidden).float().flatten(0, 1), answers(things).flatten(), weights)


def answers(things: Tensor) -> Tensor:
    """things: (B, N, FIELDS) as training.render.encode gives them -> (B, questions) int64."""
    count, device = len(things), things.device
    kind = (things[:, :, 1] * len(SHAPES) + things[:, :, 0]).long()
    x, y, present = things[:, :, 4], things[:, :, 5], things[:, :, 7] > 0.5
    cells = torch.full((count, _GRID**2 + 1), _KINDS, device=device)  # the last cell takes absent things
    cell = (y / SIDE * _GRID).long().clamp(0, _GRID - 1) * _GRID + (x / SIDE * _GRID).long().clamp(0, _GRID - 1)
    cells.scatter_(1, torch.where(present, cell, _GRID**2), kind)
    far = torch.full_like(x, 1e6)
    ends = [torch.where(present, v * sign, far).argmin(1) for v in (x, y) for sign in (1, -1)]
    picked = torch.gather(kind, 1, torch.stack(ends, dim=1))
    return torch.cat([cells[:, :-1], picked], dim=1)
