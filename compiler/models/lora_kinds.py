"""How files called LoRA name the parts of an adapter. What the parts do to a weight: runtime/adapters.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from compiler.models.model_file import ModelTensors
from graphs.errors import CheckpointError
from runtime.adapters import Adapter, kind_of

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
OF_BIAS = "diff_b"
# An adapter that begins with one of these and lacks the rest is damaged, and ComfyUI stops at it. What stands alone of
# the others (an alpha, a "down") it passes over.
_LEADING = frozenset({"up", "hada_w1_a", "lokr_w1", "lokr_w1_a", "lokr_w2", "lokr_w2_a", "glora_a1"})


def role_of(key: str) -> tuple[str, str] | None:
    """(module name, role) of a key; None where it ends in nothing known."""
    for ending, role in ENDINGS.items():
        if key.endswith(ending):
            return key.removesuffix(ending), role
    return None


@dataclass(frozen=True)
class Group:
    """The tensors in one file that make up an adapter of one weight. name: of the module. keys: role -> key."""

    tensors: ModelTensors
    name: str
    keys: Mapping[str, str]

    def adapter(self) -> Adapter:
        """Its parts, views of the mapped file."""
        return Adapter({role: self.tensors.tensor(key) for role, key in self.keys.items()})


def split(group: Group) -> dict[str, Group]:
    """What a module's tensors change, "weight" and "bias", and with which of them; nothing where they lack what makes
    an adapter. Raises CheckpointError for half an adapter, or one of a kind that is not merged."""
    keys = group.keys
    if "rescale" in keys or ("oft_blocks" in keys and len(group.tensors[keys["oft_blocks"]].shape) != 3):
        raise _refused(group, "an adapter of this kind is not merged yet", "BOFT or a rescaled OFT")
    found = {}
    of_weight = {role: key for role, key in keys.items() if role != OF_BIAS}
    if kind_of(of_weight):
        found["weight"] = Group(group.tensors, group.name, of_weight)
    if OF_BIAS in keys:
        found["bias"] = Group(group.tensors, group.name, {OF_BIAS: keys[OF_BIAS]})
    if not found and not _LEADING.isdisjoint(keys):
        raise _refused(group, "half of an adapter is missing", f"only {', '.join(sorted(keys))}")
    return found


def _refused(group: Group, what: str, got: str) -> CheckpointError:
    return CheckpointError(
        what, where=f"{group.tensors.path}: {group.name}", expected="LoRA, LoCon, LoHa, LoKr, DoRA, GLoRA, OFT or full",
        got=got, hint="fetch the file again, or leave it out of the workflow",
    )  # fmt: skip
