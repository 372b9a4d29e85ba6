#include <nanobind/stl/vector.h>

#include <string>
#include <vector>

#include "python/src/bind.h"
#include "python/src/errors.h"
#include "python/src/key_ranges.h"
#include "python/src/numbers.h"
#include "python/src/structured.h"
#include "python/src/words.h"
#include "terrace/prefix.h"

namespace terrace::python {
namespace {

nb::object Digests(nb::handle tokens, nb::handle salt, int32_t chunk_tokens,
                   nb::handle key_ranges) {
  const Numbers<int32_t> ids(tokens, "tokens");
  const std::string bytes = KeyBytes(salt, "salt");
  const KeyRanges ranges(key_ranges);
  if (chunk_tokens < 1) RaiseInvalid("chunk_tokens is ", chunk_tokens, ", not above 0");
  const std::vector<ChunkDigest> digests = [&] {
    const nb::gil_scoped_release released;
    return ChunkDigests(bytes, ids.span(), chunk_tokens, ranges.span());
  }();
  return NewArray<ChunkDigest>("CHUNK_DIGEST", digests);
}

nb::object Root(nb::handle salt) {
  const ChunkDigest root = RootDigest(KeyBytes(salt, "salt"));
  return NewArray("CHUNK_DIGEST", &root, 1, sizeof(root)).attr("__getitem__")(0);
}

std::vector<int64_t> PoolList(const int64_t (&values)[kMaxPools]) {
  return {values, values + kMaxPools};
}

void BindFigures(nb::module_& module) {
  nb::class_<PrefixFigures> figures(
      module, "PrefixFigures",
      "What prefix reuse brought since the ledger was made: plain counts.\n\n"
      "Requests that came back after a preemption are counted apart, as returns.\n"
      "matched_tokens = resumed + skipped + refed; stored_chunks = indexed + evicted + expired +\n"
      "cleared + lost; stored_checkpoints = held + evicted + rolled + dropped + cleared + lost.\n"
      "evicted_blocks and copied_blocks have a number a pool, 8 of them.");
  const auto add = [&](const char* name, int64_t PrefixFigures::*member) {
    figures.def_ro(name, member);
  };
  add("lookups", &PrefixFigures::lookups);
  add("hits", &PrefixFigures::hits);
  add("prompt_tokens", &PrefixFigures::prompt_tokens);
  add("matched_tokens", &PrefixFigures::matched_tokens);
  add("resumed_tokens", &PrefixFigures::resumed_tokens);
  add("skipped_tokens", &PrefixFigures::skipped_tokens);
  add("refed_tokens", &PrefixFigures::refed_tokens);
  add("stored_chunks", &PrefixFigures::stored_chunks);
  add("duplicate_chunks", &PrefixFigures::duplicate_chunks);
  add("evicted_chunks", &PrefixFigures::evicted_chunks);
  add("expired_chunks", &PrefixFigures::expired_chunks);
  add("cleared_chunks", &PrefixFigures::cleared_chunks);
  add("lost_chunks", &PrefixFigures::lost_chunks);
  add("indexed_chunks", &PrefixFigures::indexed_chunks);
  add("unused_chunks", &PrefixFigures::unused_chunks);
  add("stored_checkpoints", &PrefixFigures::stored_checkpoints);
  add("evicted_checkpoints", &PrefixFigures::evicted_checkpoints);
  add("rolled_checkpoints", &PrefixFigures::rolled_checkpoints);
  add("dropped_checkpoints", &PrefixFigures::dropped_checkpoints);
  add("cleared_checkpoints", &PrefixFigures::cleared_checkpoints);
  add("lost_checkpoints", &PrefixFigures::lost_checkpoints);
  add("held_checkpoints", &PrefixFigures::held_checkpoints);
  add("missed_checkpoints", &PrefixFigures::missed_checkpoints);
  add("peak_checkpoint_blocks", &PrefixFigures::peak_checkpoint_blocks);
  add("returns", &PrefixFigures::returns);
  add("return_hits", &PrefixFigures::return_hits);
  add("return_prompt_tokens", &PrefixFigures::return_prompt_tokens);
  add("return_matched_tokens", &PrefixFigures::return_matched_tokens);
  add("return_refed_tokens", &PrefixFigures::return_refed_tokens);
  add("forks", &PrefixFigures::forks);
  figures.def_prop_ro("saved_tokens", &PrefixFigures::saved_tokens)
      .def_prop_ro("evicted_blocks",
                   [](const PrefixFigures& f) { return PoolList(f.evicted_blocks); })
      .def_prop_ro("copied_blocks",
                   [](const PrefixFigures& f) { return PoolList(f.copied_blocks); })
      .def(
          "to_table", [](const PrefixFigures& f) { return ToTable(f); }, "A table for people.")
      .def(
          "to_json", [](const PrefixFigures& f) { return ToJson(f); }, "One JSON object.")
      .def(
          "to_prometheus", [](const PrefixFigures& f) { return ToPrometheus(f); },
          "Prometheus' text format: names begin with terrace_prefix_.");
}

}  // namespace

void BindPrefix(nb::module_& module) {
  nb::class_<PrefixMatch>(module, "PrefixMatch",
                          "What a prompt finds, in tokens: matched = resumed + skipped + refed.")
      .def_ro("matched", &PrefixMatch::matched, "Tokens whose chunks are shared.")
      .def_ro("resumed", &PrefixMatch::resumed, "Of them, before a checkpoint: never fed again.")
      .def_ro("skipped", &PrefixMatch::skipped,
              "Of them, before a refeed without checkpoint: never fed again.")
      .def_ro("refed", &PrefixMatch::refed, "Of them, to be fed again for their window rows.")
      .def_ro("approximate", &PrefixMatch::approximate)
      .def_prop_ro("saved", &PrefixMatch::saved, "matched - refed")
      .def(
          "__eq__",
          [](const PrefixMatch& a, nb::handle b) {
            return nb::isinstance<PrefixMatch>(b) && a == nb::cast<const PrefixMatch&>(b);
          },
          "other"_a, nb::sig("def __eq__(self, other: object, /) -> bool"))
      .def("__repr__", [](const PrefixMatch& m) {
        return absl::StrCat("PrefixMatch(matched=", m.matched, ", resumed=", m.resumed,
                            ", skipped=", m.skipped, ", refed=", m.refed,
                            ", approximate=", m.approximate ? "True" : "False", ")");
      });
  BindFigures(module);
  module.def(
      "chunk_digests", &Digests, "tokens"_a, nb::kw_only(), "salt"_a = nb::bytes("", 0),
      "chunk_tokens"_a = 256, "key_ranges"_a = nb::make_tuple(),
      nb::sig(
          "def chunk_digests(tokens: Ints, *, salt: bytes | str = b'', chunk_tokens: int = 256, "
          "key_ranges: KeyRanges = ()) -> Records"),
      "Digests of the whole chunks of `tokens` (int32 ids): dtype CHUNK_DIGEST.\n\n"
      "Pass them to allocate_sequence and probe to hash a prompt once. About 80 ns a chunk.");
  module.def("root_digest", &Root, "salt"_a,
             nb::sig("def root_digest(salt: bytes | str) -> Record"),
             "The digest of `salt`, the parent of first chunks: a CHUNK_DIGEST.");
}

}  // namespace terrace::python
