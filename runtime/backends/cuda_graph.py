"""CUDA graphs: a call recorded once over fixed buffers, replayed with one launch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

Call = Callable[[], Sequence[torch.Tensor]]


class CapturedCall:
    """A call on fixed inputs, recorded. inputs: the buffers that `call` reads; replay copies new values into them.

    The outputs stand in the graph's memory: they are valid until the next replay of any graph of the same pool.
    Everything else that `call` reads (weights) must stay where it is; values there may change.
    """

    def __init__(self, call: Call, inputs: Mapping[str, torch.Tensor], pool: Any = None) -> None:
        self._inputs = inputs
        self._graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            call()  # libraries choose their algorithms and allocate outside of the recording
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._outputs = tuple(call())

    def replay(self, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """inputs: of the shapes and dtypes of the buffers, on any device. Does not wait."""
        for name, buffer in self._inputs.items():
            buffer.copy_(inputs[name], non_blocking=True)
        self._graph.replay()
        return self._outputs

    def close(self) -> None:
        self._graph.reset()
        self._outputs = ()
