"""Programs as torch.export saves them, without weights: which arguments are weights, and how one runs on a device."""

from __future__ import annotations

import io
import warnings

import torch
from torch import fx
from torch.export import ExportedProgram


def load_program(content: bytes) -> ExportedProgram:
    """Raises what torch.export.load raises."""
    with warnings.catch_warnings():
        # torch 2.11 reads the file's tensors over memory that it may not write to, and never does
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        return torch.export.load(io.BytesIO(content))


def named_arguments(program: ExportedProgram) -> dict[str, str]:
    """Argument -> weight, of those of the program's arguments that are weights."""
    signature = program.graph_signature
    return {**signature.inputs_to_parameters, **signature.inputs_to_buffers}


def on_device(module: fx.GraphModule, device: str) -> fx.GraphModule:
    """A copy whose tensors made on the way (ranges, constants) are made on `device`: the trace names the CPU."""
    graph = fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    graph.output(graph.graph_copy(module.graph, copied))
    for node in graph.nodes:
        if "device" in node.kwargs:
            node.kwargs = {**node.kwargs, "device": torch.device(device)}
    return fx.GraphModule(module, graph)
