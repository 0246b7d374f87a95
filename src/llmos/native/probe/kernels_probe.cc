// A compiled model that computes nothing, and the kernels that real ones are made of, at sizes of its own: what a machine makes
// of them, measured in a moment (`api/kernels.py`). With the model the cost of a step outside of kernels is measured: scheduling
// in Python, the call, waking the threads. Timing is the caller's; inputs are zeros where values do not matter to speed.
//
// The formats are those of the lines in front of it (`compiler.kernel_names`): LINEAR, ACTIVATION and KV_FORMAT.
#include "llmos/kernels.h"

using namespace llmos;

constexpr int kRows = 1024, kTokens = 256, kPages = 64, kVocab = 32768;
constexpr uint64_t kWeights = 4 << 20;  // a step reads so much, as a real one does: Python finds nothing in the near caches after it
constexpr int H = 8, KV = 2, kWide = 2048;

LLMOS_EXPORT uint32_t llmos_abi_version(void) { return LLMOS_ABI_VERSION; }
LLMOS_EXPORT uint64_t llmos_weights_bytes(void) { return kWeights; }
LLMOS_EXPORT uint64_t llmos_page_bytes(void) { return 64; }
LLMOS_EXPORT uint64_t llmos_workspace_bytes(int32_t, int32_t) { return 64; }
// Reads the weights of the model.
LLMOS_EXPORT int32_t llmos_probe_read_weights(const uint8_t* weights) {
  F16 sum = Set(0);
  for (uint64_t i = 0; i < kWeights / sizeof(F16); ++i) sum = sum + Load((const float*)weights + i * kLanes);
  return Sum(sum) == 1;
}

LLMOS_EXPORT int32_t llmos_step(const LlmosModel* model, const LlmosStep* step) {
  if (CheckStep(model, step, kVocab) != LLMOS_OK) return LLMOS_BAD_SHAPE;
  const Call call(*model, *step, 0, 0);
  RunStep(*model, call, [](Team& team, const Call&) { team.RunTiles(1, [](int) {}); });
  if (llmos_probe_read_weights(model->weights)) return LLMOS_BAD_NUMBER;
  for (int o = 0; step->sampling && o < step->n_outputs; ++o) step->sampled[o] = 3;
  return LLMOS_OK;
}

template <class F>
static void OnPool(void* pool, const F& f) {
  PoolRun((Pool*)pool, [](Team& team, const void* p) { (*(const F*)p)(team); }, &f);
}

// `n` operations that give each thread a fraction of a microsecond to do, so that each does its own: what takes longer than with
// one thread is how they wait for each other.
LLMOS_EXPORT void llmos_probe_joins(void* pool, int32_t n) {
  OnPool(pool, [&](Team& team) {
    for (int i = 0; i < n; ++i)
      team.RunTiles(team.size, [](int) {
        for (int j = 0; j < 20; ++j) Pause();
      });
  });
}

// One product of `tokens` rows with a matrix of 1024 rows.
template <int K>
static void Product(Team& team, const void* w, const void* x, void* y, int tokens) {
  const size_t row = sizeof(ACTIVATION) == sizeof(I8Group) ? K / kGroup * sizeof(I8Group) : K * sizeof(ACTIVATION);
  LINEAR<kRows, K, false, false>(team, (const uint8_t*)w, (const ACTIVATION*)x, row, nullptr, nullptr, 0, (float*)y, kRows, tokens);
}

// Products with `n` matrices that lie `bytes` apart, `rounds` times over. columns: 256, 1024 or 4096.
LLMOS_EXPORT void llmos_probe_products(void* pool, int32_t columns, int32_t tokens, int32_t rounds, int32_t n, int64_t bytes,
                                       const void* w, const void* x, void* y) {
  OnPool(pool, [&](Team& team) {
    for (int i = 0; i < rounds * n; ++i) {
      const uint8_t* at = (const uint8_t*)w + (i % n) * bytes;
      if (columns == 256) Product<256>(team, at, x, y, tokens);
      if (columns == 1024) Product<1024>(team, at, x, y, tokens);
      if (columns == 4096) Product<4096>(team, at, x, y, tokens);
    }
  });
}

template <int d>
static void Attend(void* pool, const Call& call, int layers, float* rows, float* out) {
  const Scores how{0.125f, 0, 0};
  constexpr uint64_t kLayer = KvLayerBytes<KV, d, KV_FORMAT>();
  OnPool(pool, [&](Team& team) {
    for (int i = 0; i < layers; ++i)
      Attention<H, KV, d, KV_FORMAT>(team, rows, (H + 2 * KV) * d, call, layers * kLayer, i * kLayer, how, out, H * d);
  });
}

// `tokens` tokens (256 at most) with 8 heads over 2 key/value heads attend to `pages` full pages (64 at most) at kv in each of
// `layers` layers.
LLMOS_EXPORT void llmos_probe_attention(void* pool, int32_t head_dim, int32_t tokens, int32_t pages, int32_t layers, void* kv,
                                        void* rows, void* out) {
  int32_t positions[kTokens], sequence[kTokens] = {}, table[kPages];
  for (int p = 0; p < kPages; ++p) table[p] = p;
  for (int t = 0; t < kTokens; ++t) positions[t] = pages * kPage - 1;
  LlmosModel model{};
  model.kv = (uint8_t*)kv;
  LlmosStep step{};
  step.max_pages = kPages;
  step.positions = positions;
  step.sequence = sequence;
  step.block_table = table;
  step.n_tokens = tokens;
  const Call call(model, step, 0, 0);
  head_dim == 64 ? Attend<64>(pool, call, layers, (float*)rows, (float*)out) : Attend<128>(pool, call, layers, (float*)rows, (float*)out);
}

template <int d>
static void Append(const Call& call, int rounds, int32_t* position, float* rows) {
  OnPool(nullptr, [&](Team& team) {
    for (*position = 0; *position < rounds; ++*position) {
      const int place = *position;
      *position = place % kPage;
      RopeAppend<H, KV, d, KV_FORMAT, d, 0>(team, rows, (H + 2 * KV) * d, call, KvLayerBytes<KV, d, KV_FORMAT>(), 0);
      *position = place;
    }
  });
}

// One token with 8 heads over 2 key/value heads is turned and stored in the page at kv, `rounds` times. rope: tables of 32 positions.
LLMOS_EXPORT void llmos_probe_append(int32_t head_dim, int32_t rounds, void* kv, void* rows, void* rope) {
  int32_t position = 0, sequence = 0, table = 0;
  LlmosModel model{};
  model.kv = (uint8_t*)kv;
  model.rope = (const float*)rope;
  model.context = kPage;
  LlmosStep step{};
  step.max_pages = step.n_tokens = 1;
  step.positions = &position;
  step.sequence = &sequence;
  step.block_table = &table;
  const Call call(model, step, 0, 0);
  head_dim == 64 ? Append<64>(call, rounds, &position, (float*)rows) : Append<128>(call, rounds, &position, (float*)rows);
}

// `n` operations on `rows` rows of 2048 values. kind: 0 a norm, 1 an activation times another row, 2 rows put into int8,
// 3 drawing the likeliest of 32768.
LLMOS_EXPORT void llmos_probe_rows(void* pool, int32_t kind, int32_t n, int32_t rows, void* x, void* y) {
  LlmosModel model{};
  LlmosStep step{};
  step.n_outputs = rows;
  LlmosSampling greedy{};
  int32_t sampled[kTokens];
  step.sampling = &greedy;
  step.sampled = sampled;
  greedy.top_p = greedy.repetition_penalty = 1;
  model.workspace = (uint8_t*)y;
  const Call call(model, step, 0, 0);
  float *in = (float*)x, *out = (float*)y;
  OnPool(pool, [&](Team& team) {
    for (int i = 0; i < n; ++i) {
      if (kind == 0) RmsNorm<kWide>(team, in, 2 * kWide, in, 1e-5f, FloatRows{out, kWide}, rows);
      if (kind == 1) GatedActivate<Act::kSilu, kWide>(team, in, 2 * kWide, FloatRows{out, kWide}, rows);
      if (kind == 2) QuantI8<kWide>(team, in, 2 * kWide, (I8Group*)out, kWide / 32 * sizeof(I8Group), rows);
      if (kind == 3) Outputs<kVocab>(team, call, in, 0);
    }
  });
}
