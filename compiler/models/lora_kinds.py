"""The kinds of adapter that files called LoRA hold: what each changes in a weight.

An adapter's change is what its file adds to a weight at strength 1; the merge is W + strength * change(W), in float32.
Sources: Hu et al. (2021) LoRA; Hyeon-Woo et al. (2022) FedPara (LoHa); Yeh et al. (2024) LyCORIS (LoKr, LoCon);
Liu et al. (2024) DoRA; Chavan et al. (2023) GLoRA; Qiu et al. (2023) OFT; layouts and scales as ComfyUI reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from compiler.models.model_file import ModelTensors
from graphs.errors import CheckpointError

# Ending of a key -> the role of the tensor. Longer endings first where one ends in another.
ENDINGS: Mapping[str, str] = {
    ".lora_up.weight": "up", ".lora_down.weight": "down", ".lora_mid.weight": "mid",
    "_lora.up.weight": "up", "_lora.down.weight": "down",
    ".lora.up.weight": "up", ".lora.down.weight": "down",
    ".lora_B.weight": "up", ".lora_A.weight": "down", ".lora_B": "up", ".lora_A": "down",
    ".lora_B.default.weight": "up", ".lora_A.default.weight": "down",
    ".lora_linear_layer.up.weight": "up", ".lora_linear_layer.down.weight": "down",
    ".hada_w1_a": "hada_w1_a", ".hada_w1_b": "hada_w1_b", ".hada_w2_a": "hada_w2_a", ".hada_w2_b": "hada_w2_b",
    ".hada_t1": "hada_t1", ".hada_t2": "hada_t2",
    ".lokr_w1": "lokr_w1", ".lokr_w1_a": "lokr_w1_a", ".lokr_w1_b": "lokr_w1_b",
    ".lokr_w2": "lokr_w2", ".lokr_w2_a": "lokr_w2_a", ".lokr_w2_b": "lokr_w2_b", ".lokr_t2": "lokr_t2",
    ".a1.weight": "glora_a1", ".a2.weight": "glora_a2", ".b1.weight": "glora_b1", ".b2.weight": "glora_b2",
    ".oft_blocks": "oft_blocks", ".rescale": "rescale",
    ".alpha": "alpha", ".dora_scale": "dora_scale",
    ".set_weight": "set", ".diff": "diff", ".diff_b": "diff_b", ".w_norm": "diff", ".b_norm": "diff_b",
}  # fmt: skip

# An adapter that begins with one of these and lacks the rest is damaged, and ComfyUI stops at it. What stands alone of
# the others (an alpha, a "down") it passes over.
_LEADING = frozenset({"up", "hada_w1_a", "lokr_w1", "lokr_w1_a", "lokr_w2", "lokr_w2_a", "glora_a1"})

Change = Callable[["Group", Tensor], Tensor]


def role_of(key: str) -> tuple[str, str] | None:
    """(module name, role) of a key; None where it ends in nothing known."""
    for ending, role in ENDINGS.items():
        if key.endswith(ending):
            return key.removesuffix(ending), role
    return None


@dataclass(frozen=True)
class Group:
    """The tensors of one module in one file. keys: role -> key."""

    tensors: ModelTensors
    name: str
    keys: Mapping[str, str]

    def has(self, *roles: str) -> bool:
        return all(role in self.keys for role in roles)

    def read(self, role: str) -> Tensor:
        """float32."""
        return self.tensors.tensor(self.keys[role]).to(torch.float32)

    def scale(self, rank: int) -> float:
        """alpha / rank; 1 where the file has no alpha."""
        return float(self.read("alpha")) / rank if self.has("alpha") else 1.0


def changes_of(group: Group) -> dict[str, Change]:
    """What the group changes: "weight" and "bias" of its module; nothing where it lacks what makes it an adapter.

    Raises CheckpointError for half an adapter, or one of a kind that is not merged."""
    found = [change for roles, change in _WEIGHT_KINDS if any(group.has(*r) for r in roles)]
    if group.has("rescale") or (group.has("oft_blocks") and len(group.tensors[group.keys["oft_blocks"]].shape) != 3):
        raise _refused(group, "an adapter of this kind is not merged yet", "BOFT or a rescaled OFT")
    changes: dict[str, Change] = {}
    if found:
        plain = found[0] in (_full, set_weight) or not group.has("dora_scale")
        changes["weight"] = found[0] if plain else _dora(found[0])
    if group.has("diff_b"):
        changes["bias"] = lambda g, weight: g.read("diff_b").reshape(weight.shape)
    if not changes and not _LEADING.isdisjoint(group.keys):
        raise _refused(group, "half of an adapter is missing", f"only {', '.join(sorted(group.keys))}")
    return changes


def _refused(group: Group, what: str, got: str) -> CheckpointError:
    return CheckpointError(
        what, where=f"{group.tensors.path}: {group.name}", expected="LoRA, LoCon, LoHa, LoKr, DoRA, GLoRA, OFT or full",
        got=got, hint="fetch the file again, or leave it out of the workflow",
    )  # fmt: skip


# --- one kind each: (group, weight (out, in, ...) float32) -> change of the weight's shape


def _lora(group: Group, weight: Tensor) -> Tensor:
    up, down = group.read("up"), group.read("down")
    rank = down.shape[0]
    if group.has("mid"):  # a convolution (rank, rank, k, k) between the two 1x1 ones
        change = torch.einsum("or,rskl,si->oikl", up.flatten(1), group.read("mid"), down.flatten(1))
    else:
        change = up.flatten(1) @ down.flatten(1)
    return change.reshape(weight.shape) * group.scale(rank)


def _loha(group: Group, weight: Tensor) -> Tensor:
    factors = []
    for n in (1, 2):
        a, b = group.read(f"hada_w{n}_a"), group.read(f"hada_w{n}_b")
        factors.append(_core_product(group.read(f"hada_t{n}"), a, b) if group.has(f"hada_t{n}") else a @ b)
    rank = group.read("hada_w1_b").shape[0]
    return (factors[0] * factors[1]).reshape(weight.shape) * group.scale(rank)


def _core_product(core: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """core: (r, s, k, l), a: (r, out), b: (s, in) -> (out, in, k, l)."""
    return torch.einsum("rskl,si,ro->oikl", core, b, a)


def _lokr(group: Group, weight: Tensor) -> Tensor:
    rank = None
    if group.has("lokr_w1"):
        first = group.read("lokr_w1")
    else:
        b = group.read("lokr_w1_b")
        first, rank = group.read("lokr_w1_a") @ b, b.shape[0]
    if group.has("lokr_w2"):
        second = group.read("lokr_w2")
    else:
        a, b = group.read("lokr_w2_a"), group.read("lokr_w2_b")
        second, rank = (_core_product(group.read("lokr_t2"), a, b) if group.has("lokr_t2") else a @ b), b.shape[0]
    if second.dim() == 4:
        first = first[:, :, None, None]
    change = torch.kron(first, second.contiguous()).reshape(weight.shape)
    return change if rank is None else change * group.scale(rank)  # whole factors are not scaled


def _glora(group: Group, weight: Tensor) -> Tensor:
    """W a1 a2 + b1 b2 with a1 (in, r), a2 (r, in), b1 (out, r), b2 (r, in); early files have both products swapped.

    On a square weight the factors multiply either way, so that the sides that meet the weight tell.
    """
    a1, a2, b1, b2 = (group.read(f"glora_{name}").flatten(1) for name in ("a1", "a2", "b1", "b2"))
    flat = weight.flatten(1)
    if a1.shape[0] == a2.shape[1] == b1.shape[0] == b2.shape[1] and (b2.shape[0], a1.shape[1]) == flat.shape:
        a1, a2, b1, b2 = a2, a1, b2, b1
    change = flat @ a1 @ a2 + b1 @ b2
    return change.reshape(weight.shape) * group.scale(a2.shape[0])


def _oft(group: Group, weight: Tensor) -> Tensor:
    """Rotates blocks of output rows by R = (I + q)(I - q)^-1, q skew-symmetric; alpha bounds the norm of q."""
    blocks = group.read("oft_blocks")
    skew = blocks - blocks.transpose(1, 2)
    bound = float(group.read("alpha")) if group.has("alpha") else 0.0
    norm = float(skew.norm()) + 1e-8
    if 0.0 < bound < norm:
        skew = skew * (bound / norm)
    one = torch.eye(blocks.shape[1])
    turn: Tensor = (one + skew) @ torch.linalg.inv(one - skew) - one
    rows = weight.reshape(blocks.shape[0], blocks.shape[1], -1)
    return torch.einsum("knm,knx->kmx", turn, rows).reshape(weight.shape)


def set_weight(group: Group, weight: Tensor) -> Tensor:
    """The weight becomes the file's, whatever the strength: to be merged at strength 1."""
    return group.read("set").reshape(weight.shape) - weight


def _full(group: Group, weight: Tensor) -> Tensor:
    return group.read("diff").reshape(weight.shape)


def _dora(inner: Change) -> Change:
    """The weight's direction changes as `inner` says, its magnitude becomes dora_scale: per output row of the weight
    as it was, or per input column of the changed one, whichever dora_scale has the shape of."""

    def change(group: Group, weight: Tensor) -> Tensor:
        scale, changed = group.read("dora_scale"), weight + inner(group, weight)
        if scale.shape[0] == weight.shape[0]:
            norm = weight.flatten(1).norm(dim=1).reshape(-1, *(1,) * (weight.dim() - 1))
        else:
            norm = changed.transpose(0, 1).flatten(1).norm(dim=1).reshape(1, -1, *(1,) * (weight.dim() - 2))
        norm = norm + torch.finfo(torch.float32).eps
        shape = [*scale.shape, *(1,) * (weight.dim() - scale.dim())]
        turned: Tensor = changed * (scale.reshape(shape) / norm) - weight
        return turned

    return change


# (the sets of roles that make one, its change). Of several in one module ComfyUI keeps one: the first that fits here.
_WEIGHT_KINDS: tuple[tuple[tuple[tuple[str, ...], ...], Change], ...] = (
    ((("set",),), set_weight),
    ((("diff",),), _full),
    ((("oft_blocks",),), _oft),
    ((("glora_a1", "glora_a2", "glora_b1", "glora_b2"),), _glora),
    (
        (
            ("lokr_w1", "lokr_w2"),
            ("lokr_w1", "lokr_w2_a", "lokr_w2_b"),
            ("lokr_w1_a", "lokr_w1_b", "lokr_w2"),
            ("lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"),
        ),
        _lokr,
    ),
    ((("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),), _loha),
    ((("up", "down"),), _lora),
)
