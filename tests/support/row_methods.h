// The ways to encode and decode a row that tests hold against each other: packet by packet as the
// device does it, and EncodeRow / DecodeRow compiled for each instruction set.

#ifndef TERRACE_TESTS_SUPPORT_ROW_METHODS_H_
#define TERRACE_TESTS_SUPPORT_ROW_METHODS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <ostream>
#include <vector>

#include "terrace/formats/row_codec.h"

namespace terrace::testing {

// One way to encode and decode rows, so that each is held against every vector.
struct Method {
  const char* name;
  bool available;
  int (*encode)(RowFormat, const uint16_t*, const float*, float, uint8_t*, uint8_t*);
  void (*decode)(RowFormat, const uint8_t*, const uint8_t*, const float*, float, uint16_t*);
};

inline void PrintTo(const Method& method, std::ostream* out) { *out << method.name; }

// The same steps as the device, where a sequence owns a packet.
template <RowFormat F>
int EncodeByPackets(const uint16_t* row, const float* rope, float global_scale, uint8_t* data,
                    uint8_t* scale) {
  using Shape = RowShape<F>;
  uint16_t packets[Shape::kPackets][kPacketChannels];
  std::memcpy(packets, row, sizeof(packets));
  uint16_t largest[Shape::kGroups] = {};
  int bad = 0;
  for (int p = 0; p < Shape::kPackets; ++p) {
    bad += SanitizeBf16<kPacketChannels>(packets[p]);
    if (rope != nullptr && p >= Shape::kFirstRopePacket) {
      const int pair = (p - Shape::kFirstRopePacket) * kPacketChannels / 2;
      RotatePairs<kPacketChannels / 2>(packets[p], rope + pair, rope + kRopePairs + pair);
    }
    uint16_t& group = largest[p / Shape::kGroupPackets];
    group = std::max(group, LargestMagnitudeBf16<kPacketChannels>(packets[p]));
  }
  for (int p = 0; p < Shape::kPackets; ++p) {
    const int group = p / Shape::kGroupPackets;
    const GroupScale group_scale = MakeGroupScale<F>(group, largest[group], global_scale);
    StoreScale<F>(scale, group, group_scale.stored);
    EncodePacket<F>(p, packets[p], group_scale, data + Shape::PacketOffset(p));
  }
  return bad;
}

template <RowFormat F>
void DecodeByPackets(const uint8_t* data, const uint8_t* scale, const float* rope,
                     float global_scale, uint16_t* row) {
  using Shape = RowShape<F>;
  for (int p = 0; p < Shape::kPackets; ++p) {
    uint16_t* packet = row + p * kPacketChannels;
    DecodePacket<F>(p, data + Shape::PacketOffset(p),
                    ScaleValue<F>(LoadScale<F>(scale, p / Shape::kGroupPackets)), global_scale,
                    packet);
    if (rope != nullptr && p >= Shape::kFirstRopePacket) {
      const int pair = (p - Shape::kFirstRopePacket) * kPacketChannels / 2;
      RotatePairs<kPacketChannels / 2>(packet, rope + pair, rope + kRopePairs + pair);
    }
  }
}

inline int EncodePackets(RowFormat format, const uint16_t* row, const float* rope,
                         float global_scale, uint8_t* data, uint8_t* scale) {
  return DispatchRowFormat(format, [&]<RowFormat F>() {
    return EncodeByPackets<F>(row, rope, global_scale, data, scale);
  });
}

inline void DecodePackets(RowFormat format, const uint8_t* data, const uint8_t* scale,
                          const float* rope, float global_scale, uint16_t* row) {
  DispatchRowFormat(
      format, [&]<RowFormat F>() { DecodeByPackets<F>(data, scale, rope, global_scale, row); });
}

// EncodeRow and DecodeRow compiled for one instruction set. A target attribute cannot be a template
// argument, and lambdas do not inherit it, hence one plain function each.
template <RowFormat F>
int EncodeBase(const uint16_t* row, const float* rope, float g, uint8_t* data, uint8_t* scale) {
  return EncodeRow<F>(row, rope, g, data, scale);
}
template <RowFormat F>
void DecodeBase(const uint8_t* data, const uint8_t* scale, const float* rope, float g,
                uint16_t* row) {
  DecodeRow<F>(data, scale, rope, g, row);
}
inline int EncodeBaseSet(RowFormat format, const uint16_t* row, const float* rope, float g,
                         uint8_t* data, uint8_t* scale) {
  return DispatchRowFormat(format,
                           [&]<RowFormat F>() { return EncodeBase<F>(row, rope, g, data, scale); });
}
inline void DecodeBaseSet(RowFormat format, const uint8_t* data, const uint8_t* scale,
                          const float* rope, float g, uint16_t* row) {
  DispatchRowFormat(format, [&]<RowFormat F>() { DecodeBase<F>(data, scale, rope, g, row); });
}

#if defined(__x86_64__)
template <RowFormat F>
__attribute__((target("avx2,fma"))) int EncodeAvx2(const uint16_t* row, const float* rope, float g,
                                                   uint8_t* data, uint8_t* scale) {
  return EncodeRow<F>(row, rope, g, data, scale);
}
template <RowFormat F>
__attribute__((target("avx2,fma"))) void DecodeAvx2(const uint8_t* data, const uint8_t* scale,
                                                    const float* rope, float g, uint16_t* row) {
  DecodeRow<F>(data, scale, rope, g, row);
}
inline int EncodeAvx2Set(RowFormat format, const uint16_t* row, const float* rope, float g,
                         uint8_t* data, uint8_t* scale) {
  return DispatchRowFormat(format,
                           [&]<RowFormat F>() { return EncodeAvx2<F>(row, rope, g, data, scale); });
}
inline void DecodeAvx2Set(RowFormat format, const uint8_t* data, const uint8_t* scale,
                          const float* rope, float g, uint16_t* row) {
  DispatchRowFormat(format, [&]<RowFormat F>() { DecodeAvx2<F>(data, scale, rope, g, row); });
}

template <RowFormat F>
__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"))) int EncodeAvx512(
    const uint16_t* row, const float* rope, float g, uint8_t* data, uint8_t* scale) {
  return EncodeRow<F>(row, rope, g, data, scale);
}
template <RowFormat F>
__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"))) void DecodeAvx512(
    const uint8_t* data, const uint8_t* scale, const float* rope, float g, uint16_t* row) {
  DecodeRow<F>(data, scale, rope, g, row);
}
inline int EncodeAvx512Set(RowFormat format, const uint16_t* row, const float* rope, float g,
                           uint8_t* data, uint8_t* scale) {
  return DispatchRowFormat(
      format, [&]<RowFormat F>() { return EncodeAvx512<F>(row, rope, g, data, scale); });
}
inline void DecodeAvx512Set(RowFormat format, const uint8_t* data, const uint8_t* scale,
                            const float* rope, float g, uint16_t* row) {
  DispatchRowFormat(format, [&]<RowFormat F>() { DecodeAvx512<F>(data, scale, rope, g, row); });
}
#endif

inline std::vector<Method> Methods() {
  std::vector<Method> methods = {{"packets", true, EncodePackets, DecodePackets},
                                 {"base", true, EncodeBaseSet, DecodeBaseSet}};
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  methods.push_back({"avx2", avx2, EncodeAvx2Set, DecodeAvx2Set});
  methods.push_back({"avx512", avx512, EncodeAvx512Set, DecodeAvx512Set});
#endif
  return methods;
}

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_ROW_METHODS_H_
