// Pages of keys and values, and how one token's are stored.
//
// A page of a layer holds, for each key/value head, keys [d][32] (so that one load feeds 16 positions), values [32][d padded
// to 16] and, for int8, a scale per token for each of both. bfloat16 stands in pairs, as the dot product of pairs reads it:
// keys [d/2][32][2], values [16][d padded to 16][2] with two positions side by side.
#pragma once
#include "llmos/call.h"

namespace llmos {

constexpr int kPage = LLMOS_PAGE_TOKENS;
static_assert(kPage == 2 * kLanes, "scores of a page are two vectors");
constexpr I16 kLane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

template <int d, Kv kFormat>
struct KvHead {
  static constexpr int kPadded = (int)RoundUp(d, kLanes);
  static constexpr int kPair = kFormat == Kv::kBf16 ? 2 : 1;  // places of a key, or positions of a value, side by side
  static constexpr int kSteps = (d + kPair - 1) / kPair;      // of a key; a place that is missing is 0
  static constexpr size_t kElement = kFormat == Kv::kF32 ? 4 : kFormat == Kv::kI8 ? 1 : 2;
  static constexpr size_t kKeyBytes = RoundUp(kElement * kSteps * kPair * kPage, 64);
  static constexpr size_t kValueBytes = RoundUp(kElement * kPadded * kPage, 64);
  static constexpr size_t kScaleBytes = kFormat == Kv::kI8 ? 2 * kPage * sizeof(float) : 0;
  static constexpr size_t kBytes = kKeyBytes + kValueBytes + kScaleBytes;
  uint8_t* base;
  LLMOS_MEMBER uint8_t* keys() const { return base; }
  LLMOS_MEMBER uint8_t* values() const { return base + kKeyBytes; }
  LLMOS_MEMBER float* key_scales() const { return (float*)(base + kKeyBytes + kValueBytes); }
  LLMOS_MEMBER float* value_scales() const { return key_scales() + kPage; }

  // Where place i of the key at `slot` lies, in elements; and of the value.
  static LLMOS_MEMBER size_t KeyAt(int slot, int i) { return ((size_t)(i / kPair) * kPage + slot) * kPair + i % kPair; }
  static LLMOS_MEMBER size_t ValueAt(int slot, int i) { return ((size_t)(slot / kPair) * kPadded + i) * kPair + slot % kPair; }

  // Sixteen stored numbers as floats, without their scale. Not for pairs.
  static LLMOS_MEMBER F16 Read(const uint8_t* p, size_t index) {
    if (kFormat == Kv::kF32) return Load((const float*)p + index);
    if (kFormat == Kv::kF16) return LoadHalf((const uint16_t*)p + index);
    typedef int8_t B16 __attribute__((vector_size(16)));
    B16 bytes;
    memcpy(&bytes, p + index, sizeof bytes);
    return __builtin_convertvector(bytes, F16);
  }
  // Sixteen pairs of bfloat16.
  static LLMOS_MEMBER U16 ReadPairs(const uint8_t* p, size_t index) {
    U16 v;
    memcpy(&v, p + 2 * index, sizeof v);
    return v;
  }
  // Not for pairs.
  static LLMOS_MEMBER void Write(uint8_t* p, size_t index, float value, float inverse) {
    if (kFormat == Kv::kF32) ((float*)p)[index] = value;
    if (kFormat == Kv::kF16) ((uint16_t*)p)[index] = ToHalf(value);
    if (kFormat == Kv::kI8) {
      const float shifted = value * inverse + 12582912.0f;
      uint32_t bits;
      memcpy(&bits, &shifted, 4);
      p[index] = (uint8_t)bits;
    }
  }

  // Stores one token's key and value at place `slot` of the page.
  LLMOS_MEMBER void Append(int slot, const float* key, const float* value) const {
    if (kFormat == Kv::kBf16) return AppendPairs(slot, key, value);
    float inverse_key = 0, inverse_value = 0;
    if (kFormat == Kv::kI8) {
      inverse_key = Scale(key, &key_scales()[slot]);
      inverse_value = Scale(value, &value_scales()[slot]);
    }
    for (int i = 0; i < d; ++i) {
      Write(keys(), KeyAt(slot, i), key[i], inverse_key);
      Write(values(), ValueAt(slot, i), value[i], inverse_value);
    }
  }
  LLMOS_MEMBER void AppendPairs(int slot, const float* key, const float* value) const {
    for (int i = 0; i < d; i += kLanes) {
      const int n = d - i < kLanes ? d - i : kLanes;
      uint16_t k[kLanes], v[kLanes];
      StoreBf16(k, LoadPart(key + i, n));
      StoreBf16(v, LoadPart(value + i, n));
      for (int j = 0; j < kLanes; j += 2)
        if (j < n) memcpy(keys() + 2 * KeyAt(slot, i + j), &k[j], 4);
      for (int j = 0; j < kLanes; ++j)
        if (j < n) ((uint16_t*)values())[ValueAt(slot, i + j)] = v[j];
    }
  }
  static LLMOS_MEMBER float Scale(const float* x, float* scale) {
    F16 seen = Set(0);
    for (int i = 0; i < d; i += kLanes) seen = LargerMagnitude(seen, LoadPart(x + i, d - i));
    const float largest = LargestMagnitude(seen);
    *scale = largest / 127.0f;
    return largest > 0 ? 127.0f / largest : 0;
  }

  // Whether the values at positions `from` to `to` - 1 are numbers.
  LLMOS_MEMBER bool Finite(int from, int to) const {
    if (kFormat == Kv::kI8) return true;  // codes are; a scale that is not meets weights before they are masked
    F16 seen = Set(0);
    for (int p = from; p < to; ++p)
      for (int i = 0; i < d; i += kLanes) {
        F16 v;
        if (kPair == 1) {
          v = Read(values(), ValueAt(p, i));
        } else {
          const U16 pairs = ReadPairs(values(), ValueAt(p - p % kPair, i));
          v = (F16)(p % kPair ? pairs & 0xffff0000u : pairs << 16);
        }
        constexpr int kRest = d % kLanes ? d % kLanes : kLanes;
        seen = LargerMagnitude(seen, i + kLanes > d && kRest < kLanes ? (kLane < kRest ? v : Set(0)) : v);
      }
    return LargestMagnitude(seen) <= 3.40282347e38f;
  }
};

template <int kKvHeads, int d, Kv kFormat>
constexpr uint64_t KvLayerBytes() {
  return kKvHeads * KvHead<d, kFormat>::kBytes;
}

}  // namespace llmos
