#include "testing.h"

using namespace llmos;

constexpr int kRows = 11, K = 40;  // tiles of 8, 2 and 1 rows

// A head and its rows; the step's arrays. `Run` draws from scores that are kept (the kernel's choice) or, `written`, from whole rows.
template <Format kFormat, int V, bool kBias = true>
struct Head {
  static constexpr int kLd = (int)RoundUp(V, 16);
  static constexpr size_t kRowBytes = RowBytes(kFormat, K);
  Random random{V};
  Array<float> w{(size_t)V * K, random}, x{(size_t)kRows * K, random}, bias{V};
  Array<uint8_t> packed{PackedBytes(kFormat, V, K)}, in{kRows * kRowBytes}, workspace{kRows * DrawBytes<V>()};
  Array<float> scores{(size_t)kRows * kLd};
  Array<int32_t> sampled{kRows};
  LlmosSampling sampling[kRows] = {};
  LlmosStep step{};

  Head() {
    Pack(kFormat, w, V, K, packed);
    OnTeam(1, [&](Team& team) {
      ToRows<kFormat, K>(team, x, in, kRowBytes, kRows);
    });
    for (LlmosSampling& p : sampling) p.temperature = p.top_p = p.repetition_penalty = 1;
    step.sampling = sampling;
    step.sampling_bytes = sizeof(LlmosSampling);
    step.sampled = sampled;
  }

  void Run(int threads, int rows, bool written, int32_t* drawn) {
    for (size_t i = 0; i < scores.n; ++i) scores[i] = -7;
    for (size_t i = 0; i < workspace.n; ++i) workspace[i] = 0xcc;
    step.n_outputs = rows;
    LlmosModel model{};
    model.max_outputs = kRows;
    model.workspace = workspace;
    model.pool = threads == 1 ? nullptr : llmos_pool_create(threads);
    const Call call(model, step, 0, 0);
    const float* added = kBias ? bias.data() : nullptr;
    if (written) {
      OnTeam(1, [&](Team& team) {
        Linear<WeightsOf<kFormat, K>, V, kBias, false>{packed, in, kRowBytes, added, nullptr, 0, scores, kLd}.Run(team, rows);
        Outputs<V>(team, call, scores, kLd);
      });
    } else {
      BeginBest<V>(call);
      RunStep(model, call, [](Team& team, const Call& c) {
        Head& h = *(Head*)((uint8_t*)c.step.sampling - offsetof(Head, sampling));
        OutputHead<kFormat, V, K, kBias>(team, c, h.packed, h.in, kRowBytes, kBias ? h.bias.data() : nullptr, h.scores, kLd);
        Outputs<V, true>(team, c, h.scores, kLd);
      });
    }
    llmos_pool_destroy(model.pool);
    memcpy(drawn, sampled, rows * sizeof(int32_t));
  }

  void DrawsTheSame(const char* what, int threads, int rows) {
    int32_t want[kRows], got[kRows];
    Run(1, rows, true, want);
    Run(threads, rows, false, got);
    for (int o = 0; o < rows; ++o)
      EXPECT(want[o] == got[o], "format %d V %d, %s, %d threads, row %d of %d: %d, want %d", (int)kFormat, V, what, threads, o, rows, got[o], want[o]);
  }
  bool Written(int o) { return scores[(size_t)o * kLd] != -7; }
};

template <Format kFormat, int V>
static void DrawsLikeWholeRows() {
  Head<kFormat, V> head;
  for (int threads : Ints{1, 2, 3})
    for (int rows : Ints{1, 2, kRows}) {
      for (int trial = 0; trial < 4; ++trial) {
        for (int o = 0; o < kRows; ++o) {
          LlmosSampling& p = head.sampling[o];
          p.temperature = (o + trial) % 4 == 0 ? 0 : 0.4f + 0.3f * (float)head.random.Below(5);
          p.top_k = (o + trial) % 5 == 4 ? 0 : 1 + head.random.Below(kMostBest);
          p.top_p = trial % 2 ? 0.3f + 0.1f * (float)head.random.Below(7) : 1;
          p.min_p = trial > 1 ? 0.02f * (float)head.random.Below(5) : 0;
          p.seed = head.random.Next();
        }
        head.DrawsTheSame("settings", threads, rows);
      }
    }
}

TEST(float32) { DrawsLikeWholeRows<Format::kF32, 700>(); }
TEST(float16) { DrawsLikeWholeRows<Format::kF16, 613>(); }
TEST(bf16) { DrawsLikeWholeRows<Format::kBf16, 448>(); }
TEST(int8) { DrawsLikeWholeRows<Format::kI8, 1000>(); }
TEST(int4) { DrawsLikeWholeRows<Format::kI4, 999>(); }
TEST(uint4) { DrawsLikeWholeRows<Format::kU4, 605>(); }
TEST(no_room_for_lists) { DrawsLikeWholeRows<Format::kF32, 100>(); }
TEST(fewer_scores_than_lists_hold) { DrawsLikeWholeRows<Format::kF32, 17>(); }

// Everywhere the same scores: those of the smallest ids belong to the largest, whoever meets them first.
TEST(ties_go_to_the_smallest_ids) {
  Head<Format::kF32, 700> head;
  for (size_t i = 0; i < head.w.n; ++i) head.w[i] = 0;
  Pack(Format::kF32, head.w, 700, K, head.packed);
  for (int i = 0; i < 700; ++i) head.bias[i] = (float)(i / 3 % 4);
  for (int trial = 0; trial < 20; ++trial) {
    for (int o = 0; o < kRows; ++o) {
      head.sampling[o].temperature = (float)(o % 3);
      head.sampling[o].top_k = 1 + head.random.Below(kMostBest);
      head.sampling[o].seed = head.random.Next();
    }
    head.DrawsTheSame("ties", 1 + trial % 3, kRows);
  }
}

TEST(scores_that_are_no_distribution) {
  const float inf = __builtin_inff();
  for (int kind = 0; kind < 5; ++kind) {
    Head<Format::kF32, 700> head;
    for (int i = 0; i < 700; ++i) head.bias[i] = kind == 2 ? -inf : i % 2 && kind >= 3 ? -inf : 0;
    if (kind == 0) head.bias[699] = NAN;
    if (kind == 1) head.bias[3] = inf;
    if (kind == 4) head.bias[350] = NAN;
    for (int o = 0; o < kRows; ++o) head.sampling[o].temperature = (float)(o % 2), head.sampling[o].top_k = 40;
    head.DrawsTheSame("strange scores", 2, kRows);
    int32_t got[kRows];
    head.Run(2, kRows, false, got);
    for (int o = 0; o < kRows; ++o) EXPECT((got[o] == LLMOS_NO_TOKEN) == (kind != 3), "kind %d draws %d", kind, got[o]);
  }
}

// Rows are left out where nothing but a draw from the largest scores is wanted of them, and only there.
TEST(rows_are_written_where_they_are_wanted) {
  constexpr int V = 700;
  Head<Format::kI8, V> head;
  Array<float> logits((size_t)kRows * V), logprobs(kRows * 2);
  Array<int32_t> ids(kRows * 2), score_ids(kRows);
  Array<uint32_t> mask((size_t)kRows * ((V + 31) / 32));
  for (size_t i = 0; i < mask.n; ++i) mask[i] = ~0u;
  for (int o = 0; o < kRows; ++o) score_ids[o] = o == 2 ? 5 : -1, head.sampling[o].temperature = 0;
  int32_t got[kRows];
  const auto expect = [&](const char* what, auto written) {
    head.Run(2, kRows, false, got);
    for (int o = 0; o < kRows; ++o) EXPECT(head.Written(o) == written(o), "%s: row %d", what, o);
    head.DrawsTheSame(what, 2, kRows);
  };
  const auto all = [](int) { return true; };
  expect("greedy", [](int) { return false; });
  head.step.logits = logits;
  expect("logits", all);
  head.step.logits = nullptr;
  head.step.sampled_logprob = logprobs;
  expect("log-probabilities", all);
  head.step.sampled_logprob = nullptr;
  head.step.n_top = 2, head.step.top_ids = ids, head.step.top_logprobs = logprobs;
  expect("alternatives", all);
  head.step.n_top = 0;
  head.step.logit_mask = mask;
  expect("mask", all);
  head.step.logit_mask = nullptr;
  head.step.score_ids = score_ids, head.step.score_logprobs = logprobs;
  expect("a score", [](int o) { return o == 2; });
  head.step.score_ids = nullptr;
  const int32_t history[2] = {1, 2};
  head.sampling[1].repetition_penalty = 1.3f, head.sampling[1].history = history, head.sampling[1].n_history = 2;
  head.sampling[3].temperature = 1;
  head.sampling[4].temperature = 1, head.sampling[4].top_k = kMostBest + 1;
  expect("settings of rows", [](int o) { return o == 1 || o == 3 || o == 4; });
}

int main() { return RunTests(); }
