// A checksum of packed weights that keeps up with memory, so that reading a file includes checking it.
//
// It is for accidents (a lost page, a torn write, a flipped bit), not against an adversary. The accumulation is that of XXH3
// (https://github.com/Cyan4973/xxHash): eight 64-bit lanes, of each word the product of its halves after a key that depends on
// its place, so that words that change places are seen too, and the word itself, so that a zero factor hides nothing.
#pragma once
#include <stdint.h>
#include <string.h>

#include "llmos/step.h"
#include "llmos/vec.h"

namespace llmos {

constexpr int kSumLanes = 8;
constexpr uint64_t kSumKey = 0x9E3779B97F4A7C15u, kSumStep = 0xC2B2AE3D27D4EB4Fu;

// One stripe of eight words. Compilers make vectors of these loops.
LLMOS_INLINE void AddStripe(const uint64_t* words, uint64_t* keys, uint64_t* sums) {
  for (int lane = 0; lane < kSumLanes; ++lane) {
    const uint64_t word = words[lane], mixed = word ^ keys[lane];
    sums[lane] += (mixed & 0xFFFFFFFFu) * (mixed >> 32) + (word << 32 | word >> 32);
    keys[lane] += kSumStep;
  }
}

LLMOS_INLINE uint64_t MixedSum(uint64_t x) {
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

// data: n_bytes of any alignment; a last stripe that is not whole counts as filled up with zeros.
static inline uint64_t Checksum(const uint8_t* data, int64_t n_bytes) {
  uint64_t keys[kSumLanes], sums[kSumLanes] = {}, words[kSumLanes];
  for (int lane = 0; lane < kSumLanes; ++lane) keys[lane] = kSumKey * (uint64_t)(lane + 1);
  int64_t at = 0;
  for (; at + (int64_t)sizeof words <= n_bytes; at += (int64_t)sizeof words) {
    memcpy(words, data + at, sizeof words);
    AddStripe(words, keys, sums);
  }
  if (at < n_bytes) {
    memset(words, 0, sizeof words);
    memcpy(words, data + at, (size_t)(n_bytes - at));
    AddStripe(words, keys, sums);
  }
  uint64_t sum = MixedSum((uint64_t)n_bytes);
  for (int lane = 0; lane < kSumLanes; ++lane) sum = MixedSum(sum ^ sums[lane]) * kSumKey;
  return sum;
}

}  // namespace llmos

LLMOS_EXPORT uint64_t llmos_checksum(const void* data, int64_t n_bytes) { return llmos::Checksum((const uint8_t*)data, n_bytes); }
