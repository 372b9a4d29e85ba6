"""Rows of bf16 to the bytes of pages, and back: what a store writes, byte for byte.

NumPy has no bf16 of its own: rows are its bits as ``uint16``. With ``ml_dtypes`` they are viewed as
numbers without a copy: ``rows.view(ml_dtypes.bfloat16)``, and back by ``.view(numpy.uint16)``. FP8
codes are ``uint8``, viewed as ``ml_dtypes.float8_e4m3fn``.
"""

from __future__ import annotations

from terrace_kv._terrace import RowLayout, decode, encode, page_bytes, rope_table
from terrace_kv._terrace import format_layout as layout
from terrace_kv._terrace import format_names as names

__all__ = ["RowLayout", "decode", "encode", "layout", "names", "page_bytes", "rope_table"]
