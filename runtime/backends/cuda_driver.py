"""Loads machine code of GPU kernels and launches it, through the CUDA driver's C interface: no compiler, no Triton.

Source: CUDA Driver API, cuModuleLoadData, cuModuleGetFunction, cuFuncSetAttribute, cuLaunchKernel.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

from graphs.errors import DeviceError, PlanError

_MAX_DYNAMIC_SHARED_BYTES = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_FREE_SHARED_BYTES = 48 << 10  # what a block gets without asking
_WARP = 32
_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
# One letter for the type of each argument of a kernel.
C_TYPES: dict[str, Any] = {
    "O": ctypes.c_void_p, "b": ctypes.c_int8, "h": ctypes.c_int16, "i": ctypes.c_int32, "l": ctypes.c_int64,
    "B": ctypes.c_uint8, "H": ctypes.c_uint16, "I": ctypes.c_uint32, "K": ctypes.c_uint64, "f": ctypes.c_float,
    "d": ctypes.c_double,
}  # fmt: skip

Launch = Callable[[int, int, int, int, Sequence[Any]], None]  # (grid x, y, z, stream, arguments)


@functools.cache
def _driver() -> Any:
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise DeviceError(f"the CUDA driver cannot be opened: {error}", hint="install the NVIDIA driver") from error


def _check(code: int, what: str) -> None:
    if code:
        name = ctypes.c_char_p()
        _driver().cuGetErrorName(code, ctypes.byref(name))
        raise PlanError(f"{what} failed: {(name.value or b'error %d' % code).decode()}", where="CUDA driver")


class KernelImage:
    """Machine code in the device's memory. image: a cubin. The CUDA context of this thread must exist."""

    def __init__(self, image: bytes) -> None:
        self._module = ctypes.c_void_p()
        _check(_driver().cuModuleLoadData(ctypes.byref(self._module), image), "loading a kernel")

    def function(self, symbol: str, types: str, warps: int, shared_bytes: int) -> Launch:
        """A launcher. types: a letter of C_TYPES for each argument; "O" takes a tensor, or None for a null pointer."""
        driver, function = _driver(), ctypes.c_void_p()
        _check(driver.cuModuleGetFunction(ctypes.byref(function), self._module, symbol.encode()), f"finding {symbol}")
        if shared_bytes > _FREE_SHARED_BYTES:
            code = driver.cuFuncSetAttribute(function, _MAX_DYNAMIC_SHARED_BYTES, shared_bytes)
            _check(code, f"giving {symbol} {shared_bytes} bytes of shared memory")
        c_types = [C_TYPES[t] for t in types]
        pointers = [t == "O" for t in types]
        size = len(types)
        array = ctypes.c_void_p * size

        def launch(x: int, y: int, z: int, stream: int, arguments: Sequence[Any]) -> None:
            values = [
                c_type(argument.data_ptr() if pointer and argument is not None else argument)
                for c_type, pointer, argument in zip(c_types, pointers, arguments, strict=True)
            ]
            places = array(*[ctypes.addressof(v) for v in values])
            code = driver.cuLaunchKernel(
                function, x, y, z, _WARP * warps, 1, 1, shared_bytes, ctypes.c_void_p(stream), places, None
            )
            if code:
                _check(code, f"launching {symbol}")

        return launch

    def close(self) -> None:
        if self._module:
            _driver().cuModuleUnload(self._module)
            self._module = ctypes.c_void_p()
