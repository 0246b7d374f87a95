#include "testing.h"

using namespace llmos;

static LlmosSampling Plain() {
  LlmosSampling p{};
  p.temperature = 1;
  p.top_p = 1;
  p.repetition_penalty = 1;
  return p;
}

// One call of Outputs for rows of scores; the arrays of the step are the caller's.
template <int V>
struct Rows {
  int n;
  Array<float> logits;
  Array<uint8_t> scratch;
  Array<int32_t> sampled;
  Array<float> logprob;
  LlmosStep step{};
  explicit Rows(int rows) : n(rows), logits((size_t)rows * RoundUp(V, 16)), scratch(rows * DrawBytes<V>()), sampled(rows), logprob(rows) {
    step.n_outputs = n;
    step.sampling_bytes = sizeof(LlmosSampling);
  }
  float* row(int o) { return logits + (size_t)o * RoundUp(V, 16); }
  void Run(int threads) {
    LlmosModel model{};
    model.max_outputs = n;
    model.workspace = scratch;
    const Call call(model, step, 0, 0);
    OnTeam(threads, [&](Team& team) { Outputs<V>(team, call, logits, (int)RoundUp(V, 16)); });
  }
};

// The definition: ids in order of falling score, ties by id; the kept ones; then the inverse of the cumulative sum by id.
template <int V>
struct Definition {
  double weight[V];
  bool kept[V] = {};
  bool doubtful = false;  // rounding may decide

  Definition(const float* x, const LlmosSampling& p) {
    int order[V];
    bool taken[V] = {};
    for (int rank = 0; rank < V; ++rank) {
      int best = -1;
      for (int i = 0; i < V; ++i)
        if (!taken[i] && (best < 0 || x[i] > x[best])) best = i;
      taken[order[rank] = best] = true;
    }
    double total = 0, sum = 0;
    const int n = p.top_k > 0 && p.top_k < V ? p.top_k : V;
    for (int i = 0; i < V; ++i) weight[i] = exp(((double)x[i] - x[order[0]]) / p.temperature);
    for (int rank = 0; rank < n; ++rank) total += weight[order[rank]];
    for (int rank = 0; rank < n; ++rank) {
      const int id = order[rank];
      if (p.top_p < 1 && rank > 0 && fabs(sum - p.top_p * total) < 1e-5 * total) doubtful = true;
      if (p.top_p < 1 && rank > 0 && sum >= p.top_p * total) break;
      sum += weight[id];
      if (p.min_p > 0 && fabs(weight[id] - p.min_p) < 1e-5) doubtful = true;
      kept[id] = weight[id] > 0 && (p.min_p <= 0 || weight[id] >= p.min_p);
    }
  }

  int Draw(double u) {
    double total = 0, at = 0;
    int last = -1;
    for (int i = 0; i < V; ++i) total += kept[i] ? weight[i] : 0;
    for (int i = 0; i < V; ++i)
      if (kept[i]) {
        at += weight[i];
        last = i;
        if (fabs(u * total - at) < 1e-5 * total) doubtful = true;
        if (u * total < at) return i;
      }
    return last;
  }
};

template <int V>
static void DrawsLikeTheDefinition() {
  Random random(V);
  int compared = 0;
  for (int trial = 0; trial < 400; ++trial) {
    float x[V];
    for (float& v : x) v = trial % 3 == 0 ? (float)random.Below(4) : random.Float(trial % 2 ? 4.0f : 30.0f);
    if (trial % 5 == 0)
      for (int i = 0; i < V / 2; ++i) x[random.Below(V)] = -__builtin_inff();
    LlmosSampling p = Plain();
    p.temperature = 0.3f + (float)random.Below(20) / 10;
    p.top_k = random.Below(2) ? random.Below(V + 2) : 0;
    p.top_p = random.Below(2) ? 0.05f + 0.9f * (float)random.Below(100) / 100 : 1;
    p.min_p = random.Below(3) ? 0 : (float)random.Below(50) / 100;
    p.seed = random.Next();
    p.counter = (uint64_t)trial;
    if (isinf(x[ArgMax(x, V)])) continue;
    Definition<V> definition(x, p);
    const int want = definition.Draw(Uniform(p.seed, p.counter));
    if (definition.doubtful) continue;
    ++compared;
    EXPECT(Draw(x, V, p) == want, "V %d trial %d: %d, want %d (k %d p %g min %g)", V, trial, Draw(x, V, p), want, p.top_k, p.top_p, p.min_p);
  }
  EXPECT(compared > 200, "only %d of 400 trials were clear", compared);
}

TEST(draws_like_the_definition) {
  DrawsLikeTheDefinition<1>();
  DrawsLikeTheDefinition<2>();
  DrawsLikeTheDefinition<15>();
  DrawsLikeTheDefinition<16>();
  DrawsLikeTheDefinition<53>();
  DrawsLikeTheDefinition<120>();
}

TEST(frequencies_follow_the_distribution) {
  const float x[4] = {0, logf(2), logf(4), -__builtin_inff()};
  int count[4] = {};
  LlmosSampling p = Plain();
  for (p.counter = 0; p.counter < 70000; ++p.counter) ++count[Draw(x, 4, p)];
  for (int i = 0; i < 3; ++i) EXPECT(abs(count[i] - 10000 * (1 << i)) < 500, "id %d drawn %d times", i, count[i]);
  EXPECT(count[3] == 0);
}

TEST(greedy_takes_the_smallest_of_equals) {
  LlmosSampling p = Plain();
  p.temperature = 0;
  float x[40] = {};
  EXPECT(Draw(x, 40, p) == 0);
  x[17] = x[33] = 2;
  EXPECT(Draw(x, 40, p) == 17);
  x[3] = NAN;
  EXPECT(Draw(x, 40, p) == 17);
}

TEST(strange_scores_and_settings_end) {
  const float inf = __builtin_inff();
  for (float fill : Floats{NAN, inf, -inf, 0, 3e38f, -3e38f})
    for (float setting : Floats{NAN, inf, -inf, 0, -1, 1e-30f, 1e30f}) {
      float x[33];
      for (float& v : x) v = fill;
      x[5] = 1;
      LlmosSampling p = Plain();
      p.temperature = setting;
      int id = Draw(x, 33, p);
      EXPECT(id >= 0 && id < 33);
      p = Plain();
      p.top_p = p.min_p = setting;
      p.top_k = 3;
      id = Draw(x, 33, p);
      EXPECT(id >= 0 && id < 33);
    }
}

TEST(penalties_and_bias) {
  constexpr int V = 37;
  Rows<V> rows(1);
  Random random(3);
  float raw[V];
  for (int i = 0; i < V; ++i) rows.row(0)[i] = raw[i] = random.Float(3);
  const int32_t history[6] = {4, 9, 9, 30, 9, 4}, bias_ids[2] = {1, 9};
  const float bias[2] = {2.5f, 0.25f};
  LlmosSampling p = Plain();
  p.temperature = 0;
  p.history = history;
  p.n_history = 6;
  p.n_prompt = 2;
  p.bias_ids = bias_ids;
  p.bias_values = bias;
  p.n_bias = 2;
  p.repetition_penalty = 1.5f;
  p.presence_penalty = 0.5f;
  p.frequency_penalty = 0.125f;
  rows.step.sampling = &p;
  rows.step.sampled = rows.sampled;
  rows.step.sampled_logprob = rows.logprob;
  rows.Run(1);
  double want[V], sum = 0;
  for (int i = 0; i < V; ++i) want[i] = raw[i];
  for (int id : Ints{4, 9, 30}) want[id] = raw[id] > 0 ? raw[id] / 1.5 : raw[id] * 1.5;
  want[4] -= 0.5 + 0.125;  // once after the prompt
  want[9] -= 0.5 + 0.25;   // twice
  want[30] -= 0.5 + 0.125;
  want[1] += 2.5;
  want[9] += 0.25;
  int best = 0;
  for (int i = 0; i < V; ++i) {
    EXPECT(Near(rows.row(0)[i], want[i], 1e-6), "id %d: %g, want %g", i, rows.row(0)[i], want[i]);
    best = want[i] > want[best] ? i : best;
    sum += exp((double)raw[i]);
  }
  EXPECT(rows.sampled[0] == best);
  EXPECT(Near(rows.logprob[0], raw[best] - log(sum), 1e-5), "%g", rows.logprob[0]);
}

// A caller whose header has a field more.
TEST(larger_sampling_structures_are_read_where_they_lie) {
  struct Larger {
    LlmosSampling known;
    uint64_t unknown[3];
  } p[3] = {};
  constexpr int V = 20;
  Rows<V> rows(3);
  const int32_t ids[3] = {7, 3, 19};
  const float bias = 100;
  for (int o = 0; o < 3; ++o) {
    p[o] = {Plain(), {~0ull, ~0ull, ~0ull}};
    p[o].known.bias_ids = &ids[o];
    p[o].known.bias_values = &bias;
    p[o].known.n_bias = 1;
  }
  rows.step.sampling = &p[0].known;
  rows.step.sampling_bytes = sizeof *p;
  rows.step.sampled = rows.sampled;
  rows.Run(2);
  for (int o = 0; o < 3; ++o) EXPECT(rows.sampled[o] == ids[o], "row %d draws %d", o, rows.sampled[o]);
}

TEST(a_huge_bias_leaves_the_log_probability_exact) {
  constexpr int V = 37;
  Rows<V> rows(2);
  Random random(5);
  float raw[2][V];
  const int32_t id = 11;
  LlmosSampling p[2] = {Plain(), Plain()};
  for (int o = 0; o < 2; ++o) {
    for (int i = 0; i < V; ++i) rows.row(o)[i] = raw[o][i] = random.Float(3);
    static const float bias[2] = {1e30f, 100.0f};
    p[o].bias_ids = &id;
    p[o].bias_values = &bias[o];
    p[o].n_bias = 1;
  }
  rows.step.sampling = p;
  rows.step.sampled = rows.sampled;
  rows.step.sampled_logprob = rows.logprob;
  rows.Run(2);
  for (int o = 0; o < 2; ++o) {
    double sum = 0;
    for (float x : raw[o]) sum += exp((double)x);
    EXPECT(rows.sampled[o] == id);
    EXPECT(Near(rows.logprob[o], raw[o][id] - log(sum), 1e-6), "%.9g, want %.9g", rows.logprob[o], raw[o][id] - log(sum));
  }
}

// Scores that are no distribution, beside a row that is one.
template <int V>
static void NothingToDraw(float fill, float odd) {
  Rows<V> rows(2);
  Array<float> scores(2), top_logprobs(2);
  Array<int32_t> top_ids(2);
  const int32_t ids[2] = {0, 0};
  LlmosSampling p[2] = {Plain(), Plain()};
  rows.step.sampling = p;
  rows.step.sampled = rows.sampled;
  rows.step.sampled_logprob = rows.logprob;
  rows.step.score_ids = ids;
  rows.step.score_logprobs = scores;
  rows.step.n_top = 1;
  rows.step.top_ids = top_ids;
  rows.step.top_logprobs = top_logprobs;
  for (float temperature : Floats{0, 1}) {
    p[0].temperature = p[1].temperature = temperature;
    for (int i = 0; i < V; ++i) {
      rows.row(0)[i] = i == V - 1 ? odd : fill;
      rows.row(1)[i] = (float)i;
    }
    rows.Run(1);
    EXPECT(rows.sampled[0] == LLMOS_NO_TOKEN, "V %d: %d of %g and %g", V, rows.sampled[0], fill, odd);
    EXPECT(isnan(rows.logprob[0]) && isnan(scores[0]) && isnan(top_logprobs[0]));
    EXPECT(rows.sampled[1] >= 0 && rows.sampled[1] < V && top_ids[1] == V - 1);
    EXPECT(isfinite(rows.logprob[1]) && isfinite(scores[1]) && isfinite(top_logprobs[1]));
  }
}

TEST(nothing_is_drawn_from_scores_that_are_no_distribution) {
  const float inf = __builtin_inff();
  for (float odd : Floats{NAN, inf})
    for (float fill : Floats{NAN, inf, -inf, 1}) {
      NothingToDraw<1>(fill, odd);
      NothingToDraw<16>(fill, odd);
      NothingToDraw<53>(fill, odd);
    }
  NothingToDraw<16>(NAN, 1);
  NothingToDraw<16>(-inf, -inf);
}

template <int V>
static void ScoresOf() {
  constexpr int kRows = 3;
  const int n_top = 7;
  Rows<V> rows(kRows);
  Random random(V);
  Array<float> raw((size_t)kRows * V), logits((size_t)kRows * V), top_logprobs(kRows * n_top), scores(kRows);
  Array<int32_t> top_ids(kRows * n_top);
  for (int o = 0; o < kRows; ++o)
    for (int i = 0; i < V; ++i) rows.row(o)[i] = raw[o * V + i] = o == 1 ? (float)random.Below(3) : random.Float(10);
  const int32_t ids[kRows] = {V - 1, -1, 0};
  scores[1] = 42;
  rows.step.logits = logits;
  rows.step.n_top = n_top;
  rows.step.top_ids = top_ids;
  rows.step.top_logprobs = top_logprobs;
  rows.step.score_ids = ids;
  rows.step.score_logprobs = scores;
  rows.Run(2);
  EXPECT(memcmp(raw, logits, raw.n * sizeof(float)) == 0);
  EXPECT(scores[1] == 42);
  for (int o = 0; o < kRows; ++o) {
    const float* x = raw + o * V;
    double sum = 0;
    for (int i = 0; i < V; ++i) sum += exp((double)x[i]);
    if (o != 1) EXPECT(Near(scores[o], x[ids[o]] - log(sum), 2e-6 * (1 + fabs(scores[o]))), "V %d: %g", V, scores[o]);
    bool taken[V] = {};
    for (int rank = V; rank < n_top; ++rank) EXPECT(top_ids[o * n_top + rank] == LLMOS_NO_TOKEN && isnan(top_logprobs[o * n_top + rank]));
    for (int rank = 0; rank < n_top && rank < V; ++rank) {
      int best = -1;
      for (int i = 0; i < V; ++i)
        if (!taken[i] && (best < 0 || x[i] > x[best])) best = i;
      taken[best] = true;
      EXPECT(top_ids[o * n_top + rank] == best, "V %d rank %d: %d, want %d", V, rank, top_ids[o * n_top + rank], best);
      EXPECT(Near(top_logprobs[o * n_top + rank], x[best] - log(sum), 2e-6 * (1 + fabs(x[best] - log(sum)))));
    }
  }
}

TEST(scores_and_alternatives) {
  ScoresOf<1>();
  ScoresOf<5>();
  ScoresOf<15>();
  ScoresOf<16>();
  ScoresOf<17>();
  ScoresOf<53>();
  ScoresOf<1000>();
}

TEST(masked_ids_are_never_drawn) {
  constexpr int V = 70;
  Rows<V> rows(2);
  uint32_t mask[2][3] = {};
  mask[0][1] = 1u << 5;                // 37 alone
  mask[1][0] = 6, mask[1][2] = 1u << 5;  // 1, 2, 69
  LlmosSampling p[2] = {Plain(), Plain()};
  for (uint64_t counter = 0; counter < 200; ++counter) {
    p[0].counter = p[1].counter = counter;
    for (int o = 0; o < 2; ++o)
      for (int i = 0; i < V; ++i) rows.row(o)[i] = (float)(i % 5);
    rows.step.sampling = p;
    rows.step.sampled = rows.sampled;
    rows.step.logit_mask = &mask[0][0];
    rows.Run(1);
    EXPECT(rows.sampled[0] == 37);
    EXPECT(rows.sampled[1] == 1 || rows.sampled[1] == 2 || rows.sampled[1] == 69, "%d", rows.sampled[1]);
  }
  mask[0][1] = 0;
  rows.Run(1);
  EXPECT(rows.sampled[0] == LLMOS_NONE_ALLOWED && rows.sampled[1] > 0, "%d", rows.sampled[0]);
}

// Row 0 loses all it has to biases, row 1 had nothing to begin with, row 2 is not touched.
TEST(what_the_caller_bans_is_told_from_what_the_model_lacks) {
  constexpr int V = 21;
  const float inf = __builtin_inff();
  int32_t ids[V];
  float bans[V];
  for (int i = 0; i < V; ++i) {
    ids[i] = i;
    bans[i] = -inf;
  }
  for (float temperature : Floats{0, 1}) {
    LlmosSampling p[3] = {Plain(), Plain(), Plain()};
    Rows<V> rows(3);
    for (int o = 0; o < 3; ++o) {
      p[o].temperature = temperature;
      p[o].bias_ids = ids;
      p[o].bias_values = bans;
      p[o].n_bias = o < 2 ? V : 0;
      for (int i = 0; i < V; ++i) rows.row(o)[i] = o == 1 || i > 15 ? -inf : (float)(i % 5);
    }
    rows.step.sampling = p;
    rows.step.sampled = rows.sampled;
    rows.step.sampled_logprob = rows.logprob;
    rows.Run(1);
    EXPECT(rows.sampled[0] == LLMOS_NONE_ALLOWED && rows.sampled[1] == LLMOS_NO_TOKEN, "%d %d", rows.sampled[0], rows.sampled[1]);
    EXPECT(isnan(rows.logprob[0]) && isnan(rows.logprob[1]));
    EXPECT(rows.sampled[2] >= 0 && rows.sampled[2] <= 15 && isfinite(rows.logprob[2]));
  }
}

int main() { return RunTests(); }
