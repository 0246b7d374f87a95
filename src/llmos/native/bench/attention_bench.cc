// attention_bench THREADS [FORMAT]: attention of models with the shapes of Qwen2.5-0.5B (14 heads of 64 over 2 key/value heads,
// 24 layers) and TinyLlama-1.1B (32 over 4, 22 layers). prefill: 512 tokens, alone or after 1536 others, one layer; append: their
// keys and values. decode: one token after 31 or 2047 others, all layers, keys and values of four sequences in turn, so that they
// come from memory. bytes: the keys and values that are read at least once; operations: four for each query, position and place.
#include "bench.h"

using namespace llmos;

constexpr int d = 64, kPositions = 2048, kTokens = 512, kPages = kPositions / kPage, kSequences = 4;

template <int H, int KV, int kLayers, Kv kFormat>
struct Bench {
  static constexpr int kLd = (H + 2 * KV) * d;
  static constexpr uint64_t kLayer = KvLayerBytes<KV, d, kFormat>(), kPageBytes = kLayers * kLayer;
  Pool* pool;
  const char *shape, *name;
  int32_t positions[kTokens], sequence[kTokens] = {}, table[kSequences * kPages];
  LlmosModel model{};
  LlmosStep step{};
  float *rows = Floats((size_t)kTokens * kLd), *out = Floats((size_t)kTokens * H * d);

  Bench(Pool* p, const char* of, const char* format) : pool(p), shape(of), name(format) {
    for (int i = 0; i < kSequences * kPages; ++i) table[i] = i * 27 % (kSequences * kPages);
    model.kv = Memory((size_t)kSequences * kPages * kPageBytes, 0);
    model.context = kPositions;
    model.rope = Floats((size_t)kPositions * d);
    step.max_pages = kPages;
    step.positions = positions;
    step.sequence = sequence;
    step.block_table = table;
    Batch(0, kTokens);
    const Call call(model, step, 0, 0);
    for (int first = 0; first < kPositions * kSequences; first += kTokens) {
      Batch(first % kPositions, kTokens);
      for (int t = 0; t < kTokens; ++t) sequence[t] = first / kPositions;
      OnPool(pool, [&](Team& team) {
        for (int i = 0; i < kLayers; ++i) RopeAppend<H, KV, d, kFormat, 0, 0>(team, rows, kLd, call, kPageBytes, i * kLayer);
      });
    }
    for (int t = 0; t < kTokens; ++t) sequence[t] = 0;
  }

  void Batch(int first, int n) {
    step.n_tokens = n;
    for (int t = 0; t < n; ++t) positions[t] = first + t;
  }

  void Run(const char* phase, int first, int n, int layers, bool append, double budget_s) {
    Batch(first, n);
    const Call call(model, step, 0, 0);
    const Times times = Measure(budget_s, [&](int turn) {
      if (n == 1) sequence[0] = turn % kSequences;
      OnPool(pool, [&](Team& team) {
        for (int i = 0; i < layers; ++i) {
          if (append) RopeAppend<H, KV, d, kFormat, d, 0>(team, rows, kLd, call, kPageBytes, i * kLayer);
          if (!append) Attention<H, KV, d, kFormat>(team, rows, kLd, call, kPageBytes, i * kLayer, Scores{0.125f, 0, 0}, out, H * d);
        }
      });
    });
    double seen = 0;
    for (int t = 0; t < n; ++t) seen += positions[t] + 1;
    char facts[200];
    snprintf(facts, sizeof facts, "\"kernel\": \"attention\", \"shape\": \"%s\", \"phase\": \"%s\", \"format\": \"%s\", \"first\": %d, \"tokens\": %d, \"layers\": %d, \"threads\": %d",
             shape, phase, name, first, n, layers, pool ? pool->size : 1);
    const double pages = (double)((first + n + kPage - 1) / kPage);
    Report(facts, times, layers * (append ? 4.0 * n * kLd : pages * kLayer), append ? 0 : 4.0 * seen * H * d * layers);
  }

  // What memory gives: the pages of all sequences, read by all threads in pieces of 1 MiB.
  void Read() {
    const int pieces = (int)((size_t)kSequences * kPages * kPageBytes >> 20);
    const Times times = Measure(0.2, [&](int) {
      OnPool(pool, [&](Team& team) {
        team.RunTiles(pieces, [&](int piece) {
          F16 sum[4] = {};
          const float* p = (const float*)(model.kv + ((size_t)piece << 20));
          for (int i = 0; i < 1 << 18; i += 4 * kLanes)
            for (int j = 0; j < 4; ++j) sum[j] = Max(sum[j], Load(p + i + j * kLanes));
          if (MaxLane(Max(Max(sum[0], sum[1]), Max(sum[2], sum[3]))) == 1e30f) abort();
        });
      });
    });
    char facts[200];
    snprintf(facts, sizeof facts, "\"kernel\": \"read\", \"shape\": \"%s\", \"phase\": \"read\", \"format\": \"%s\", \"first\": 0, \"threads\": %d", shape, name, pool ? pool->size : 1);
    Report(facts, times, (double)pieces * (1 << 20), 0);
  }

  void All() {
    Read();
    Run("append", 0, kTokens, 1, true, 0.2);
    Run("prefill", 0, kTokens, 1, false, 0.3);
    Run("prefill", kPositions - kTokens, kTokens, 1, false, 0.3);
    Run("decode", 31, 1, kLayers, false, 0.3);
    Run("decode", kPositions - 1, 1, kLayers, false, 0.3);
    munmap(model.kv, (size_t)kSequences * kPages * kPageBytes);
  }
};

template <Kv kFormat>
static void Shapes(Pool* pool, const char* format) {
  Bench<14, 2, 24, kFormat> a(pool, "A", format);
  a.All();
  Bench<32, 4, 22, kFormat> b(pool, "B", format);
  b.All();
}

int main(int argc, char** argv) {
  const int threads = argc > 1 ? atoi(argv[1]) : 1;
  const char* wanted = argc > 2 ? argv[2] : "";
  void* pool = threads > 1 ? llmos_pool_create(threads) : nullptr;
  if (!*wanted || !strcmp(wanted, "float32")) Shapes<Kv::kF32>((Pool*)pool, "float32");
  if (!*wanted || !strcmp(wanted, "bf16")) Shapes<Kv::kBf16>((Pool*)pool, "bf16");
  if (!*wanted || !strcmp(wanted, "int8")) Shapes<Kv::kI8>((Pool*)pool, "int8");
  llmos_pool_destroy(pool);
}
