// The reference that compressed entries are held against lets right entries pass, and nothing else.

#include "tools/terrace/verify/reference_entry.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/formats/bf16.h"
#include "terrace/formats/row_format.h"
#include "tests/tools/reference_entry_fixture.h"

namespace terrace::testing {
namespace {

class ReferenceEntryTest : public ReferenceEntryFixture {};

TEST_F(ReferenceEntryTest, ARightEntryPassesAndUsesMostOfWhatIsTolerated) {
  for (const EntryCase& test : Cases()) {
    SCOPED_TRACE(test.name);
    const ReferenceEntry right = Reference(test, Seeds(test));
    for (const RowFormat format : test.formats) {
      const double error = Error(format, right, right);
      EXPECT_LE(error, 1) << RowFormatName(format);
      EXPECT_GT(error, 0.3) << RowFormatName(format);
    }
  }
}

TEST_F(ReferenceEntryTest, OneTokenOfAnotherSequenceIsFound) {
  for (const EntryCase& test : Cases()) {
    const std::vector<uint64_t> seeds = Seeds(test);
    const std::vector<uint64_t> others = Seeds(test, /*key=*/8);
    const ReferenceEntry right = Reference(test, seeds);
    for (size_t i = 0; i < seeds.size(); ++i) {
      SCOPED_TRACE(test.name + ", token " + std::to_string(i));
      std::vector<uint64_t> wrong = seeds;
      wrong[i] = others[i];
      ExpectFound(test, right, Reference(test, wrong), 3);
    }
  }
}

TEST_F(ReferenceEntryTest, RejectedDraftsAmongThePooledTokensAreFound) {
  for (const EntryCase& test : Cases()) {
    SCOPED_TRACE(test.name);
    const std::vector<uint64_t> seeds = Seeds(test);
    const std::vector<uint64_t> rejected = Seeds(test, /*key=*/9);
    std::vector<uint64_t> wrong = seeds;
    std::copy(rejected.end() - 3, rejected.end(), wrong.end() - 3);
    ExpectFound(test, Reference(test, seeds), Reference(test, wrong), 5);
  }
}

TEST_F(ReferenceEntryTest, AStateThatLostTheTokensBeforeIsFound) {
  for (const EntryCase& test : Cases()) {
    SCOPED_TRACE(test.name);
    const std::vector<uint64_t> seeds = Seeds(test);
    if (seeds.size() == 4) continue;  // the first entry has none before
    const std::vector<uint64_t> rest(seeds.begin() + 4, seeds.end());
    ExpectFound(test, Reference(test, seeds), Reference(test, rest), 5);
  }
}

TEST_F(ReferenceEntryTest, AnEntryOfAnotherPlaceOrLayerIsFound) {
  for (const EntryCase& test : Cases()) {
    SCOPED_TRACE(test.name);
    const ReferenceEntry right = Reference(test, Seeds(test));
    ExpectFound(test, right, Reference(test, Seeds(test, 8)), 5);
    // Rotated for the next entry.
    const int32_t next = (test.entry + 1) * Weights().Of(test.plane)->ratio;
    ExpectFound(test, right, Reference(test, Seeds(test), next), 5);
  }
}

TEST_F(ReferenceEntryTest, ARowThatIsNoNumberIsFound) {
  const EntryCase test = Cases()[0];
  const ReferenceEntry right = Reference(test, Seeds(test));
  std::vector<uint16_t> row(kLatentChannels);
  for (int c = 0; c < kLatentChannels; ++c) {
    row[c] = Bf16FromFloat(static_cast<float>(right.values[c]));
  }
  EXPECT_EQ(ErrorOf(RowFormat::kBf16, right, row.data()).num_channels, 0);
  row[99] = 0x7FC0;
  const EntryError error = ErrorOf(RowFormat::kBf16, right, row.data());
  EXPECT_EQ(error.num_channels, 1);
  EXPECT_EQ(error.channel, 99);
}

}  // namespace
}  // namespace terrace::testing
