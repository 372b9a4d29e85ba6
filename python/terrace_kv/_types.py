"""Types that the signatures of the extension module name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias, Union, runtime_checkable

import numpy as np
import numpy.typing as npt


@runtime_checkable
class DLPackTensor(Protocol):
    """A tensor of PyTorch, CuPy, JAX, NumPy or any other framework that speaks DLPack."""

    def __dlpack__(self, *, stream: Any = None) -> Any: ...

    def __dlpack_device__(self) -> tuple[Any, Any]: ...


class DLPackView(Protocol):
    """A view of a store's memory, for numpy.asarray, torch.from_dlpack and their like.

    It speaks DLPack, and on the host the buffer protocol too. It keeps the store alive.
    """

    def __dlpack__(self, *, stream: Any = None) -> Any: ...

    def __dlpack_device__(self) -> tuple[int, int]: ...

    def __buffer__(self, flags: int, /) -> memoryview: ...


class HasCudaStream(Protocol):
    """A stream of PyTorch."""

    @property
    def cuda_stream(self) -> int: ...


class HasPtr(Protocol):
    """A stream of CuPy."""

    @property
    def ptr(self) -> int: ...


class CudaStreamProtocol(Protocol):
    """A stream of CUDA Python."""

    def __cuda_stream__(self) -> tuple[int, int]: ...


class MemoryResource(Protocol):
    """Where a backend takes pages, tables and buffers from. It must not call the backend."""

    def allocate(self, bytes: int, alignment: int, stream: int) -> int | None:
        """An address of so many bytes at a multiple of `alignment`; None or 0 where there are none."""
        ...

    def deallocate(self, address: int, bytes: int, stream: int) -> None:
        """Takes back what allocate gave; work on `stream` may still use it."""
        ...


IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
#: Whole numbers: one for all, or one each.
Ints: TypeAlias = Union[int, Sequence[int], IntArray]
#: Handles of sequences: int64 or uint64.
Ids: TypeAlias = Union[int, Sequence[int], IntArray]
#: An array of a structured dtype.
Records: TypeAlias = npt.NDArray[np.void]
#: (begin, end, key): what the tokens mean beside their ids; an end of None is none.
KeyRanges: TypeAlias = Sequence[tuple[int, Union[int, None], Union[bytes, str]]]
Record: TypeAlias = np.void
ByteArray: TypeAlias = npt.NDArray[np.uint8]
#: bf16 as its bits.
Bf16Array: TypeAlias = npt.NDArray[np.uint16]
FloatArray: TypeAlias = npt.NDArray[np.float32]
Tensor: TypeAlias = Union[DLPackTensor, npt.NDArray[Any]]
Stream: TypeAlias = Union[int, HasCudaStream, HasPtr, CudaStreamProtocol, None]
Queries: TypeAlias = Union[int, Tensor, None]

PoolName: TypeAlias = Literal["window", "full", "overlap", "state"]
PlaneName: TypeAlias = Literal["latent", "indexer"]
RuleName: TypeAlias = Literal["pooled", "strided"]
LayoutName: TypeAlias = Literal["block-major", "layer-major"]
PriorityName: TypeAlias = Literal["low", "normal", "high"]
MatchName: TypeAlias = Literal["appended", "retired"]
FreeReasonName: TypeAlias = Literal["finished", "preempted", "cancelled"]
BackendName: TypeAlias = Literal["auto", "host", "cuda"]
