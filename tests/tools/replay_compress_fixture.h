// Replays in which the store makes the entries, over every backend that the machine has.

#ifndef TERRACE_TESTS_TOOLS_REPLAY_COMPRESS_FIXTURE_H_
#define TERRACE_TESTS_TOOLS_REPLAY_COMPRESS_FIXTURE_H_

#include <utility>

#include "gtest/gtest.h"
#include "terrace/formats/row_format.h"
#include "terrace/model.h"
#include "terrace/units.h"
#include "tests/tools/replay_fixture.h"
#include "tools/terrace/engine/replay.h"

namespace terrace::testing {

class ReplayCompressFixture : public ReplayFixture {
 protected:
  static ModelSpec Model(RowFormat latent = RowFormat::kFlashMlaV4,
                         RowFormat indexer = RowFormat::kIndexerFp8,
                         PoolLayout layout = PoolLayout::kBlockMajor) {
    auto made = MakeModel({.ratios = {0, 4, 128, 4},
                           .latent_format = latent,
                           .indexer_format = indexer,
                           .state = true,
                           .max_context_tokens = 8192,
                           .layout = layout});
    EXPECT_TRUE(made.ok()) << made.status();
    return *std::move(made);
  }

  ReplayOptions CompressOptions() const {
    ReplayOptions options = Options();
    options.model = Model();
    options.memory_bytes = 60 * kMiB;
    options.layers = "all";
    options.compress = true;
    options.scheduler.drafts = 3;
    options.scheduler.in_flight = 2;
    options.verifier.rate = 0.1;
    return options;
  }
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_TOOLS_REPLAY_COMPRESS_FIXTURE_H_
