#include "tools/terrace/trace/token_ids.h"

#include "tools/terrace/contents/hash.h"

namespace terrace::tools {
namespace {

constexpr uint64_t kVocabulary = 129280;          // DeepSeek-V4's
constexpr uint64_t kOwnTokens = 0xA5A5ull << 48;  // apart from every hash id

int32_t IdInBlock(uint64_t block_hash, int32_t offset) {
  const uint64_t hash = (block_hash + static_cast<uint64_t>(offset)) * 0x9E3779B97F4A7C15ull;
  return static_cast<int32_t>(((hash >> 32) * kVocabulary) >> 32);
}

}  // namespace

uint64_t HashBlockKey(const TraceRequest& request, int32_t index, int32_t position) {
  const size_t block = position / kHashBlockTokens;
  if (position < request.input_length && block < request.hash_ids.size()) {
    return static_cast<uint64_t>(request.hash_ids[block]);
  }
  return kOwnTokens | static_cast<uint64_t>(index) << 24 | block;
}

int32_t TokenId(const TraceRequest& request, int32_t index, int32_t position) {
  return IdInBlock(Mix(HashBlockKey(request, index, position)), position % kHashBlockTokens);
}

void FillTokenIds(const TraceRequest& request, int32_t index, int32_t count,
                  std::vector<int32_t>& ids) {
  ids.resize(count);
  uint64_t block_hash = 0;
  for (int32_t position = 0; position < count; ++position) {
    const int32_t offset = position % kHashBlockTokens;
    // The prompt may end inside a hash block.
    if (offset == 0 || position == request.input_length) {
      block_hash = Mix(HashBlockKey(request, index, position));
    }
    ids[position] = IdInBlock(block_hash, offset);
  }
}

}  // namespace terrace::tools
