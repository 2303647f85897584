"""The kinds of adapter that files called LoRA hold: what each changes in a weight, from its parts.

An adapter's change is what its file adds to a weight at strength 1; the merge is W + strength * change(W), in float32.
The compiler merges with these formulas, and so does the runtime when it multiplies out the factors of a layer: the
results are the same, bit for bit. docs/adr/0013-weights-in-layers.md.

Sources: Hu et al. (2021) LoRA; Hyeon-Woo et al. (2022) FedPara (LoHa); Yeh et al. (2024) LyCORIS (LoKr, LoCon);
Liu et al. (2024) DoRA; Chavan et al. (2023) GLoRA; Qiu et al. (2023) OFT; layouts and scales as ComfyUI reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Adapter:
    """What changes one weight. parts: by role ("up", "down", "alpha", ...), as the file has them."""

    parts: Mapping[str, Tensor]

    def has(self, *roles: str) -> bool:
        return all(role in self.parts for role in roles)

    def read(self, role: str) -> Tensor:
        """float32."""
        return self.parts[role].to(torch.float32)

    def scale(self, rank: int) -> float:
        """alpha / rank; 1 where the file has no alpha."""
        return float(self.read("alpha")) / rank if self.has("alpha") else 1.0

    def on(self, device: str | torch.device) -> Adapter:
        """With its parts there; alpha, a number that is looked at, stays."""
        return Adapter({role: part if role == "alpha" else part.to(device) for role, part in self.parts.items()})


Change = Callable[[Adapter, Tensor], Tensor]


@dataclass(frozen=True)
class Kind:
    """roles: the sets of parts that make one up, each enough. reads_weight: whether its change hangs on the weight.
    is_whole: the parts are the change, and no direction that dora_scale would scale. at_any_strength: counts as 1."""

    roles: tuple[frozenset[str], ...]
    change: Change
    reads_weight: bool = False
    is_whole: bool = False
    at_any_strength: bool = False


def kind_of(roles: Collection[str]) -> Kind | None:
    """None where the parts make up nothing, or half an adapter."""
    found = next((kind for kind in _KINDS if any(needed <= set(roles) for needed in kind.roles)), None)
    if found is not None and not found.is_whole and "dora_scale" in roles:
        return Kind(found.roles, _dora(found.change), reads_weight=True)
    return found


def adapted(weight: Tensor, adapter: Adapter, strength: float) -> Tensor:
    """The weight, (out, in, ...) float32 in the layout of checkpoints, with an adapter on top.

    Raises ValueError for parts that make up no adapter; RuntimeError and others where the shapes do not go together,
    which misfit() tells beforehand."""
    kind = kind_of(adapter.parts)
    if kind is None:
        raise ValueError(f"no adapter: {', '.join(sorted(adapter.parts))}")
    if kind.reads_weight:  # sums in another order give other last bits
        weight = weight.contiguous()
    change = (1.0 if kind.at_any_strength else strength) * kind.change(adapter, weight)
    if weight.dim() == 2 and not weight.is_contiguous():  # transposed: copying is quicker than adding two layouts
        change = change.t().contiguous().t()
    return change.add_(weight)


def misfit(adapter: Adapter, shape: tuple[int, ...]) -> str:
    """Why the parts do not make up a change of a weight of that shape; "" where they do. Computes nothing."""
    weight = torch.empty(shape, dtype=torch.float32, device="meta")
    try:
        got = tuple(adapted(weight, adapter.on("meta"), 1.0).shape)
    except (ArithmeticError, IndexError, RuntimeError, TypeError, ValueError) as error:
        return (str(error).splitlines() or [type(error).__name__])[0]
    return "" if got == shape else f"a change of shape {list(got)}"


def shapes(adapter: Adapter) -> dict[str, list[int]]:
    """Of the parts, for messages."""
    return {role: list(part.shape) for role, part in adapter.parts.items()}


# --- one kind each: (adapter, weight) -> change of the weight's shape


def _lora(adapter: Adapter, weight: Tensor) -> Tensor:
    up, down = adapter.read("up"), adapter.read("down")
    rank = down.shape[0]
    if adapter.has("mid"):  # a convolution (rank, rank, k, k) between the two 1x1 ones
        change = torch.einsum("or,rskl,si->oikl", up.flatten(1), adapter.read("mid"), down.flatten(1))
    else:
        change = up.flatten(1) @ down.flatten(1)
    return change.reshape(weight.shape) * adapter.scale(rank)


def _loha(adapter: Adapter, weight: Tensor) -> Tensor:
    factors = []
    for n in (1, 2):
        a, b = adapter.read(f"hada_w{n}_a"), adapter.read(f"hada_w{n}_b")
        factors.append(_core_product(adapter.read(f"hada_t{n}"), a, b) if adapter.has(f"hada_t{n}") else a @ b)
    rank = adapter.read("hada_w1_b").shape[0]
    return (factors[0] * factors[1]).reshape(weight.shape) * adapter.scale(rank)


def _core_product(core: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """core: (r, s, k, l), a: (r, out), b: (s, in) -> (out, in, k, l)."""
    return torch.einsum("rskl,si,ro->oikl", core, b, a)


def _lokr(adapter: Adapter, weight: Tensor) -> Tensor:
    rank = None
    if adapter.has("lokr_w1"):
        first = adapter.read("lokr_w1")
    else:
        b = adapter.read("lokr_w1_b")
        first, rank = adapter.read("lokr_w1_a") @ b, b.shape[0]
    if adapter.has("lokr_w2"):
        second = adapter.read("lokr_w2")
    else:
        a, b = adapter.read("lokr_w2_a"), adapter.read("lokr_w2_b")
        core = adapter.read("lokr_t2") if adapter.has("lokr_t2") else None
        second, rank = (a @ b if core is None else _core_product(core, a, b)), b.shape[0]
    if second.dim() == 4:
        first = first[:, :, None, None]
    change = torch.kron(first, second.contiguous()).reshape(weight.shape)
    return change if rank is None else change * adapter.scale(rank)  # whole factors are not scaled


def _glora(adapter: Adapter, weight: Tensor) -> Tensor:
    """W a1 a2 + b1 b2 with a1 (in, r), a2 (r, in), b1 (out, r), b2 (r, in); early files have both products swapped.

    On a square weight the factors multiply either way, so that the sides that meet the weight tell.
    """
    a1, a2, b1, b2 = (adapter.read(f"glora_{name}").flatten(1) for name in ("a1", "a2", "b1", "b2"))
    flat = weight.flatten(1)
    if a1.shape[0] == a2.shape[1] == b1.shape[0] == b2.shape[1] and (b2.shape[0], a1.shape[1]) == flat.shape:
        a1, a2, b1, b2 = a2, a1, b2, b1
    change = flat @ a1 @ a2 + b1 @ b2
    return change.reshape(weight.shape) * adapter.scale(a2.shape[0])


def _oft(adapter: Adapter, weight: Tensor) -> Tensor:
    """Rotates blocks of output rows by R = (I + q)(I - q)^-1, q skew-symmetric; alpha bounds the norm of q."""
    blocks = adapter.read("oft_blocks")
    skew = blocks - blocks.transpose(1, 2)
    bound = float(adapter.read("alpha")) if adapter.has("alpha") else 0.0
    if bound > 0.0 and not skew.is_meta:
        norm = float(skew.norm()) + 1e-8
        if bound < norm:
            skew = skew * (bound / norm)
    one = torch.eye(blocks.shape[1], device=blocks.device)
    turn: Tensor = (one + skew) @ torch.linalg.inv(one - skew) - one
    rows = weight.reshape(blocks.shape[0], blocks.shape[1], -1)
    return torch.einsum("knm,knx->kmx", turn, rows).reshape(weight.shape)


def _set(adapter: Adapter, weight: Tensor) -> Tensor:
    return adapter.read("set").reshape(weight.shape) - weight


def _full(role: str) -> Change:
    return lambda adapter, weight: adapter.read(role).reshape(weight.shape)


def _dora(inner: Change) -> Change:
    """The weight's direction changes as `inner` says, its magnitude becomes dora_scale: per output row of the weight
    as it was, or per input column of the changed one, whichever dora_scale has the shape of."""

    def change(adapter: Adapter, weight: Tensor) -> Tensor:
        scale, changed = adapter.read("dora_scale"), weight + inner(adapter, weight)
        if scale.shape[0] == weight.shape[0]:
            norm = weight.flatten(1).norm(dim=1).reshape(-1, *(1,) * (weight.dim() - 1))
        else:
            norm = changed.transpose(0, 1).flatten(1).norm(dim=1).reshape(1, -1, *(1,) * (weight.dim() - 2))
        norm = norm + torch.finfo(torch.float32).eps
        shape = [*scale.shape, *(1,) * (weight.dim() - scale.dim())]
        turned: Tensor = changed * (scale.reshape(shape) / norm) - weight
        return turned

    return change


def _sets(*roles: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(names.split()) for names in roles)


# Of several in one module ComfyUI keeps one: the first that fits here.
_KINDS: tuple[Kind, ...] = (
    Kind(_sets("set"), _set, reads_weight=True, is_whole=True, at_any_strength=True),
    Kind(_sets("diff"), _full("diff"), is_whole=True),
    Kind(_sets("oft_blocks"), _oft, reads_weight=True),
    Kind(_sets("glora_a1 glora_a2 glora_b1 glora_b2"), _glora, reads_weight=True),
    Kind(
        _sets(
            "lokr_w1 lokr_w2", "lokr_w1 lokr_w2_a lokr_w2_b", "lokr_w1_a lokr_w1_b lokr_w2",
            "lokr_w1_a lokr_w1_b lokr_w2_a lokr_w2_b",
        ),
        _lokr,
    ),
    Kind(_sets("hada_w1_a hada_w1_b hada_w2_a hada_w2_b"), _loha),
    Kind(_sets("up down"), _lora),
    Kind(_sets("diff_b"), _full("diff_b"), is_whole=True),
)  # fmt: skip
