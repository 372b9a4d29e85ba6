"""What Terrace raises. The extension module looks these classes up here."""

from __future__ import annotations


class TerraceError(Exception):
    """Base of everything that Terrace raises for a call that failed.

    Whatever failed has changed nothing, but for a ``begin`` that the device failed: the store then
    refuses every call until it begins a snapshot.
    """


class InvalidArgument(TerraceError, ValueError):
    """A layer, shape, count, plan or name that cannot be: a bug of the caller."""


class NotFound(TerraceError, LookupError):
    """A sequence handle that was freed or never given, or a name that is not known."""


class FailedPrecondition(TerraceError, RuntimeError):
    """Undecided drafts, plans that are missing or of others, no usable GPU: the message says which."""


class ResourceExhausted(TerraceError, MemoryError):
    """No sequence index is free now, or no memory."""


class OutOfBlocks(ResourceExhausted):
    """A step or sequence that a pool has no blocks for. Nothing has changed.

    Attributes:
        pool: the pool's name; ``"pool 2"`` where the ledger knows no names.
        pool_index: its index in the model's pools.
        missing_blocks: how many blocks are short.
        retry_later: whether waiting or preempting helps. False: the batch's own sequences hold more
            than the pool has, so make the batch smaller; one sequence alone never fits.
        capacity, free, live, cached, draining: blocks of the pool when the call failed.
        needed_blocks: what the call takes. free_blocks, evictable_blocks: there at once.
        returning_blocks: there when all plans are retired. preemptible_blocks: when sequences
            outside the step are freed. held_blocks: never by waiting, the step itself has them.
        reserved_blocks: of free, evictable and returning ones, set aside for other sequences.
        retire: the first plan whose retire gives the pool enough, 0 if none does; retire_blocks:
            how many blocks that makes free or evictable.
        helps: one line that says what to do.
    """

    def __init__(
        self,
        message: str,
        pool: str = "",
        pool_index: int = -1,
        missing_blocks: int = 0,
        retry_later: bool = False,
        capacity: int = 0,
        free: int = 0,
        live: int = 0,
        cached: int = 0,
        draining: int = 0,
        needed_blocks: int = 0,
        free_blocks: int = 0,
        evictable_blocks: int = 0,
        returning_blocks: int = 0,
        preemptible_blocks: int = 0,
        held_blocks: int = 0,
        reserved_blocks: int = 0,
        retire: int = 0,
        retire_blocks: int = 0,
    ) -> None:
        super().__init__(message)
        self.pool = pool
        self.pool_index = pool_index
        self.missing_blocks = missing_blocks
        self.retry_later = retry_later
        self.capacity = capacity
        self.free = free
        self.live = live
        self.cached = cached
        self.draining = draining
        self.needed_blocks = needed_blocks
        self.free_blocks = free_blocks
        self.evictable_blocks = evictable_blocks
        self.returning_blocks = returning_blocks
        self.preemptible_blocks = preemptible_blocks
        self.held_blocks = held_blocks
        self.reserved_blocks = reserved_blocks
        self.retire = retire
        self.retire_blocks = retire_blocks

    @property
    def helps(self) -> str:
        if self.retire:
            return f"retire plan {self.retire} when it has run: it gives {self.retire_blocks} blocks"
        if not self.retry_later:
            return "a smaller batch; a sequence that fails alone needs more memory"
        return "wait until a sequence outside the batch is freed, or free one and feed it again later"


class DeviceError(TerraceError, RuntimeError):
    """The device or its runtime failed; the message names the call and the error."""
