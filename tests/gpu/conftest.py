from __future__ import annotations

import pytest
import torch

# What torch's compiler warns about is torch's own: deprecations inside it, tensor cores that float32 does not use.
THEIRS = ("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu") is not None:
                for warning in THEIRS:
                    item.add_marker(pytest.mark.filterwarnings(warning))
        return
    for item in items:
        if item.get_closest_marker("gpu") is not None:
            item.add_marker(pytest.mark.skip(reason="torch sees no NVIDIA GPU"))
