"""NumPy dtypes of the records that calls take and give, as the C++ library lays them out.

The field ``id`` is a sequence's handle; all other fields are named as in C++. Sizes are checked
against the library when an array is made.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MAX_POOLS = 8

#: One sequence's part in a plan: ``first`` to ``first + count`` are its tokens' positions,
#: ``token_row`` its first row in the step's token rows, ``entry_row[pool]`` its first row in that
#: pool's compact entry rows; entries whose first token is below ``write_from`` are shared.
SEQUENCE_STEP = np.dtype(
    [
        ("sequence_index", "<i4"),
        ("settled", "<i4"),
        ("first", "<i4"),
        ("count", "<i4"),
        ("drafts", "<i4"),
        ("token_row", "<i4"),
        ("write_from", "<i4"),
        ("checkpoint_begin", "<i4"),
        ("entry_row", "<i4", (MAX_POOLS,)),
    ]
)

#: A checkpoint that a plan captures; blocks are -1 where there is none.
CHECKPOINT = np.dtype(
    [
        ("sequence_index", "<i4"),
        ("position", "<i4"),
        ("overlap_block", "<i4"),
        ("state_block", "<i4"),
    ]
)

#: A sequence whose compressor's state a plan makes from ``overlap_block``, or empty (-1).
RESTORE = np.dtype(
    [("sequence_index", "<i4"), ("position", "<i4"), ("overlap_block", "<i4"), ("reserved", "<i4")]
)

#: ``block_table[pool][sequence_index][index] = block``.
BLOCK_PATCH = np.dtype(
    [("pool", "<i4"), ("sequence_index", "<i4"), ("index", "<i4"), ("block", "<i4")]
)

#: All layers and planes of block ``source`` are copied to ``destination``.
BLOCK_COPY = np.dtype(
    [("pool", "<i4"), ("source", "<i4"), ("destination", "<i4"), ("reserved", "<i4")]
)

#: What is known of a sequence; token counts.
SEQUENCE_INFO = np.dtype(
    [
        ("index", "<i4"),
        ("length", "<i4"),
        ("known", "<i4"),
        ("settled", "<i4"),
        ("undecided_drafts", "<i4"),
        ("published", "<i4"),
        ("write_from", "<i4"),
        ("approximate", "?"),
        ("reserve_tokens", "<i4"),
    ],
    align=True,
)

#: Blocks of a pool: ``capacity = free + live + cached + draining``; ``evictable_now`` and
#: ``evictable_later`` are of those cached, ``reserved`` of those not live.
POOL_USE = np.dtype(
    [
        ("capacity", "<i4"),
        ("free", "<i4"),
        ("live", "<i4"),
        ("cached", "<i4"),
        ("draining", "<i4"),
        ("evictable_now", "<i4"),
        ("evictable_later", "<i4"),
        ("reserved", "<i4"),
    ]
)

#: A sequence that an abandon or a distrust sent back: feed it from ``length`` on.
ADMISSION = np.dtype(
    [
        ("id", "<u8"),
        ("length", "<i4"),
        ("matched", "<i4"),
        ("resumed", "<i4"),
        ("skipped", "<i4"),
        ("refed", "<i4"),
        ("approximate", "?"),
    ],
    align=True,
)

#: The 128 bits that name a chunk of tokens together with all before it.
CHUNK_DIGEST = np.dtype([("low", "<u8"), ("high", "<u8")], align=True)

_EVENT_RECORD = np.dtype(
    [
        ("kind", "<i4"),
        ("digest", CHUNK_DIGEST),
        ("parent", CHUNK_DIGEST),
        ("depth", "<i4"),
        ("plan", "<u8"),
        ("number", "<u8"),
    ],
    align=True,
)

#: What happened to the prefix index; ``kind`` counts in PREFIX_EVENT_KINDS, ``depth`` in chunks.
#: ``salt`` and ``keys`` are bytes objects, empty unless PrefixOptions.event_keys.
PREFIX_EVENT = np.dtype(
    [(name, _EVENT_RECORD[name]) for name in _EVENT_RECORD.names or ()]
    + [("salt", np.object_), ("keys", np.object_)],
    align=True,
)


def with_bytes(
    records: npt.NDArray[np.void], salts: list[bytes], keys: list[bytes]
) -> npt.NDArray[np.void]:
    """PREFIX_EVENTs of records and their bytes. The extension module calls it."""
    events = np.empty(len(records), PREFIX_EVENT)
    for name in _EVENT_RECORD.names or ():
        events[name] = records[name]
    for name, values in (("salt", salts), ("keys", keys)):
        column = np.empty(len(values), np.object_)  # or NumPy would strip zeros at the ends
        column[:] = values
        events[name] = column
    return events


PREFIX_EVENT_KINDS = (
    "chunk_stored",
    "chunk_removed",
    "checkpoint_stored",
    "checkpoint_removed",
    "cleared",
    "chunk_replaced",
    "retired",
    "gap",
)
