"""Terrace in C++; import terrace_kv instead."""

from collections.abc import Sequence


from collections.abc import Callable, Sequence
from typing import Any, Literal, overload
from typing_extensions import Buffer
from terrace_kv._types import (
    BackendName, Bf16Array, ByteArray, DLPackView, FloatArray, FreeReasonName, Ids, IntArray, Ints, KeyRanges,
    LayoutName, MatchName, MemoryResource, PlaneName, PoolName, PriorityName, Queries, Record, Records,
    RuleName, Stream, Tensor,
)

__version__: str

class PlaneSpec:
    """One row format inside a pool."""

    @property
    def format(self) -> str: ...

    @property
    def rope_before_store(self) -> bool:
        """Whether rows are rotated as they are stored."""

class PoolSpec:
    """The blocks of one kind."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str:
        """'window', 'full', 'overlap' or 'state'."""

    @property
    def ratio(self) -> int:
        """Tokens per entry."""

    @property
    def rule(self) -> str:
        """'pooled' or 'strided'."""

    @property
    def planes(self) -> list[PlaneSpec]:
        """The latent, then the indexer key if there is one."""

    @property
    def opaque_bytes(self) -> int: ...

    @property
    def opaque_bytes_per_draft(self) -> int: ...

    @property
    def entries_per_block(self) -> int: ...

    @property
    def entries_per_page(self) -> int:
        """0: all entries of a block."""

    @property
    def layout(self) -> str:
        """'block-major' or 'layer-major'."""

    @property
    def page_align(self) -> int:
        """Bytes."""

    @property
    def block_align(self) -> int:
        """Bytes."""

class LayerPool:
    """Where a layer finds its pages in one pool."""

    @property
    def pool(self) -> int: ...

    @property
    def index(self) -> int:
        """Of the layers whose pages the pool holds."""

    @property
    def writes(self) -> bool:
        """Exactly one layer writes them."""

class LayerSpec:
    """A layer's pools."""

    @property
    def pools(self) -> list[LayerPool]:
        """At most one of each kind."""

    @property
    def rope(self) -> int:
        """Index into the model's ropes."""

class RopeSpec:
    """Angles of the rotation: base, and YaRN if factor > 1."""

    @property
    def base(self) -> float: ...

    @property
    def yarn_factor(self) -> float: ...

    @property
    def yarn_original_length(self) -> float: ...

    @property
    def yarn_beta_fast(self) -> float: ...

    @property
    def yarn_beta_slow(self) -> float: ...

class ModelSpec:
    """
    What a model stores: its pools, their row formats, and which rows each layer has.

    Made by model(), make_model() or ModelSpec.from_json().
    """

    @property
    def name(self) -> str: ...

    @property
    def window_tokens(self) -> int: ...

    @property
    def chunk_tokens(self) -> int:
        """The unit of prefix reuse."""

    @property
    def max_context_tokens(self) -> int: ...

    @property
    def top_k(self) -> int: ...

    @property
    def ropes(self) -> list[RopeSpec]: ...

    @property
    def pools(self) -> list[PoolSpec]: ...

    @property
    def layers(self) -> list[LayerSpec]: ...

    @staticmethod
    def from_json(text: str) -> ModelSpec:
        """
        A model in either JSON form of docs/capacity.md. Raises InvalidArgument with the place in the text.
        """

    def to_json(self) -> str:
        """The full JSON form; from_json reads an equal model back."""

    def window_pool(self) -> int:
        """Index of the window pool, or -1."""

    def overlap_pool(self) -> int:
        """Index of the overlap pool, or -1."""

    def state_pool(self, ratio: int) -> int:
        """Index of the state pool of a ratio, or -1."""

    def full_pool(self, layer: int) -> int:
        """Index of the full pool of a layer, or -1. Raises InvalidArgument."""

    def count_layers(self, pool: int, first: int = 0, count: int | None = None) -> int:
        """How many layers of a range write to a pool."""

    def validate(self) -> None:
        """
        Raises InvalidArgument with the field and both values where something cannot be.
        """

    def __eq__(self, other: object, /) -> bool: ...

    def __repr__(self) -> str: ...

def model(name: str) -> ModelSpec:
    """
    A named model, such as 'deepseek-v4-flash'. Raises NotFound that lists the names.
    """

def deepseek_v4_flash() -> ModelSpec:
    """43 layers: 2 window-only, 21 CSA, 20 HCA."""

def deepseek_v4_pro() -> ModelSpec:
    """61 layers: 30 CSA, 31 HCA."""

def deepseek_v41_flash() -> ModelSpec:
    """
    40 layers: 2 window-only, 18 that read pairs, 20 that read single tokens.
    """

def make_model(*, name: str = 'custom', ratios: Ints, kv_sources: Ints = (), latent_format: str = 'flashmla_v4', window_format: str | None = None, rotate_nvfp4: bool = False, indexer_format: str = 'indexer_fp8', indexer_ratio: int = 4, indexer_ratios: Ints = (), rule: RuleName = 'pooled', overlap: bool = True, state: bool = False, swa_block_tokens: int = 64, chunk_tokens: int = 256, max_context_tokens: int = 1048576, top_k: int = 512, layout: LayoutName = 'block-major', page_align: int = 32, block_align: int = 0, block_aligns: dict[str, int] = ..., entries_per_page: int = 0) -> ModelSpec:
    """
    A layered model: `ratios` has a number a layer, 0 = window only, else 1, 2, 4 or 128.

    kv_sources: the layers that make entries, ascending; others read those of the last one before
    them; none: every layer. window_format: of window rows; None is latent_format. rotate_nvfp4:
    rows of nvfp4 are rotated as they are stored. indexer_ratios: instead of indexer_ratio, where
    several pools have indexer keys. entries_per_page: of the full pools; 0 is all of a block.
    block_aligns: block_align of single pools, by name.
    state: sequences keep what compress() goes on from. Alignments are bytes; block_align 0
    is the format's. Raises InvalidArgument that names the field.
    """

class Limits:
    """The most that a deployment may ask for at once."""

    def __init__(self, *, max_sequences: int = 64, max_step_tokens: int = 8192, max_drafts: int = 0, max_context_tokens: int = 0, store_whole_chunk: bool = False) -> None:
        """
        max_sequences: live at one time. max_step_tokens: of one append, drafts included.
        max_drafts: speculative tokens of one sequence in one step. max_context_tokens: of one
        sequence; 0 is the model's. store_whole_chunk: store every window row of a prefill
        piece until the next step.
        """

    @property
    def max_sequences(self) -> int: ...

    @property
    def max_step_tokens(self) -> int: ...

    @property
    def max_drafts(self) -> int: ...

    @property
    def max_context_tokens(self) -> int: ...

    @property
    def store_whole_chunk(self) -> bool: ...

class PoolGeometry:
    """Sizes of one pool, in blocks and tokens."""

    @property
    def kind(self) -> str: ...

    @property
    def rule(self) -> str: ...

    @property
    def ratio(self) -> int:
        """Tokens per entry."""

    @property
    def entries_per_block(self) -> int: ...

    @property
    def tokens_per_block(self) -> int: ...

    @property
    def capacity_blocks(self) -> int: ...

    @property
    def blocks_per_sequence(self) -> int:
        """Length of a sequence's row in the block table."""

class Geometry:
    """The summary of a deployment that ledger, plans and stores agree on."""

    @property
    def num_pools(self) -> int: ...

    @property
    def window_tokens(self) -> int: ...

    @property
    def chunk_tokens(self) -> int: ...

    @property
    def max_sequences(self) -> int: ...

    @property
    def max_step_tokens(self) -> int: ...

    @property
    def max_drafts(self) -> int: ...

    @property
    def max_context_tokens(self) -> int: ...

    @property
    def store_whole_chunk(self) -> bool: ...

    @property
    def num_layers(self) -> int: ...

    @property
    def pools(self) -> list[PoolGeometry]: ...

    @property
    def fingerprint(self) -> int:
        """64 bits over all fields; plans carry it."""

    def max_entry_rows(self, pool: int) -> int:
        """Most entry rows that one step can close."""

    def max_step_plan_bytes(self) -> int:
        """Room for the plan of any step."""

    def table_bytes(self) -> int:
        """Bytes of a store's block tables and step buffers."""

class PoolBudget:
    """What a capacity plan gives one pool."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def blocks(self) -> int: ...

    @property
    def block_bytes(self) -> int:
        """Bytes that a block reserves, padding included."""

    @property
    def useful_block_bytes(self) -> int: ...

    @property
    def total_bytes(self) -> int: ...

class CapacityPlan:
    """
    A byte budget divided over the pools, exactly:
    memory = tables + sum of blocks * block_bytes + unused.
    """

    @property
    def model(self) -> ModelSpec: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def geometry(self) -> Geometry: ...

    @property
    def pools(self) -> list[PoolBudget]: ...

    @property
    def prefill_sequences(self) -> int: ...

    @property
    def prefix_reuse(self) -> bool: ...

    @property
    def in_flight_plans(self) -> int: ...

    @property
    def memory_bytes(self) -> int: ...

    @property
    def table_bytes(self) -> int: ...

    @property
    def unused_bytes(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """Tokens that the full pools hold."""

    @property
    def checkpoints(self) -> int: ...

    @property
    def checkpoint_bytes(self) -> int: ...

    @property
    def useful_checkpoint_bytes(self) -> int: ...

    @property
    def fixed_bytes_per_sequence(self) -> int: ...

    @property
    def useful_fixed_bytes_per_sequence(self) -> int: ...

    @property
    def state_bytes_per_sequence(self) -> int: ...

    @property
    def useful_state_bytes_per_sequence(self) -> int: ...

    @property
    def marginal_bytes_per_token(self) -> float: ...

    @property
    def useful_bytes_per_token(self) -> float: ...

    def sequences_that_fit(self, context_tokens: int) -> int:
        """How many sequences of so many tokens each fit."""

    def worker_bytes(self, layers: range) -> int:
        """
        Bytes of the store of a worker that holds `layers`. Raises InvalidArgument.
        """

    def to_table(self) -> str:
        """A table for people, as `terrace capacity` prints it."""

    def to_json(self) -> str:
        """The JSON of `terrace capacity --json`. Some milliseconds."""

    def __repr__(self) -> str: ...

def plan_capacity(model: ModelSpec | str, memory: int | str, *, limits: Limits = ..., prefill_sequences: int = 0, prefix_reuse: bool = True, checkpoints: int = -1, in_flight_plans: int = 0) -> CapacityPlan:
    """
    What `memory` (bytes, or text such as '40GiB') holds of a model.

    prefill_sequences: charged a prefill step's windows; 0 is all. checkpoints: of prefixes
    that no live sequence uses; -1 is an eighth of the rest.

    Raises InvalidArgument, or ResourceExhausted that says how much it would take.
    """

class FitChoice:
    """
    How many sequences fit if max_sequences is that number and one setting takes least.
    """

    @property
    def setting(self) -> str:
        """The field's name; 'all' for all of them at once."""

    @property
    def sequences(self) -> int: ...

class ContextFit:
    """How many sequences of one length fit, and what would make them more."""

    @property
    def context_tokens(self) -> int: ...

    @property
    def sequences(self) -> int:
        """With the request as it is."""

    @property
    def bound(self) -> str:
        """
        What ends the number: 'max_context_tokens', 'max_sequences' or 'memory'.
        """

    @property
    def choices(self) -> list[FitChoice]:
        """Of settings that can still take less."""

def fit_context(model: ModelSpec | str, memory: int | str, context_tokens: int, *, limits: Limits = ..., prefill_sequences: int = 0, prefix_reuse: bool = True, checkpoints: int = -1, in_flight_plans: int = 0) -> ContextFit:
    """
    How many sequences of `context_tokens` tokens fit, and what would make them more.

    Some hundred times the work of plan_capacity. Raises InvalidArgument. Releases the GIL.
    """

def most_sequences(model: ModelSpec | str, memory: int | str, context_tokens: int, *, limits: Limits = ..., prefill_sequences: int = 0, prefix_reuse: bool = True, checkpoints: int = -1, in_flight_plans: int = 0) -> int:
    """
    The largest max_sequences with which so many sequences of that length fit; 0 if not one.
    """

def plan_choice(choice: FitChoice, model: ModelSpec | str, memory: int | str, context_tokens: int, *, limits: Limits = ..., prefill_sequences: int = 0, prefix_reuse: bool = True, checkpoints: int = -1, in_flight_plans: int = 0) -> CapacityPlan:
    """
    plan_capacity of what a choice of fit_context says: it holds choice.sequences of
    `context_tokens` tokens. The rest as it was given to fit_context.
    """

def parse_bytes(text: str) -> int:
    """Bytes of a text such as '1.5GiB' or '40GB'. Raises InvalidArgument."""

def format_bytes(bytes: int) -> str:
    """Text such as '40.0 GiB'."""

class PrefixMatch:
    """What a prompt finds, in tokens: matched = resumed + skipped + refed."""

    @property
    def matched(self) -> int:
        """Tokens whose chunks are shared."""

    @property
    def resumed(self) -> int:
        """Of them, before a checkpoint: never fed again."""

    @property
    def skipped(self) -> int:
        """Of them, before a refeed without checkpoint: never fed again."""

    @property
    def refed(self) -> int:
        """Of them, to be fed again for their window rows."""

    @property
    def approximate(self) -> bool: ...

    @property
    def saved(self) -> int:
        """matched - refed"""

    def __eq__(self, other: object, /) -> bool: ...

    def __repr__(self) -> str: ...

class PrefixFigures:
    """
    What prefix reuse brought since the ledger was made: plain counts.

    Requests that came back after a preemption are counted apart, as returns.
    matched_tokens = resumed + skipped + refed; stored_chunks = indexed + evicted + expired +
    cleared + lost; stored_checkpoints = held + evicted + rolled + dropped + cleared + lost.
    evicted_blocks and copied_blocks have a number a pool, 8 of them.
    """

    @property
    def lookups(self) -> int: ...

    @property
    def hits(self) -> int: ...

    @property
    def prompt_tokens(self) -> int: ...

    @property
    def matched_tokens(self) -> int: ...

    @property
    def resumed_tokens(self) -> int: ...

    @property
    def skipped_tokens(self) -> int: ...

    @property
    def refed_tokens(self) -> int: ...

    @property
    def stored_chunks(self) -> int: ...

    @property
    def duplicate_chunks(self) -> int: ...

    @property
    def evicted_chunks(self) -> int: ...

    @property
    def expired_chunks(self) -> int: ...

    @property
    def cleared_chunks(self) -> int: ...

    @property
    def lost_chunks(self) -> int: ...

    @property
    def indexed_chunks(self) -> int: ...

    @property
    def unused_chunks(self) -> int: ...

    @property
    def stored_checkpoints(self) -> int: ...

    @property
    def evicted_checkpoints(self) -> int: ...

    @property
    def rolled_checkpoints(self) -> int: ...

    @property
    def dropped_checkpoints(self) -> int: ...

    @property
    def cleared_checkpoints(self) -> int: ...

    @property
    def lost_checkpoints(self) -> int: ...

    @property
    def held_checkpoints(self) -> int: ...

    @property
    def missed_checkpoints(self) -> int: ...

    @property
    def peak_checkpoint_blocks(self) -> int: ...

    @property
    def returns(self) -> int: ...

    @property
    def return_hits(self) -> int: ...

    @property
    def return_prompt_tokens(self) -> int: ...

    @property
    def return_matched_tokens(self) -> int: ...

    @property
    def return_refed_tokens(self) -> int: ...

    @property
    def forks(self) -> int: ...

    @property
    def saved_tokens(self) -> int: ...

    @property
    def evicted_blocks(self) -> list[int]: ...

    @property
    def copied_blocks(self) -> list[int]: ...

    def to_table(self) -> str:
        """A table for people."""

    def to_json(self) -> str:
        """One JSON object."""

    def to_prometheus(self) -> str:
        """Prometheus' text format: names begin with terrace_prefix_."""

def chunk_digests(tokens: Ints, *, salt: bytes | str = b'', chunk_tokens: int = 256, key_ranges: KeyRanges = ()) -> Records:
    """
    Digests of the whole chunks of `tokens` (int32 ids): dtype CHUNK_DIGEST.

    Pass them to allocate_sequence and probe to hash a prompt once. About 80 ns a chunk.
    """

def root_digest(salt: bytes | str) -> Record:
    """The digest of `salt`, the parent of first chunks: a CHUNK_DIGEST."""

class Plan:
    """
    One step as data: what a ledger decided and a store carries out.

    It owns its bytes and knows no address: send `bytes(plan)` to other processes
    and `Plan.parse` it there. Plans do not change; threads may share one.
    """

    @staticmethod
    def parse(data: Buffer | ByteArray, geometry: Geometry) -> Plan:
        """
        The plan in `data`, checked field by field against `geometry`.

        Raises InvalidArgument that says which field of which record is wrong, and
        FailedPrecondition for another deployment's plan. Copies the bytes.
        """

    def __len__(self) -> int:
        """Bytes of the plan."""

    def __bytes__(self) -> bytes:
        """A copy of the bytes."""

    def __buffer__(self, flags: int, /) -> memoryview:
        """The bytes, read-only and not copied."""

    @property
    def number(self) -> int:
        """
        1 for a ledger's first plan, then one more each; a snapshot has that of the last step.
        """

    @property
    def epoch(self) -> int:
        """What tells one ledger's plans from another's."""

    @property
    def generation(self) -> int:
        """1, and one more for each time that the ledger abandoned plans."""

    @property
    def fingerprint(self) -> int:
        """Of the geometry."""

    @property
    def is_snapshot(self) -> bool:
        """Whether it rebuilds block tables instead of advancing sequences."""

    @property
    def num_token_rows(self) -> int:
        """Rows of token-major inputs: the sum of the sequences' counts."""

    @property
    def num_entry_rows(self) -> list[int]:
        """
        Entries that close in this step, a number a pool (8 of them); 0 but in full pools.
        """

    @property
    def sequences(self) -> Records:
        """Each sequence's part, in the order of the rows: dtype SEQUENCE_STEP."""

    @property
    def checkpoints(self) -> Records:
        """Overlap rows that are captured: dtype CHECKPOINT."""

    @property
    def restores(self) -> Records:
        """Compressor states that are made anew: dtype RESTORE."""

    @property
    def patches(self) -> Records:
        """New words of the block tables: dtype BLOCK_PATCH."""

    @property
    def copies(self) -> Records:
        """Blocks that are copied before the step writes: dtype BLOCK_COPY."""

    def __repr__(self) -> str: ...

class Admission:
    """A new sequence, and where to go on."""

    @property
    def id(self) -> int:
        """The handle: a plain int, also in arrays of uint64."""

    @property
    def length(self) -> int:
        """Feed tokens from this position on: match.resumed + match.skipped."""

    @property
    def match(self) -> PrefixMatch: ...

    def __repr__(self) -> str: ...

class SequenceInfo:
    """What is known of a sequence; token counts."""

    @property
    def index(self) -> int:
        """Its row in the device tables."""

    @property
    def length(self) -> int:
        """Rows."""

    @property
    def known(self) -> int:
        """Token ids."""

    @property
    def settled(self) -> int:
        """min(length, known)"""

    @property
    def undecided_drafts(self) -> int: ...

    @property
    def published(self) -> int:
        """Tokens whose chunks are in the prefix index."""

    @property
    def write_from(self) -> int:
        """Entries before it are shared and not written."""

    @property
    def approximate(self) -> bool: ...

    @property
    def reserve_tokens(self) -> int:
        """As asked for."""

    def __repr__(self) -> str: ...

class PoolUse:
    """Blocks of a pool: capacity = free + live + cached + draining."""

    @property
    def capacity(self) -> int: ...

    @property
    def free(self) -> int: ...

    @property
    def live(self) -> int: ...

    @property
    def cached(self) -> int:
        """Content that may be reused; evicted where blocks are short."""

    @property
    def draining(self) -> int:
        """Until the plans that may name them are retired."""

    @property
    def evictable_now(self) -> int:
        """Of those cached: a step that needs them evicts them."""

    @property
    def evictable_later(self) -> int:
        """The others: when plans that may name them are retired."""

    @property
    def reserved(self) -> int:
        """Of those free, cached and draining: set aside for sequences."""

    def __repr__(self) -> str: ...

class PrefixOptions:
    """How prefixes are reused."""

    def __init__(self, *, enabled: bool = True, match: MatchName = 'appended', checkpoints: Literal['none', 'end'] | int = 'end', record_events: bool = False, max_events: int = 1048576, event_keys: bool = False) -> None:
        """
        enabled: False matches and publishes nothing.
        match: 'appended' as soon as a step is appended; 'retired' only what plans computed
        that retire named.
        checkpoints: 'none', 'end' (of prompt and output), or a number of tokens between two,
        a multiple of the chunk's.
        record_events: keep events for take_events. max_events: most that wait, at least 1; beyond,
        they are dropped, and a 'gap' says so. event_keys: 'chunk_stored' has salt and keys.
        """

    @property
    def enabled(self) -> bool: ...

    @property
    def record_events(self) -> bool: ...

    @property
    def max_events(self) -> int: ...

    @property
    def event_keys(self) -> bool: ...

    @property
    def match(self) -> str: ...

    @property
    def checkpoints(self) -> str | int: ...

def sequence_index(id: int) -> int:
    """The row in the device tables that a handle stands for."""

class Ledger:
    """
    The bookkeeping of a cache: which sequence owns which blocks of which pool.

    It touches no device and knows no address; what it decides leaves it as a Plan.

        allocate_sequence -> { append -> (run the step) -> commit [-> truncate] }* -> free_sequence

    One thread at a time: a call that meets another thread inside raises RuntimeError and
    changes nothing. Only probe calls may overlap each other.
    """

    def __init__(self, deployment: CapacityPlan | Geometry, *, epoch: int | None = None, in_flight_plans: int = 0, prefix: PrefixOptions = ...) -> None:
        """
        deployment: what plan_capacity gave, or its geometry (pools have no names then).
        epoch: tells this ledger's plans from all others; None: one that differs by itself.
        in_flight_plans: most plans that may be unretired; 0 where all work is ordered by one
        stream and retire is not called.

        Raises InvalidArgument, ResourceExhausted without the memory for it.
        """

    def allocate_sequence(self, tokens: Ints = (), *, salt: bytes | str = b'', key_ranges: KeyRanges = (), marks: Ints = (), digests: Records | None = None, max_refeed_tokens: int | None = None, approximate_tokens: int = 0, priority: PriorityName = 'normal', time_to_live_ms: int = 0, reserve_tokens: int = 0, returning: bool = False, ids_ahead: bool = False) -> Admission:
        """
        Takes a sequence for a prompt of `tokens` (int32 ids), and all that it can reuse.

        Feed tokens from `length` of the answer on. Prefixes are shared only under equal `salt`
        (tenant, adapter, model version) and equal `key_ranges`: (begin, end, key) says what tokens
        mean beside their ids, a picture behind placeholders; an end of None is none. `marks` are
        positions where a checkpoint is to stay: the end of a system prompt. `max_refeed_tokens`
        bounds what is fed again for a match without a checkpoint (None: no bound);
        `approximate_tokens` above 0 feeds at most so many. `time_to_live_ms` counts by set_time,
        after the last use; 0 is no limit. `returning`: it was preempted before, and is counted
        apart. `ids_ahead`: commit may give ids of tokens that are fed later. `reserve_tokens`: room
        is set aside for the first so many tokens, and no other sequence takes it.

        Raises ResourceExhausted when all sequence indices are taken, OutOfBlocks for a prompt or a
        reservation that no pool can ever hold, or a reservation that has no room now (retry_later),
        InvalidArgument. Takes no new block yet. Releases the GIL.
        """

    def probe(self, tokens: Ints, *, salt: bytes | str = b'', key_ranges: KeyRanges = (), digests: Records | None = None, max_refeed_tokens: int | None = None, approximate_tokens: int = 0) -> PrefixMatch:
        """
        What allocate_sequence would find now. Changes nothing.

        Several threads may probe at once. Releases the GIL.
        """

    def extend_match(self, id: int) -> PrefixMatch:
        """
        Attaches what others published since: call it before a step of a prompt that is still
        being fed, and go on at info(id).length.

        Raises NotFound, FailedPrecondition for undecided drafts.
        """

    def fork(self, id: int) -> int:
        """
        A second sequence with the same tokens and rows; blocks are shared until one writes.

        Raises NotFound, ResourceExhausted, FailedPrecondition for undecided drafts or rows
        whose ids are not committed.
        """

    def append(self, ids: Ids, tokens: Ints = 1, drafts: Ints = 0) -> Plan:
        """
        Feeds a batch: `tokens` rows of each of `ids`, the last `drafts` of them speculative.

        `ids` are handles: one int, a list, or an array of int64 or uint64. `tokens` and `drafts`
        are one number for all, or one each. Their order is that of the plan's rows. All or
        nothing over all sequences and pools; never waits. No ids at all are a step of no sequence.

        Raises OutOfBlocks (its `retry_later` and `helps` say what to do; ask again after a free
        or a retire), NotFound, InvalidArgument for duplicates or counts beyond the limits,
        FailedPrecondition for undecided drafts or too many unretired plans. Releases the GIL.
        """

    def commit(self, ids: Ids, tokens: Ints, counts: Ints | None = None) -> None:
        """
        Gives the next token ids (int32), in order.

        One handle: all of `tokens` are its. Several: one token each, or `counts[i]` of them for
        ids[i], one sequence's behind the other's.

        Raises NotFound and InvalidArgument beyond max_context_tokens + 1 ids before anything is
        given, FailedPrecondition for ids more than one ahead of the rows (see ids_ahead): what
        stands before that sequence in the batch has been given.
        """

    def truncate(self, ids: Ids, lengths: Ints) -> None:
        """
        Takes back rows from `lengths` on: drafts of the last step that are not settled.

        All or nothing. Raises NotFound, InvalidArgument.
        """

    def free_sequence(self, ids: Ids, reason: FreeReasonName = 'finished') -> None:
        """
        Frees one sequence or several, all or none. The reason is only counted (metrics).

        Raises NotFound for a handle that is stale or was never given, InvalidArgument.
        """

    def retire(self, plan: int) -> None:
        """
        Every plan up to number `plan` has run to its end on every store: no store touches its
        blocks any more. Never waits; poll your stream's event and call it when it is done.

        Raises InvalidArgument for a plan not made yet or retired before, FailedPrecondition if
        in_flight_plans is 0 and matching does not wait for it.
        """

    def abandon(self, first: int) -> Records:
        """
        The plans `first` to last_plan() count as not run, on any store.

        Gives the sequences that go back, dtype ADMISSION: feed each from its `length` on. Every
        store begins a snapshot() next. The caller promises that no store begins a plan made
        before this call. Raises InvalidArgument for `first` outside 1..last_plan().
        """

    def distrust(self, ids: Ids, from_position: Ints = 0) -> Records:
        """
        Rows of these sequences from `from_position` on are wrong, as where an output was NaN.

        Gives the sequences that go back, dtype ADMISSION. Forks made beyond it are to be named
        too. Raises NotFound, InvalidArgument; nothing has changed then.
        """

    def snapshot(self) -> Plan:
        """
        All block tables as one plan: for a store that missed a plan, and for every store after
        abandon. Does not count as a step.
        """

    def set_time(self, now_ms: int) -> None:
        """
        Tells the time in ms from any start; drops what outlived its time to live.

        Raises InvalidArgument for an earlier time.
        """

    def clear_prefixes(self) -> None:
        """Forgets every published prefix and checkpoint: the weights changed."""

    def take_events(self) -> Records:
        """
        Events since the last call, in order: dtype PREFIX_EVENT. None unless record_events.

        At most max_events, and one 'gap' behind them if more were dropped.
        """

    def index_events(self) -> Records:
        """
        The whole index as events, for a router that starts late or comes to a gap.

        'cleared' first, then all chunks and checkpoints, parents first. Each has the number of
        the last event until now: a router skips those up to it. Takes no event.
        """

    def prefix_figures(self) -> PrefixFigures:
        """What prefix reuse brought since the ledger was made."""

    @overload
    def info(self, ids: int) -> SequenceInfo: ...
    @overload
    def info(self, ids: Sequence[int] | IntArray) -> Records:
        """
        What is known of a sequence; of several, an array of dtype SEQUENCE_INFO.

        Raises NotFound.
        """

    @overload
    def use(self, pool: int | str) -> PoolUse: ...
    @overload
    def use(self, pool: None = None) -> Records:
        """
        The blocks of a pool, by name or index; of all pools, an array of dtype POOL_USE.

        Raises InvalidArgument that lists the pools.
        """

    def num_sequences(self) -> int:
        """How many are live."""

    def last_plan(self) -> int:
        """The number of the last plan; 0 before the first."""

    def epoch(self) -> int:
        """What tells this ledger's plans from all others."""

    def generation(self) -> int:
        """Of the next plan: 1, and one more for each abandon."""

    def check_invariants(self) -> None:
        """
        Walks everything and aborts the process where an invariant is broken: for tests.
        """

    def metrics(self) -> LedgerMetrics:
        """
        All that a monitor asks, in one call; to_json and to_prometheus write it.
        """

    @property
    def geometry(self) -> Geometry:
        """The deployment that plans are made for."""

class Pages:
    """
    One layer's pages of one plane, for kernels that read in place. Valid as long as it lives.

        page of slot s:      page = address + (s // entries_per_page) * page_stride
        data row of slot s:  page + (s % entries_per_page) * data_stride
        scale row of slot s: page + scale_offset + (s % entries_per_page) * scale_stride

    A block is entries_per_block / entries_per_page pages, mostly one.
    `bytes`, `data` and `scales` are views: give them to numpy.asarray, torch.from_dlpack,
    cupy.from_dlpack. They keep the store alive.
    """

    @property
    def address(self) -> int: ...

    @property
    def block_stride(self) -> int:
        """Bytes."""

    @property
    def page_stride(self) -> int:
        """Bytes; block_stride where a block is one page."""

    @property
    def num_pages(self) -> int:
        """num_blocks, where a block is one page."""

    @property
    def entries_per_page(self) -> int: ...

    @property
    def page_bytes(self) -> int: ...

    @property
    def num_blocks(self) -> int: ...

    @property
    def entries_per_block(self) -> int: ...

    @property
    def format(self) -> str:
        """The row format's name; 'opaque' in overlap and state pools."""

    @property
    def data_bytes(self) -> int:
        """Of a row."""

    @property
    def scale_bytes(self) -> int:
        """Of a row."""

    @property
    def data_stride(self) -> int:
        """Bytes between the data rows of neighbouring slots of a page."""

    @property
    def scale_stride(self) -> int:
        """Bytes between the scale rows of neighbouring slots of a page."""

    @property
    def scale_offset(self) -> int:
        """Bytes from a page's start to its first scale row."""

    @property
    def bytes(self) -> DLPackView:
        """uint8 [num_pages, page_bytes]."""

    @property
    def data(self) -> DLPackView:
        """uint8 [num_pages, entries_per_page, data_bytes]."""

    @property
    def scales(self) -> DLPackView:
        """uint8 [num_pages, entries_per_page, scale_bytes]."""

class StepView:
    """
    Where a store keeps the current step, at addresses that are fixed for its life.

    All are views in the backend's memory, int32, and keep the store alive.
    """

    @property
    def header_address(self) -> int:
        """Of the plan's 128-byte header; its sequence steps follow it."""

    @property
    def tokens(self) -> DLPackView:
        """
        [max_step_tokens, 4]: sequence_index (-1: no token), position, first, first_stored.
        """

    @property
    def token_record(self) -> DLPackView:
        """[max_step_tokens]: index of the row's sequence step."""

    @property
    def token_position(self) -> DLPackView:
        """[max_step_tokens]"""

    def block_table(self, pool: int | str) -> DLPackView:
        """[max_sequences, blocks_per_sequence]; -1 is no block."""

    def slots(self, pool: int | str) -> DLPackView:
        """
        Where the step's rows go: window pools [max_step_tokens], full pools
        [geometry.max_entry_rows(pool)]; -1 stores nothing.
        """

    def entry_position(self, pool: int | str) -> DLPackView:
        """Full pools: first token of each entry that closes."""

class Step:
    """Counts of a store's current step."""

    @property
    def number(self) -> int: ...

    @property
    def num_sequences(self) -> int: ...

    @property
    def num_token_rows(self) -> int: ...

    @property
    def padded_token_rows(self) -> int:
        """Rows that calls ask for by default."""

    @property
    def num_entry_rows(self) -> list[int]:
        """Entries that close, a number a pool."""

class StaleState:
    """A state page that was not where a step begins."""

    @property
    def plan(self) -> int:
        """The step's number, modulo 2^32."""

    @property
    def layer(self) -> int:
        """Of the model."""

    @property
    def sequence_index(self) -> int:
        """Of the step."""

    @property
    def fed_again(self) -> bool:
        """
        The step ran twice, or its graph did; else one before it was not compressed.
        """

class Counters:
    """What kernels skipped or mended: all zeros is a healthy engine."""

    @property
    def nonfinite_values(self) -> int:
        """NaN or infinity in a row that was written."""

    @property
    def skipped_slots(self) -> int:
        """Raw slots outside the pool."""

    @property
    def skipped_entries(self) -> int:
        """Chosen entries that the query does not see."""

    @property
    def skipped_positions(self) -> int:
        """Rows whose position lies beyond the RoPE table."""

    @property
    def stale_states(self) -> int:
        """
        Sequences of a step, a layer each, whose state was not where the step begins.
        """

    @property
    def first_stale_state(self) -> StaleState | None:
        """Which one, of the earliest step."""

    @property
    def truncated_queries(self) -> int:
        """Queries that see more entries than the output holds."""

    def __repr__(self) -> str: ...

class BoundCall:
    """
    A call of a store whose tensors were checked once: call it in each step.

    It holds references to its tensors and to the store.
    """

    def __call__(self, stream: Stream = None) -> Any:
        """
        Enqueues the call for the current step and gives the tensor that it fills, if any.

        Raises FailedPrecondition for a tensor that was resized or moved since, InvalidArgument
        for one that is too small for the step. Releases the GIL.
        """

    @property
    def out(self) -> Any:
        """The tensor that it fills, or None."""

class Store:
    """
    The pages of a range of layers in one backend's memory.

    begin(plan) once a step, then per layer write or compress, then translate, gather or pages.
    All work is ordered on one stream. One thread at a time: a call that meets another thread
    inside raises RuntimeError and changes nothing.
    """

    def __init__(self, model: ModelSpec | str, geometry: Geometry, *, layers: range | None = None, backend: BackendName = 'auto', device: int = 0, host_threads: int = 0, memory: MemoryResource | None = None, epoch: int | None = None, nvtx: bool = False) -> None:
        """
        Allocates every pool (zero-filled), the block tables and the step buffers.

        layers: of the model, None for all. backend: 'auto' is cuda where a device is usable.
        host_threads: 0 is one a core. memory: takes pages, tables and buffers out of your own
        pool. epoch: of the ledger to follow; None: that of the first plan. nvtx: on cuda, calls are
        NVTX ranges in the domain 'terrace', for Nsight Systems.

        Raises InvalidArgument, ResourceExhausted, FailedPrecondition for no usable device.
        """

    def begin(self, plan: Plan, *, stream: Stream = None, padded_token_rows: int = 0) -> None:
        """
        Makes `plan` the current step: once a plan, in order of number, before any layer.

        padded_token_rows: rows up to it read as 'no token', for batches padded to a captured size.

        Raises InvalidArgument for a plan of another geometry or one seen before,
        FailedPrecondition where plans are missing: begin the ledger's snapshot() first.
        DeviceError in the middle of the work: the store then refuses every call until it begins a
        snapshot. Releases the GIL.
        """

    def copy_blocks(self, pool: int | str, sources: Ints, destinations: Ints, *, stream: Stream = None) -> None:
        """
        Copies whole blocks of a pool, all layers and planes. No block may be both a source and
        a destination. Raises InvalidArgument.
        """

    def set_global_scale(self, layer: int, pool: PoolName, scale: float) -> None:
        """
        The global scale of a layer's latent rows (nvfp4); 1 until set.

        Raises FailedPrecondition once that layer's pool was written, InvalidArgument unless
        finite and above 0.
        """

    def pages(self, layer: int, pool: PoolName = 'full', plane: PlaneName = 'latent') -> Pages:
        """
        One layer's pages of one plane, to read in place. The views keep the store alive.

        Raises InvalidArgument for a layer, pool or plane that is not there.
        """

    def step(self) -> Step:
        """Counts of the current step."""

    def step_view(self) -> StepView:
        """
        Where the current step's rows are expanded to, at fixed addresses, for kernels of your
        own.
        """

    def read_counters(self) -> Counters:
        """
        What kernels skipped or mended since the store was made. Does not wait for the device.
        """

    def synchronize(self, stream: Stream = None) -> None:
        """
        Waits for what was enqueued on `stream`. Releases the GIL. For tests and tools.
        """

    def memory_bytes(self) -> int:
        """Pools and tables."""

    def backend(self) -> str:
        """'host' or 'cuda'."""

    @property
    def device(self) -> int:
        """The CUDA device's ordinal; 0 on the host."""

    def write(self, layer: int, *, swa: Tensor | None = None, entries: Tensor | None = None, indexer: Tensor | None = None, rotated: bool = False, graph: bool = False, stream: Stream = None) -> None:
        """
        Rotates, quantizes and stores the rows of one layer, in one launch.

        swa: bf16 [token rows, channels]; entries and indexer: bf16 [entries that close in the
        step, channels]. bf16 may be given as uint16. Rows are 16-byte aligned and may have a pitch
        of a multiple of 8 elements. A tensor may have more rows than the step.
        rotated: the rows are rotated already. graph: launch for as many rows as the tensors have,
        so that a captured CUDA graph serves every step that fits.

        Raises InvalidArgument; nothing was enqueued then. Releases the GIL.
        """

    def bind_write(self, layer: int, *, swa: Tensor | None = None, entries: Tensor | None = None, indexer: Tensor | None = None, rotated: bool = False, graph: bool = False) -> BoundCall:
        """The same, checked once and called many times."""

    def compress(self, layer: int, kv: Tensor, score: Tensor, ape: Tensor, norm_weight: Tensor, *, indexer_kv: Tensor | None = None, indexer_score: Tensor | None = None, indexer_ape: Tensor | None = None, indexer_norm_weight: Tensor | None = None, eps: float = 1e-6, hadamard: bool = True, graph: bool = False, stream: Stream = None) -> None:
        """
        Makes the entries that close in the step of kv and scores, in one launch.

        kv, score: float32 or bf16 [token rows, w]; ape: float32 [ratio, w]; norm_weight: bf16 or
        float32 [d]. d is 512 for the latent and 128 for the indexer key, w is 2d at ratio 4, else
        d. hadamard transforms the indexer key. Once a layer and step, for models with state.

        Raises InvalidArgument; nothing was enqueued then. Releases the GIL.
        """

    def bind_compress(self, layer: int, kv: Tensor, score: Tensor, ape: Tensor, norm_weight: Tensor, *, indexer_kv: Tensor | None = None, indexer_score: Tensor | None = None, indexer_ape: Tensor | None = None, indexer_norm_weight: Tensor | None = None, eps: float = 1e-6, hadamard: bool = True, graph: bool = False) -> BoundCall:
        """The same, checked once and called many times."""

    def translate_top_k(self, layer: int, entries: Tensor, out: Tensor | None = None, lengths: Tensor | None = None, *, queries: Queries = None, stream: Stream = None) -> Any:
        """
        Slots of chosen entries of the layer's full pool.

        entries: int32 [queries, k], 0 = the sequence's first entry, -1 = none. out: int32 [queries,
        k rounded up to 64], -1 beyond a query's rows; a new array if None. lengths: int32
        [queries], 1 + index of the last slot that is not -1. queries: token rows of the step that
        ask, int32 [queries]; an int n for the first n; None for all.

        Gives `out`. Raises InvalidArgument. Releases the GIL.
        """

    def bind_translate_top_k(self, layer: int, entries: Tensor, out: Tensor, lengths: Tensor | None = None, *, queries: Queries = None) -> BoundCall:
        """The same, checked once and called many times."""

    def translate_visible(self, layer: int, max_entries: int | None = None, out: Tensor | None = None, lengths: Tensor | None = None, *, queries: Queries = None, stream: Stream = None) -> Any:
        """
        Slots of all entries that a query sees, at most `max_entries` (None: as many as `out`
        has columns). Otherwise as translate_top_k.
        """

    def bind_translate_visible(self, layer: int, max_entries: int | None, out: Tensor, lengths: Tensor | None = None, *, queries: Queries = None) -> BoundCall:
        """The same, checked once and called many times."""

    def translate_window(self, layer: int, out: Tensor | None = None, lengths: Tensor | None = None, *, queries: Queries = None, stream: Stream = None) -> Any:
        """
        Slots of a query's window: out is int32 [queries, window_tokens rounded up to 64].
        Otherwise as translate_top_k.
        """

    def bind_translate_window(self, layer: int, out: Tensor, lengths: Tensor | None = None, *, queries: Queries = None) -> BoundCall:
        """The same, checked once and called many times."""

    def gather_top_k(self, layer: int, entries: Tensor, out: Tensor | None = None, *, queries: Queries = None, plane: PlaneName = 'latent', rotate: bool = False, stream: Stream = None) -> Any:
        """
        Reads chosen entries and dequantizes them.

        entries and queries: as translate_top_k. out: bf16 [queries, k, channels], 16-byte aligned,
        with any pitches of multiples of 8; a new tensor if None (uint16 for NumPy). Rows without an
        entry are zero. rotate: rotate after the load, for planes that store unrotated rows.

        Gives `out`. Raises InvalidArgument. Releases the GIL.
        """

    def bind_gather_top_k(self, layer: int, entries: Tensor, out: Tensor, *, queries: Queries = None, plane: PlaneName = 'latent', rotate: bool = False) -> BoundCall:
        """The same, checked once and called many times."""

    def gather_visible(self, layer: int, max_entries: int | None = None, out: Tensor | None = None, *, queries: Queries = None, plane: PlaneName = 'latent', rotate: bool = False, stream: Stream = None) -> Any:
        """
        Reads all entries that a query sees, at most `max_entries` (None: as many as `out`
        holds). Otherwise as gather_top_k.
        """

    def bind_gather_visible(self, layer: int, max_entries: int | None, out: Tensor, *, queries: Queries = None, plane: PlaneName = 'latent', rotate: bool = False) -> BoundCall:
        """The same, checked once and called many times."""

    def gather_window(self, layer: int, out: Tensor | None = None, *, queries: Queries = None, rotate: bool = False, stream: Stream = None) -> Any:
        """
        Reads a query's window, the oldest row first: out is bf16 [queries, window_tokens,
        channels]. Otherwise as gather_top_k.
        """

    def bind_gather_window(self, layer: int, out: Tensor, *, queries: Queries = None, rotate: bool = False) -> BoundCall:
        """The same, checked once and called many times."""

    def write_slots(self, layer: int, rows: Tensor, slots: Tensor, positions: Tensor | None = None, *, pool: PoolName = 'full', plane: PlaneName = 'latent', rotated: bool = False, stream: Stream = None) -> None:
        """
        Stores rows by raw slot, outside any plan.

        rows: bf16 [n, channels]; slots: int32 [n], block * entries_per_block + offset, -1 stores
        nothing; positions: int32 [n], needed where rows rotate. Slots past the end are skipped and
        counted. Raises InvalidArgument. Releases the GIL.
        """

    def read_slots(self, layer: int, slots: Tensor, out: Tensor | None = None, positions: Tensor | None = None, *, pool: PoolName = 'full', plane: PlaneName = 'latent', rotate: bool = False, stream: Stream = None) -> Any:
        """
        Reads rows by raw slot: out is bf16 [n, channels], zeros for slot -1. Gives `out`.

        Raises InvalidArgument. Releases the GIL.
        """

    def metrics(self) -> StoreMetrics:
        """All that a monitor asks, in one call, beside any other call."""

    def set_rope_tables(self, tables: Sequence[Tensor]) -> None:
        """
        One table for each of model.ropes: float32 [positions, 64], 32 cosines then 32 sines.

        The store keeps the tensors. Needed before rows are rotated; formats.rope_table makes
        them. Raises InvalidArgument.
        """

    @property
    def geometry(self) -> Geometry: ...

    @property
    def model(self) -> ModelSpec: ...

    @property
    def layers(self) -> range:
        """Of the model, that this store holds."""

class PoolMetrics:
    """What a monitor is told of a pool."""

    @property
    def kind(self) -> str: ...

    @property
    def ratio(self) -> int:
        """Tokens per entry; 0 in an overlap pool."""

    @property
    def use(self) -> PoolUse:
        """Now."""

    @property
    def shortages(self) -> int:
        """Calls that failed because it was short."""

class LedgerMetrics:
    """
    What a monitor is told of a ledger. Sums since it was made, but for sequences,
    plans_in_flight, waiting_events and the pools' use, which are of now.
    """

    @property
    def max_sequences(self) -> int: ...

    @property
    def sequences(self) -> int: ...

    @property
    def allocated_sequences(self) -> int: ...

    @property
    def refused_sequences(self) -> int: ...

    @property
    def finished_sequences(self) -> int: ...

    @property
    def preempted_sequences(self) -> int: ...

    @property
    def cancelled_sequences(self) -> int: ...

    @property
    def plans(self) -> int: ...

    @property
    def plans_in_flight(self) -> int: ...

    @property
    def lost_plans(self) -> int: ...

    @property
    def abandons(self) -> int: ...

    @property
    def distrusts(self) -> int: ...

    @property
    def restarted_sequences(self) -> int: ...

    @property
    def events(self) -> int: ...

    @property
    def waiting_events(self) -> int: ...

    @property
    def dropped_events(self) -> int: ...

    @property
    def pools(self) -> list[PoolMetrics]:
        """By their index."""

    @property
    def prefix(self) -> PrefixFigures: ...

    def to_json(self) -> str:
        """One JSON object."""

    def to_prometheus(self) -> str:
        """Prometheus' text format, version 0.0.4."""

class StoreMetrics:
    """What a monitor is told of a store."""

    @property
    def memory_bytes(self) -> int:
        """Pools and tables."""

    @property
    def counters(self) -> Counters: ...

    def to_json(self) -> str:
        """One JSON object."""

    def to_prometheus(self) -> str:
        """Prometheus' text format, version 0.0.4."""

class CacheMetrics:
    """What a monitor is told of a cache."""

    @property
    def ledger(self) -> LedgerMetrics: ...

    @property
    def store(self) -> StoreMetrics: ...

    def to_json(self) -> str:
        """One JSON object."""

    def to_prometheus(self) -> str:
        """Prometheus' text format, version 0.0.4."""

class Cache:
    """
    One ledger and one store in one process: every call of Ledger and of Store.

    memory covers the pools, block tables and step buffers. Rope tables come on top: 256 bytes a
    position for each of the model's ropes that a layer uses, over max_context_tokens positions.

    With in_flight_plans 0 a step is appended, begun and run before the next is appended: the calls
    of layers raise FailedPrecondition while the last plan is not the last that was begun.

    The scheduler's calls and the worker's calls may run in two threads. Two threads in calls of
    one side: the second gets RuntimeError, and nothing has changed.
    """

    def __init__(self, model: ModelSpec | str, memory: int | str, *, limits: Limits = ..., backend: BackendName = 'auto', device: int = 0, host_threads: int = 0, memory_resource: MemoryResource | None = None, nvtx: bool = False, in_flight_plans: int = 0, epoch: int | None = None, prefix: PrefixOptions = ..., prefill_sequences: int = 0, checkpoints: int = -1) -> None:
        """
        memory: bytes, or text such as '40GiB'. The rest is as in Store, Ledger and
        plan_capacity.

        Raises InvalidArgument, ResourceExhausted, FailedPrecondition for no usable device.
        """

    def allocate_sequence(self, tokens: Ints = (), *, salt: bytes | str = b'', key_ranges: KeyRanges = (), marks: Ints = (), digests: Records | None = None, max_refeed_tokens: int | None = None, approximate_tokens: int = 0, priority: PriorityName = 'normal', time_to_live_ms: int = 0, reserve_tokens: int = 0, returning: bool = False, ids_ahead: bool = False) -> Admission:
        """
        Takes a sequence for a prompt of `tokens` (int32 ids), and all that it can reuse.

        Feed tokens from `length` of the answer on. Prefixes are shared only under equal `salt`
        (tenant, adapter, model version) and equal `key_ranges`: (begin, end, key) says what tokens
        mean beside their ids, a picture behind placeholders; an end of None is none. `marks` are
        positions where a checkpoint is to stay: the end of a system prompt. `max_refeed_tokens`
        bounds what is fed again for a match without a checkpoint (None: no bound);
        `approximate_tokens` above 0 feeds at most so many. `time_to_live_ms` counts by set_time,
        after the last use; 0 is no limit. `returning`: it was preempted before, and is counted
        apart. `ids_ahead`: commit may give ids of tokens that are fed later. `reserve_tokens`: room
        is set aside for the first so many tokens, and no other sequence takes it.

        Raises ResourceExhausted when all sequence indices are taken, OutOfBlocks for a prompt or a
        reservation that no pool can ever hold, or a reservation that has no room now (retry_later),
        InvalidArgument. Takes no new block yet. Releases the GIL.
        """

    def probe(self, tokens: Ints, *, salt: bytes | str = b'', key_ranges: KeyRanges = (), digests: Records | None = None, max_refeed_tokens: int | None = None, approximate_tokens: int = 0) -> PrefixMatch:
        """
        What allocate_sequence would find now. Changes nothing.

        Several threads may probe at once. Releases the GIL.
        """

    def extend_match(self, id: int) -> PrefixMatch:
        """
        Attaches what others published since: call it before a step of a prompt that is still
        being fed, and go on at info(id).length.

        Raises NotFound, FailedPrecondition for undecided drafts.
        """

    def fork(self, id: int) -> int:
        """
        A second sequence with the same tokens and rows; blocks are shared until one writes.

        Raises NotFound, ResourceExhausted, FailedPrecondition for undecided drafts or rows
        whose ids are not committed.
        """

    def append(self, ids: Ids, tokens: Ints = 1, drafts: Ints = 0) -> Plan:
        """
        Feeds a batch: `tokens` rows of each of `ids`, the last `drafts` of them speculative.

        `ids` are handles: one int, a list, or an array of int64 or uint64. `tokens` and `drafts`
        are one number for all, or one each. Their order is that of the plan's rows. All or
        nothing over all sequences and pools; never waits. No ids at all are a step of no sequence.

        Raises OutOfBlocks (its `retry_later` and `helps` say what to do; ask again after a free
        or a retire), NotFound, InvalidArgument for duplicates or counts beyond the limits,
        FailedPrecondition for undecided drafts or too many unretired plans. Releases the GIL.
        """

    def commit(self, ids: Ids, tokens: Ints, counts: Ints | None = None) -> None:
        """
        Gives the next token ids (int32), in order.

        One handle: all of `tokens` are its. Several: one token each, or `counts[i]` of them for
        ids[i], one sequence's behind the other's.

        Raises NotFound and InvalidArgument beyond max_context_tokens + 1 ids before anything is
        given, FailedPrecondition for ids more than one ahead of the rows (see ids_ahead): what
        stands before that sequence in the batch has been given.
        """

    def truncate(self, ids: Ids, lengths: Ints) -> None:
        """
        Takes back rows from `lengths` on: drafts of the last step that are not settled.

        All or nothing. Raises NotFound, InvalidArgument.
        """

    def free_sequence(self, ids: Ids, reason: FreeReasonName = 'finished') -> None:
        """
        Frees one sequence or several, all or none. The reason is only counted (metrics).

        Raises NotFound for a handle that is stale or was never given, InvalidArgument.
        """

    def retire(self, plan: int) -> None:
        """
        Every plan up to number `plan` has run to its end on every store: no store touches its
        blocks any more. Never waits; poll your stream's event and call it when it is done.

        Raises InvalidArgument for a plan not made yet or retired before, FailedPrecondition if
        in_flight_plans is 0 and matching does not wait for it.
        """

    def abandon(self, first: int) -> Records:
        """
        The plans `first` to last_plan() count as not run, on any store.

        Gives the sequences that go back, dtype ADMISSION: feed each from its `length` on. Every
        store begins a snapshot() next. The caller promises that no store begins a plan made
        before this call. Raises InvalidArgument for `first` outside 1..last_plan().
        """

    def distrust(self, ids: Ids, from_position: Ints = 0) -> Records:
        """
        Rows of these sequences from `from_position` on are wrong, as where an output was NaN.

        Gives the sequences that go back, dtype ADMISSION. Forks made beyond it are to be named
        too. Raises NotFound, InvalidArgument; nothing has changed then.
        """

    def snapshot(self) -> Plan:
        """
        All block tables as one plan: for a store that missed a plan, and for every store after
        abandon. Does not count as a step.
        """

    def set_time(self, now_ms: int) -> None:
        """
        Tells the time in ms from any start; drops what outlived its time to live.

        Raises InvalidArgument for an earlier time.
        """

    def clear_prefixes(self) -> None:
        """Forgets every published prefix and checkpoint: the weights changed."""

    def take_events(self) -> Records:
        """
        Events since the last call, in order: dtype PREFIX_EVENT. None unless record_events.

        At most max_events, and one 'gap' behind them if more were dropped.
        """

    def index_events(self) -> Records:
        """
        The whole index as events, for a router that starts late or comes to a gap.

        'cleared' first, then all chunks and checkpoints, parents first. Each has the number of
        the last event until now: a router skips those up to it. Takes no event.
        """

    def prefix_figures(self) -> PrefixFigures:
        """What prefix reuse brought since the ledger was made."""

    @overload
    def info(self, ids: int) -> SequenceInfo: ...
    @overload
    def info(self, ids: Sequence[int] | IntArray) -> Records:
        """
        What is known of a sequence; of several, an array of dtype SEQUENCE_INFO.

        Raises NotFound.
        """

    @overload
    def use(self, pool: int | str) -> PoolUse: ...
    @overload
    def use(self, pool: None = None) -> Records:
        """
        The blocks of a pool, by name or index; of all pools, an array of dtype POOL_USE.

        Raises InvalidArgument that lists the pools.
        """

    def num_sequences(self) -> int:
        """How many are live."""

    def last_plan(self) -> int:
        """The number of the last plan; 0 before the first."""

    def epoch(self) -> int:
        """What tells this ledger's plans from all others."""

    def generation(self) -> int:
        """Of the next plan: 1, and one more for each abandon."""

    def check_invariants(self) -> None:
        """
        Walks everything and aborts the process where an invariant is broken: for tests.
        """

    def begin(self, plan: Plan, *, stream: Stream = None, padded_token_rows: int = 0) -> None:
        """
        Makes `plan` the current step: once a plan, in order of number, before any layer.

        padded_token_rows: rows up to it read as 'no token', for batches padded to a captured size.

        Raises InvalidArgument for a plan of another geometry or one seen before,
        FailedPrecondition where plans are missing: begin the ledger's snapshot() first.
        DeviceError in the middle of the work: the store then refuses every call until it begins a
        snapshot. Releases the GIL.
        """

    def copy_blocks(self, pool: int | str, sources: Ints, destinations: Ints, *, stream: Stream = None) -> None:
        """
        Copies whole blocks of a pool, all layers and planes. No block may be both a source and
        a destination. Raises InvalidArgument.
        """

    def set_global_scale(self, layer: int, pool: PoolName, scale: float) -> None:
        """
        The global scale of a layer's latent rows (nvfp4); 1 until set.

        Raises FailedPrecondition once that layer's pool was written, InvalidArgument unless
        finite and above 0.
        """

    def pages(self, layer: int, pool: PoolName = 'full', plane: PlaneName = 'latent') -> Pages:
        """
        One layer's pages of one plane, to read in place. The views keep the store alive.

        Raises InvalidArgument for a layer, pool or plane that is not there.
        """

    def step(self) -> Step:
        """Counts of the current step."""

    def step_view(self) -> StepView:
        """
        Where the current step's rows are expanded to, at fixed addresses, for kernels of your
        own.
        """

    def read_counters(self) -> Counters:
        """
        What kernels skipped or mended since the store was made. Does not wait for the device.
        """

    def synchronize(self, stream: Stream = None) -> None:
        """
        Waits for what was enqueued on `stream`. Releases the GIL. For tests and tools.
        """

    def memory_bytes(self) -> int:
        """Pools and tables."""

    def backend(self) -> str:
        """'host' or 'cuda'."""

    @property
    def device(self) -> int:
        """The CUDA device's ordinal; 0 on the host."""

    def write(self, layer: int, *, swa: Tensor | None = None, entries: Tensor | None = None, indexer: Tensor | None = None, rotated: bool = False, graph: bool = False, stream: Stream = None) -> None:
        """
        Rotates, quantizes and stores the rows of one layer, in one launch.

        swa: bf16 [token rows, channels]; entries and indexer: bf16 [entries that close in the
        step, channels]. bf16 may be given as uint16. Rows are 16-byte aligned and may have a pitch
        of a multiple of 8 elements. A tensor may have more rows than the step.
        rotated: the rows are rotated already. graph: launch for as many rows as the tensors have,
        so that a captured CUDA graph serves every step that fits.

        Raises InvalidArgument; nothing was enqueued then. Releases the GIL.
        """

    def bind_write(self, layer: int, *, swa: Tensor | None = None, entries: Tensor | None = None, indexer: Tensor | None = None, rotated: bool = False, graph: bool = False) -> BoundCall:
        """The same, checked once and called many times."""

    def compress(self, layer: int, kv: Tensor, score: Tensor, ape: Tensor, norm_weight: Tensor, *, indexer_kv: Tensor | None = None, indexer_score: Tensor | None = None, indexer_ape: Tensor | None = None, indexer_norm_weight: Tensor | None = None, eps: float = 1e-6, hadamard: bool = True, graph: bool = False, stream: Stream = None) -> None:
        """
        Makes the entries that close in the step of kv and scores, in one launch.

        kv, score: float32 or bf16 [token rows, w]; ape: float32 [ratio, w]; norm_weight: bf16 or
        float32 [d]. d is 512 for the latent and 128 for the indexer key, w is 2d at ratio 4, else
        d. hadamard transforms the indexer key. Once a layer and step, for models with state.

        Raises InvalidArgument; nothing was enqueued then. Releases the GIL.
        """

    def bind_compress(self, layer: int, kv: Tensor, score: Tensor, ape: Tensor, norm_weight: Tensor, *, indexer_kv: Tensor | None = None, indexer_score: Tensor | None = None, indexer_ape: Tensor | None = None, indexer_norm_weight: Tensor | None = None, eps: float = 1e-6, hadamard: bool = True, graph: bool = False) -> BoundCall:
        """The same, checked once and called many times."""

    def translate_top_k(self, layer: int, entries: Tensor, out: Tensor | None = None, lengths: Tensor | None = None, *, queries: Queries = None, stream: Stream = None) -> Any:
        """
        Slots of chosen entries of the layer's full pool.

        entries: int32 [queries, k], 0 = the sequence's first entry, -1 = none. out: int32 [queries,
        k rounded up to 64], -1 beyond a query's rows; a new array if None. lengths: int32
        [queries], 1 + index of the last slot that is not -1. queries: token rows of the step that
        ask, int32 [queries]; an int n for the first n; None for all.

        Gives `out`. Raises InvalidArgument. Releases the GIL.
        """

    def bind_translate_top_k(self, layer: int, entries: Tensor, out: Tensor, lengths: Tensor | None = None, *, queries: Queries = None) -> BoundCall:
        """The same, checked once and called many times."""

    def translate_visible(self, layer: int, max_entries: int | None = None, out: Tensor | None = None, lengths: Tensor | None = None, *, queries: Queries = None, stream: Stream = None) -> Any:
        """
        Slots of all entries that a query sees, at most `max_entries` (None: as many as `out`
        has columns). Otherwise as translate_top_k.
        """

    def bind_translate_visible(self, layer: int, max_entries: int | None, out: Tensor, lengths: Tensor | None = None, *, queries: Queries = None) -> BoundCall:
        """The same, checked once and called many times."""

    def translate_window(self, layer: int, out: Tensor | None = None, lengths: Tensor | None = None, *, queries: Queries = None, stream: Stream = None) -> Any:
        """
        Slots of a query's window: out is int32 [queries, window_tokens rounded up to 64].
        Otherwise as translate_top_k.
        """

    def bind_translate_window(self, layer: int, out: Tensor, lengths: Tensor | None = None, *, queries: Queries = None) -> BoundCall:
        """The same, checked once and called many times."""

    def gather_top_k(self, layer: int, entries: Tensor, out: Tensor | None = None, *, queries: Queries = None, plane: PlaneName = 'latent', rotate: bool = False, stream: Stream = None) -> Any:
        """
        Reads chosen entries and dequantizes them.

        entries and queries: as translate_top_k. out: bf16 [queries, k, channels], 16-byte aligned,
        with any pitches of multiples of 8; a new tensor if None (uint16 for NumPy). Rows without an
        entry are zero. rotate: rotate after the load, for planes that store unrotated rows.

        Gives `out`. Raises InvalidArgument. Releases the GIL.
        """

    def bind_gather_top_k(self, layer: int, entries: Tensor, out: Tensor, *, queries: Queries = None, plane: PlaneName = 'latent', rotate: bool = False) -> BoundCall:
        """The same, checked once and called many times."""

    def gather_visible(self, layer: int, max_entries: int | None = None, out: Tensor | None = None, *, queries: Queries = None, plane: PlaneName = 'latent', rotate: bool = False, stream: Stream = None) -> Any:
        """
        Reads all entries that a query sees, at most `max_entries` (None: as many as `out`
        holds). Otherwise as gather_top_k.
        """

    def bind_gather_visible(self, layer: int, max_entries: int | None, out: Tensor, *, queries: Queries = None, plane: PlaneName = 'latent', rotate: bool = False) -> BoundCall:
        """The same, checked once and called many times."""

    def gather_window(self, layer: int, out: Tensor | None = None, *, queries: Queries = None, rotate: bool = False, stream: Stream = None) -> Any:
        """
        Reads a query's window, the oldest row first: out is bf16 [queries, window_tokens,
        channels]. Otherwise as gather_top_k.
        """

    def bind_gather_window(self, layer: int, out: Tensor, *, queries: Queries = None, rotate: bool = False) -> BoundCall:
        """The same, checked once and called many times."""

    def write_slots(self, layer: int, rows: Tensor, slots: Tensor, positions: Tensor | None = None, *, pool: PoolName = 'full', plane: PlaneName = 'latent', rotated: bool = False, stream: Stream = None) -> None:
        """
        Stores rows by raw slot, outside any plan.

        rows: bf16 [n, channels]; slots: int32 [n], block * entries_per_block + offset, -1 stores
        nothing; positions: int32 [n], needed where rows rotate. Slots past the end are skipped and
        counted. Raises InvalidArgument. Releases the GIL.
        """

    def read_slots(self, layer: int, slots: Tensor, out: Tensor | None = None, positions: Tensor | None = None, *, pool: PoolName = 'full', plane: PlaneName = 'latent', rotate: bool = False, stream: Stream = None) -> Any:
        """
        Reads rows by raw slot: out is bf16 [n, channels], zeros for slot -1. Gives `out`.

        Raises InvalidArgument. Releases the GIL.
        """

    def metrics(self) -> CacheMetrics:
        """
        All that a monitor asks, of both sides; the worker's side may be in another call.
        """

    @property
    def geometry(self) -> Geometry: ...

    @property
    def capacity(self) -> CapacityPlan:
        """How the memory was divided."""

    @property
    def model(self) -> ModelSpec: ...

    @property
    def ledger(self) -> Ledger:
        """The ledger inside; it keeps the cache alive."""

    @property
    def store(self) -> Store:
        """The store inside; it keeps the cache alive."""

class RowLayout:
    """Sizes of one row of a format."""

    @property
    def channels(self) -> int: ...

    @property
    def data_bytes(self) -> int: ...

    @property
    def scale_bytes(self) -> int: ...

    @property
    def group(self) -> int:
        """Channels that share one scale; 0 where there is none."""

    @property
    def row_bytes(self) -> int: ...

    @property
    def data_stride(self) -> int:
        """Bytes between two data rows of a page."""

    @property
    def scale_stride(self) -> int:
        """Bytes between two scale rows of a page."""

def format_names() -> list[str]:
    """The names of all row formats."""

def format_layout(format: str) -> RowLayout:
    """Sizes of one row. Raises InvalidArgument that lists the names."""

def page_bytes(format: str, page_rows: int = 64, align: int = 16) -> int:
    """Bytes of a page, padding included."""

def encode(rows: Tensor, format: str = 'flashmla_v4', *, page_rows: int = 64, align: int = 16, global_scale: float = 1.0, rope_table: Tensor | None = None) -> tuple[ByteArray, int]:
    """
    Rows to pages: what a store writes, byte for byte.

    rows: bf16 [n, channels], or its bits as uint16. rope_table: float32 [n, 64], one row
    an entry: rotate before encoding. Gives uint8 [ceil(n / page_rows), page bytes], zeros
    where no row is, and how many NaN and infinities were replaced.

    Raises InvalidArgument. Releases the GIL.
    """

def decode(pages: Tensor, format: str = 'flashmla_v4', *, page_rows: int = 64, align: int = 16, global_scale: float = 1.0, rope_table: Tensor | None = None) -> Bf16Array:
    """
    Pages to rows: bf16 as uint16 [m * page_rows, channels], all rows of every page.

    pages: uint8 [m, page bytes]. Raises InvalidArgument. Releases the GIL.
    """

def rope_table(positions: int, rope: RopeSpec) -> FloatArray:
    """
    float32 [positions, 64]: 32 cosines, then 32 sines a position, as a Cache makes them.

    rope: of model.ropes. About 1 us a position. Releases the GIL.
    """

def run_program(arguments: Sequence[str]) -> int:
    """
    The program `terrace` with these arguments, its own name first. Gives the exit code.
    """

def run_replay(arguments: Sequence[str], on_step: Callable[[int, int, int, int], object] | None = None) -> str:
    """
    The JSON of `terrace replay` with these arguments, and series over time.
    """

def bench_decode_ns(ledger: Ledger, ids: Ids, count: int) -> float:
    """
    Nanoseconds of a decode step in C++: append and a commit for each of `ids`.
    """

def bench_bound_ns(call: BoundCall, count: int, stream: Stream = None) -> float:
    """Nanoseconds of a bound call's C++ call."""
