// linear_bench THREADS [FORMAT [TOKENS]...]: the matrices of Qwen2.5-0.5B, weights from memory. bytes: the weights once;
// operations: two for each weight and token. The shares are of what the same run measured: `of_reads` of the memory's reads,
// `of_peak` of the dot products of the format.
#include "peak.h"

using namespace llmos;

constexpr size_t kArena = (size_t)768 << 20;  // larger than any cache: calls walk through copies of a matrix
constexpr int kMostTokens = 2048;
constexpr double kBudget_s = 0.15;
constexpr const char* kNames[] = {"float32", "float16", "bf16", "int8", "int4", "uint4"};

struct Machine {
  Pool* pool;
  const uint8_t *arena, *x;
  float* y;
  double peaks[3], reads;

  double PeakOf(Format format) const { return peaks[format == Format::kBf16 ? 1 : format == Format::kF32 || format == Format::kF16 ? 2 : 0]; }
};

template <Format kFormat, int N, int K>
struct Matrix {
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
    if constexpr (kFormat == Format::kI4) LinearI4<N, K, false, false>(team, w, (const Pow2Group*)x, kRow, nullptr, nullptr, 0, y, kLd, tokens);
    if constexpr (kFormat == Format::kU4) LinearU4<N, K, false, false>(team, w, (const I8Group*)x, kRow, nullptr, nullptr, 0, y, kLd, tokens);
  }

  static void Bench(const Machine& m, int tokens) {
    const int copies = (int)(kArena / kBytes), repeat = tokens <= 16 ? 1 + (int)(((size_t)16 << 20) / kBytes) : 1;
    int at = 0;
    const Times times = Measure(kBudget_s, [&](int) {
      OnPool(m.pool, [&](Team& team) {
        for (int i = 0; i < repeat; ++i) Multiply(team, m.arena + (size_t)((at + i) % copies) * kBytes, m.x, m.y, tokens);
      });
      at += repeat;
    });
    const double bytes = (double)kBytes * repeat, operations = 2.0 * N * K * tokens * repeat;
    char facts[300];
    snprintf(facts, sizeof facts,
             "\"kernel\": \"linear\", \"format\": \"%s\", \"n\": %d, \"k\": %d, \"tokens\": %d, \"threads\": %d, \"of_reads\": %.3f, \"of_peak\": %.3f",
             kNames[(int)kFormat], N, K, tokens, m.pool ? m.pool->size : 1, bytes / times.median / m.reads,
             operations / times.median / m.PeakOf(kFormat));
    Report(facts, times, bytes, operations);
  }
};

template <Format kFormat>
static void Shapes(const Machine& m, int argc, char** argv) {
  if (argc > 2 && strcmp(argv[2], "all") != 0 && strcmp(argv[2], kNames[(int)kFormat]) != 0) return;
  const auto bench = [&](int tokens) {
    if (tokens < 1 || tokens > kMostTokens) return;
    Matrix<kFormat, 1152, 896>::Bench(m, tokens);
    Matrix<kFormat, 9728, 896>::Bench(m, tokens);
    Matrix<kFormat, 896, 4864>::Bench(m, tokens);
  };
  for (int i = 3; i < argc; ++i) bench(atoi(argv[i]));
  if (argc <= 3)
    for (int tokens : (const int[]){1, 2, 4, 8, 16, 512, kMostTokens}) bench(tokens);
}

int main(int argc, char** argv) {
  const int threads = argc > 1 ? atoi(argv[1]) : 1;
  Machine m = {};
  m.pool = threads > 1 ? (Pool*)llmos_pool_create(threads) : nullptr;
  m.arena = Memory(kArena, 0x3c);
  m.x = Memory((size_t)kMostTokens * 4864 * 4, 0x3c);
  m.y = (float*)Memory((size_t)kMostTokens * 9728 * 4, 0);
  m.peaks[0] = Peak<Unit::kI8>(m.pool);
  m.peaks[1] = Peak<Unit::kBf16>(m.pool);
  m.peaks[2] = Peak<Unit::kF32>(m.pool);
  m.reads = ReadRate(m.pool, m.arena);
  printf("{\"kernel\": \"peaks\", \"threads\": %d, \"int8_gops\": %.4g, \"bf16_gops\": %.4g, \"float32_gops\": %.4g, \"reads_gbytes\": %.4g}\n",
         threads, m.peaks[0] / 1e9, m.peaks[1] / 1e9, m.peaks[2] / 1e9, m.reads / 1e9);
  Shapes<Format::kBf16>(m, argc, argv);
  Shapes<Format::kF16>(m, argc, argv);
  Shapes<Format::kI8>(m, argc, argv);
  Shapes<Format::kI4>(m, argc, argv);
  Shapes<Format::kU4>(m, argc, argv);
  Shapes<Format::kF32>(m, argc, argv);
  llmos_pool_destroy(m.pool);
}
