// What the machine can do at most, measured in the run whose figures are compared with it: dot products from registers on every
// thread of a pool, and reads of an arena by several streams a thread.
#pragma once
#include "bench.h"

namespace llmos {

enum class Unit { kI8, kBf16, kF32 };

template <Unit kUnit>
LLMOS_INLINE F16 Product(F16 acc, const uint8_t* w, const uint32_t* x) {
  if constexpr (kUnit == Unit::kI8) return (F16)Dot4((I16)acc, w, (int32_t)*x);
  if constexpr (kUnit == Unit::kBf16) return DotBf16(acc, (const uint16_t*)w, *x);
  return Fma(Load((const float*)w), Set(1.0f), acc);
}

// Operations a second of all threads, the best of a few samples; a vector is 128 (int8), 64 (bf16) or 32 (float32) operations.
template <Unit kUnit>
double Peak(Pool* pool) {
  constexpr int kSums = 12, kLoops = 200000;
  alignas(64) static uint8_t w[64];
  static uint32_t x;
  const Times times = Measure(0.1, [&](int) {
    OnPool(pool, [&](Team& team) {
      F16 sums[kSums] = {};
      for (int i = 0; i < kLoops; ++i) {
        for (F16& sum : sums) sum = Product<kUnit>(sum, w, &x);
        __asm__ volatile("" ::: "memory");
      }
      F16 total = {};
      for (const F16& sum : sums) total = total + sum;
      volatile float kept = Sum(total);
      (void)kept;
    });
  });
  const double vector = kUnit == Unit::kI8 ? 128 : kUnit == Unit::kBf16 ? 64 : 32;
  return vector * kSums * kLoops * (pool ? pool->size : 1) / times.min;
}

// Bytes a second that all threads read together, four streams each: the median of a few passes over 256 MiB.
inline double ReadRate(Pool* pool, const uint8_t* arena) {
  constexpr size_t kPiece = (size_t)4 << 20, kStreams = 4, kBytes = (size_t)256 << 20;
  const Times times = Measure(0.15, [&](int) {
    OnPool(pool, [&](Team& team) {
      team.RunTiles(kBytes / kPiece, [&](int tile) {
        const uint8_t* p = arena + tile * kPiece;
        I16 sums[kStreams] = {};
        for (size_t i = 0; i < kPiece / kStreams; i += 64)
          for (size_t s = 0; s < kStreams; ++s) {
            I16 v;
            memcpy(&v, p + s * (kPiece / kStreams) + i, sizeof v);
            sums[s] += v;
          }
        volatile int kept = (sums[0] + sums[1] + sums[2] + sums[3])[0];
        (void)kept;
      });
    });
  });
  return (double)kBytes / times.median;
}

}  // namespace llmos
