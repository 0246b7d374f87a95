// attention_bench THREADS: 14 heads of 64 over 2 key/value heads. decode: one token after 2047 others; prefill: 512 tokens.
// bytes: the keys and values that are read at least once; operations: four for each query, position and place.
#include "bench.h"

using namespace llmos;

constexpr int H = 14, KV = 2, d = 64, kLd = (H + 2 * KV) * d, kPositions = 2048, kTokens = 512, kPages = kPositions / kPage;

template <Kv kFormat>
static void Bench(Pool* pool, const char* name) {
  constexpr uint64_t kPageBytes = KvLayerBytes<KV, d, kFormat>();
  int32_t positions[kTokens], sequence[kTokens] = {}, table[kPages];
  for (int p = 0; p < kPages; ++p) table[p] = p * 27 % kPages;
  LlmosModel model{};
  model.kv = Memory(kPages * kPageBytes, 0);
  model.context = kPositions;
  model.rope = Floats((size_t)kPositions * d);
  LlmosStep step{};
  step.max_pages = kPages;
  step.positions = positions;
  step.sequence = sequence;
  step.block_table = table;
  const float* input = Floats((size_t)kTokens * kLd);
  float *rows = Floats((size_t)kTokens * kLd), *out = Floats((size_t)kTokens * H * d);
  const auto run = [&](const char* phase, int first, int n, bool append, bool attend, double budget_s) {
    step.n_tokens = n;
    for (int t = 0; t < n; ++t) positions[t] = first + t;
    const Call call(model, step, 0, 0);
    const Times times = Measure(budget_s, [&](int) {
      OnPool(pool, [&](Team& team) {
        if (append) RopeAppend<H, KV, d, kFormat, d, 0>(team, rows, kLd, call, kPageBytes, 0);
        if (attend) Attention<H, KV, d, kFormat>(team, rows, kLd, call, kPageBytes, 0, Scores{0.125f, 0, 0}, out, H * d);
      });
    });
    double seen = 0;
    for (int t = 0; t < n; ++t) seen += positions[t] + 1;
    char facts[200];
    snprintf(facts, sizeof facts, "\"kernel\": \"%s\", \"phase\": \"%s\", \"format\": \"%s\", \"tokens\": %d, \"threads\": %d",
             attend ? "attention" : "rope_append", phase, name, n, pool ? pool->size : 1);
    Report(facts, times, attend ? (double)(first + n) / kPage * kPageBytes : 4.0 * n * kLd, attend ? 4.0 * seen * H * d : 0);
  };
  for (int first = 0; first < kPositions; first += kTokens) {
    memcpy(rows, input, (size_t)kTokens * kLd * sizeof(float));
    run("fill", first, kTokens, true, false, 0);
  }
  run("prefill", 0, kTokens, false, true, 0.5);
  run("decode", kPositions - 1, 1, false, true, 0.3);
}

int main(int argc, char** argv) {
  const int threads = argc > 1 ? atoi(argv[1]) : 1;
  void* pool = threads > 1 ? llmos_pool_create(threads) : nullptr;
  Bench<Kv::kF32>((Pool*)pool, "float32");
  Bench<Kv::kBf16>((Pool*)pool, "bf16");
  Bench<Kv::kI8>((Pool*)pool, "int8");
  llmos_pool_destroy(pool);
}
