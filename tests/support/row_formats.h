// Lists of the row formats, for tests that go through all of them.

#ifndef TERRACE_TESTS_SUPPORT_ROW_FORMATS_H_
#define TERRACE_TESTS_SUPPORT_ROW_FORMATS_H_

#include <string>
#include <vector>

#include "terrace/formats/row_format.h"

namespace terrace::testing {

inline std::vector<RowFormat> FormatsOfChannels(int32_t channels) {
  std::vector<RowFormat> formats;
  for (int i = 0; i < kNumRowFormats; ++i) {
    const auto format = static_cast<RowFormat>(i);
    if (LayoutOf(format).channels == channels) formats.push_back(format);
  }
  return formats;
}

inline std::vector<RowFormat> LatentFormats() { return FormatsOfChannels(kLatentChannels); }
inline std::vector<RowFormat> IndexerFormats() { return FormatsOfChannels(kIndexerChannels); }

inline std::vector<RowFormat> AllRowFormats() {
  std::vector<RowFormat> formats;
  for (int i = 0; i < kNumRowFormats; ++i) formats.push_back(static_cast<RowFormat>(i));
  return formats;
}

inline std::string NameOf(RowFormat format) { return std::string(RowFormatName(format)); }

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_ROW_FORMATS_H_
