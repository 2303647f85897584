"""The forms that a network may be called in: what passes ask of a kind, so that none of them names one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from graphs.roles import ROLES


@cache
def forms_of(kind: str) -> Mapping[str, str]:
    """Form (graphs.roles) -> the kind of network that a network is in that form; empty where it has one form only.

    kind: a key of compiler.networks.NETWORKS, or a role where no model file is open.
    """
    if kind in ROLES:
        return ROLES[kind]
    from compiler.networks import NETWORKS  # late: it loads torch, which plans of roles do without

    return NETWORKS[kind].forms if kind in NETWORKS else {}
