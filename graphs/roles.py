"""The roles of networks: what a lower() asks a model file for, whatever its family.

compiler.linking.casting puts the family's own networks in their place once the files are open: a "denoiser" becomes a
"unet", or whatever another family samples with. Until then (`explain` opens no file) a network's kind is its role.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# The forms that a network may be called in beside the whole, by what asks for them:
CORE, CONTEXT, TIME = "core", "context", "time"  # hoist: inside the loop; text and time embeddings, outside it
U8 = "u8"  # fuse_decode: gives 8-bit pictures
CONTROLLED = "control"  # a guider with ControlNets: takes their residuals

_PARTED = (CORE, CONTEXT, TIME)

# role -> form -> the kind that it is called by while no file is open
ROLES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "denoiser": {form: f"denoiser_{form}" for form in _PARTED},
        "control": {form: f"control_{form}" for form in _PARTED},
        "control_hint": {},
        "text": {},
        "encoder": {},
        "decoder": {U8: "decoder_u8"},
    }
)
