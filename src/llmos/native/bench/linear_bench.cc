// linear_bench THREADS: decode (one token, weights from memory) and prefill of the matrices of Qwen2.5-0.5B. bytes: the
// weights once; operations: two for each weight and token.
#include "bench.h"

using namespace llmos;

constexpr size_t kArena = (size_t)1 << 30;  // larger than any cache: decode walks through copies of a matrix
constexpr int kTokens = 512;
constexpr double kBudget_s = 0.4;

template <Format kFormat, int N, int K>
struct Matrix {
  static constexpr const char* kNames[] = {"float32", "float16", "bf16", "int8", "int4", "uint4"};
  static constexpr size_t kGroups = (K + 31) / 32;
  static constexpr size_t kRows[] = {4 * K, 4 * K, 2 * (K + K % 2), 40 * kGroups, 40 * kGroups, 40 * kGroups};
  static constexpr size_t kUnits[] = {K * 64, K * 32, (K + 1) / 2 * 64, kGroups * 544, kGroups * 288, kGroups * 320};
  static constexpr size_t kRow = RoundUp(kRows[(int)kFormat], 64), kUnit = kUnits[(int)kFormat];
  static constexpr size_t kBytes = (N + 15) / 16 * kUnit;
  static constexpr int kLd = (int)RoundUp(N, 16);

  static void Multiply(Team& team, const uint8_t* w, const uint8_t* x, float* y, int tokens) {
    if constexpr (kFormat == Format::kF32) LinearF32<N, K, false, false>(team, w, (const float*)x, kRow, nullptr, nullptr, 0, y, kLd, tokens);
    if constexpr (kFormat == Format::kF16) LinearF16<N, K, false, false>(team, w, (const float*)x, kRow, nullptr, nullptr, 0, y, kLd, tokens);
    if constexpr (kFormat == Format::kBf16) LinearBf16<N, K, false, false>(team, w, (const uint16_t*)x, kRow, nullptr, nullptr, 0, y, kLd, tokens);
    if constexpr (kFormat == Format::kI8) LinearI8<N, K, false, false>(team, w, (const I8Group*)x, kRow, nullptr, nullptr, 0, y, kLd, tokens);
    if constexpr (kFormat == Format::kI4) LinearI4<N, K, false, false>(team, w, (const I8Group*)x, kRow, nullptr, nullptr, 0, y, kLd, tokens);
    if constexpr (kFormat == Format::kU4) LinearU4<N, K, false, false>(team, w, (const I8Group*)x, kRow, nullptr, nullptr, 0, y, kLd, tokens);
  }

  static void Bench(Pool* pool, const uint8_t* arena, const uint8_t* x, float* y) {
    const int copies = (int)(kArena / kBytes), calls = 1 + (int)(((size_t)16 << 20) / kBytes);
    for (int tokens : (const int[]){1, 8, kTokens}) {
      int at = 0;
      const int repeat = tokens == 1 ? calls : 1;
      const Times times = Measure(kBudget_s, [&](int) {
        OnPool(pool, [&](Team& team) {
          for (int i = 0; i < repeat; ++i) Multiply(team, arena + (size_t)((at + i) % copies) * kBytes, x, y, tokens);
        });
        at += repeat;
      });
      char facts[200];
      snprintf(facts, sizeof facts, "\"kernel\": \"linear\", \"format\": \"%s\", \"n\": %d, \"k\": %d, \"tokens\": %d, \"threads\": %d",
               kNames[(int)kFormat], N, K, tokens, pool ? pool->size : 1);
      Report(facts, times, (double)kBytes * repeat, 2.0 * N * K * tokens * repeat);
    }
  }
};

template <Format kFormat>
static void Shapes(Pool* pool, const uint8_t* arena, const uint8_t* x, float* y) {
  Matrix<kFormat, 1152, 896>::Bench(pool, arena, x, y);
  Matrix<kFormat, 9728, 896>::Bench(pool, arena, x, y);
  Matrix<kFormat, 896, 4864>::Bench(pool, arena, x, y);
}

int main(int argc, char** argv) {
  const int threads = argc > 1 ? atoi(argv[1]) : 1;
  void* pool = threads > 1 ? llmos_pool_create(threads) : nullptr;
  const uint8_t *arena = Memory(kArena, 0x3c), *x = Memory((size_t)kTokens * 4864 * 4, 0x3c);
  float* y = (float*)Memory((size_t)kTokens * 9728 * 4, 0);
  Shapes<Format::kBf16>((Pool*)pool, arena, x, y);
  Shapes<Format::kF16>((Pool*)pool, arena, x, y);
  Shapes<Format::kI8>((Pool*)pool, arena, x, y);
  Shapes<Format::kI4>((Pool*)pool, arena, x, y);
  Shapes<Format::kU4>((Pool*)pool, arena, x, y);
  Shapes<Format::kF32>((Pool*)pool, arena, x, y);
  llmos_pool_destroy(pool);
}
