// From scores to tokens. A tile is one output row; nothing is allocated and nothing is sorted.
//
// Order: penalties, bias, mask; then the largest score (temperature 0), or temperature, top-k, top-p, min-p and a draw. The
// limits of top-k and top-p are found by descending through the bytes of the scores' order-preserving integers: exact, a few
// passes over the row, and sums always run in order of id. Ties at a limit go to the smaller id. The draw inverts the
// cumulative distribution in order of id with a number in [0, 1) that is a hash of seed and counter.
//
// A row with a NaN, or whose largest score is not finite, is no distribution: nothing is drawn from it, and it says so. Where the
// model's scores are one and the caller's settings leave nothing of it, that is said apart: it is no fault of the model.
#pragma once
#include "llmos/best.h"

namespace llmos {

// splitmix64 (Steele, Lea, Flood 2014) of seed and counter.
LLMOS_INLINE uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}
LLMOS_INLINE double Uniform(uint64_t seed, uint64_t counter) {
  return (double)(Mix(Mix(seed) ^ (counter * 0xd1342543de82ef95ull)) >> 11) * 0x1p-53;
}

LLMOS_INLINE U16 Keys(F16 x) {
  const U16 u = (U16)x, negative = (U16)((I16)u >> 31);
  return x == x ? u ^ (negative | 0x80000000u) : U16{};
}

// The first of the largest.
static inline int ArgMax(const float* x, int n) {
  U16 best = {};
  I16 where = {};
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const U16 keys = Keys(Load(x + i));
    where = keys > best ? I16{} + i : where;
    best = keys > best ? keys : best;
  }
  int found = 0;
  uint32_t largest = Key(x[0]);
  for (int lane = 0; lane < kLanes && i > 0; ++lane) {
    const int id = where[lane] + lane;
    if (best[lane] > largest || (best[lane] == largest && id < found)) largest = best[lane], found = id;
  }
  for (; i < n; ++i)
    if (Key(x[i]) > largest) largest = Key(x[i]), found = i;
  return found;
}

// Whether scores are a distribution: none is NaN or plus infinity, and one is finite.
LLMOS_INLINE bool Sound(const float* x, int n) {
  int bad = 0, finite = 0;
  for (int i = 0; i < n; ++i) {
    bad |= !(x[i] < __builtin_inff());
    finite |= x[i] > -__builtin_inff();
  }
  return bad == 0 && finite != 0;
}

// log of the sum of e^x over a row, by lanes and a fixed tree.
static inline double LogSumExp(const float* x, int n, float largest) {
  double total = 0;
  for (int i = 0; i < n; i += kLanes) {
    F16 e = Exp(LoadPart(x + i, n - i) - Set(largest));
    for (int lane = n - i; lane < kLanes; ++lane) e[lane] = 0;
    total += (double)Sum(e);
  }
  return (double)largest + __builtin_log(total);
}

LLMOS_INLINE bool TestAndSet(uint8_t* seen, int id) {
  const bool was = seen[id / 8] >> (id % 8) & 1;
  seen[id / 8] |= (uint8_t)(1 << (id % 8));
  return was;
}

static inline void Penalise(float* x, const LlmosSampling& p, uint8_t* seen, size_t seen_bytes) {
  if (p.repetition_penalty != 1.0f) {
    memset(seen, 0, seen_bytes);
    for (int i = 0; i < p.n_history; ++i) {
      const int id = p.history[i];
      if (!TestAndSet(seen, id)) x[id] = x[id] > 0 ? x[id] / p.repetition_penalty : x[id] * p.repetition_penalty;
    }
  }
  if (p.presence_penalty != 0.0f || p.frequency_penalty != 0.0f) {
    memset(seen, 0, seen_bytes);
    for (int i = p.n_prompt; i < p.n_history; ++i) {
      const int id = p.history[i];
      x[id] -= p.frequency_penalty;
      if (!TestAndSet(seen, id)) x[id] -= p.presence_penalty;
    }
  }
  for (int i = 0; i < p.n_bias; ++i) x[p.bias_ids[i]] += p.bias_values[i];
}

// Which candidates remain: keys above `key`, and `ties` ids (the smallest) whose key equals it.
struct Limit {
  uint32_t key;
  int ties;
};

// The limit at which the weights of the kept candidates, largest keys first, reach `target`. weight(i) is looked at only for
// candidates that `kept` lets pass; all weights of equal keys are equal.
template <class WeightOf>
static inline Limit Descend(const float* x, int n, const Limit& before, double target, WeightOf weight) {
  uint32_t prefix = 0;
  double above = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    double sums[256] = {};
    int ties = before.ties;
    for (int i = 0; i < n; ++i) {
      const uint32_t key = Key(x[i]);
      if (key < before.key || (key == before.key && ties-- <= 0)) continue;
      if (shift < 24 && (key >> (shift + 8)) != (prefix >> (shift + 8))) continue;
      sums[key >> shift & 255] += weight(i);
    }
    int bin = 255;
    while (bin > 0 && above + sums[bin] < target) above += sums[bin--];
    prefix |= (uint32_t)bin << shift;
  }
  int ties = 0, left = before.key == prefix ? before.ties : n;
  for (int i = 0; i < n && above < target && left > 0; ++i)
    if (Key(x[i]) == prefix) {
      above += weight(i);
      ++ties;
      --left;
    }
  return {prefix < before.key ? before.key : prefix, prefix < before.key ? before.ties : ties};
}

// The sampled id. x: adjusted scores.
static inline int Draw(const float* x, int n, const LlmosSampling& p) {
  const int best = ArgMax(x, n);
  if (p.temperature <= 0) return best;
  const float largest = x[best];
  if (!(largest - largest == 0)) return best;  // infinite or NaN: nothing to draw from
  const double inverse = 1.0 / (double)p.temperature;
  const auto weight = [&](int i) { return x[i] == x[i] ? (double)Exp(Set((float)((x[i] - largest) * inverse)))[0] : 0.0; };
  Limit limit{Key(-__builtin_inff()) + 1, 0};
  if (p.top_k > 0 && p.top_k < n) limit = Descend(x, n, limit, p.top_k, [](int) { return 1.0; });
  const auto total_of = [&](const Limit& l) {
    double total = 0;
    int ties = l.ties;
    for (int i = 0; i < n; ++i)
      if (Key(x[i]) > l.key || (Key(x[i]) == l.key && ties-- > 0)) total += weight(i);
    return total;
  };
  if (p.top_p < 1) limit = Descend(x, n, limit, (p.top_p > 0 ? (double)p.top_p : 0) * total_of(limit), weight);
  const auto keep = [&](int i, int& ties) {
    if (Key(x[i]) < limit.key || (Key(x[i]) == limit.key && ties-- <= 0)) return false;
    return p.min_p <= 0 || i == best || weight(i) >= (double)p.min_p;
  };
  double total = 0;
  int ties = limit.ties, last = best;
  for (int i = 0; i < n; ++i)
    if (keep(i, ties)) total += weight(i);
  double left = Uniform(p.seed, p.counter) * total;
  ties = limit.ties;
  for (int i = 0; i < n; ++i)
    if (keep(i, ties)) {
      const double w = weight(i);
      if (w > 0) last = i;
      if (left < w) return i;
      left -= w;
    }
  return last;
}

// The n_top most likely ids, ties to the smaller; where there are fewer, the rest is marked.
static inline void Top(const float* x, int n, double log_total, int n_top, int32_t* ids, float* logprobs) {
  for (int found = n; found < n_top; ++found) {
    ids[found] = LLMOS_NO_TOKEN;
    logprobs[found] = __builtin_nanf("");
  }
  for (int found = 0; found < n_top && found < n; ++found) {
    int best = -1;
    for (int i = 0; i < n; ++i) {
      const uint32_t key = Key(x[i]);
      if (found > 0 && (key > Key(x[ids[found - 1]]) || (key == Key(x[ids[found - 1]]) && i <= ids[found - 1]))) continue;
      if (best < 0 || key > Key(x[best])) best = i;
    }
    ids[found] = best;
    logprobs[found] = (float)((double)x[best] - log_total);
  }
}

// Draws a token from row o, which is a distribution, and changes its scores: mask and penalties. `log_total` normalises the row as the model gave it.
template <int V>
static inline void DrawRow(const Call& c, int o, float* x, double log_total) {
  const LlmosStep& s = c.step;
  const LlmosSampling& p = SamplingOf(s, o);
  uint8_t* seen = c.scratch + (size_t)o * DrawBytes<V>();
  const float* raw = x;
  if (s.logit_mask) {
    const uint32_t* allowed = s.logit_mask + (size_t)o * ((V + 31) / 32);
    for (int i = 0; i < V; ++i)
      if (!(allowed[i / 32] >> (i % 32) & 1)) x[i] = -__builtin_inff();
  }
  if (p.repetition_penalty != 1.0f || p.presence_penalty != 0 || p.frequency_penalty != 0 || p.n_bias > 0) {
    // Taking a penalty back would lose the bits that a large bias has pushed out.
    if (s.sampled_logprob) raw = (const float*)memcpy(seen + SeenBytes<V>(), x, V * sizeof(float));
    Penalise(x, p, seen, SeenBytes<V>());
  }
  const int id = Draw(x, V, p);
  const bool possible = Key(x[id]) > Key(-__builtin_inff());
  s.sampled[o] = possible ? id : LLMOS_NONE_ALLOWED;
  if (s.sampled_logprob) s.sampled_logprob[o] = possible ? (float)((double)raw[id] - log_total) : __builtin_nanf("");
}

// Draws a token from what the threads have kept of row o; false where the row was written.
template <int V>
static inline bool DrawBest(const Call& c, int o) {
  const int threads = BestLists::Threads(c);
  if (!BestLists::Fit<V>(threads)) return false;
  Best best = BestLists::Of<V>(c, 0)[o];
  if (best.most == 0) return false;
  for (int rank = 1; rank < threads; ++rank) best.Merge(BestLists::Of<V>(c, rank)[o]);
  best.SortById();
  LlmosSampling p = SamplingOf(c.step, o);
  p.top_k = 0;
  c.step.sampled[o] = best.unsound || best.n == 0 ? LLMOS_NO_TOKEN : best.id[Draw(best.x, best.n, p)];
  return true;
}

// kBest: rows are made by `OutputHead`.
template <int V, bool kBest = false>
void Outputs(Team& team, const Call& c, float* logits, int ld) {
  const LlmosStep& s = c.step;
  team.RunTiles(c.n_outputs, [&](int o) {
    if (kBest && DrawBest<V>(c, o)) return;
    float* x = logits + (size_t)o * ld;
    if (s.logits) memcpy(s.logits + (size_t)o * V, x, V * sizeof(float));
    const bool sound = Sound(x, V);
    const bool normalise = s.n_top > 0 || (s.score_ids && s.score_ids[o] >= 0) || (s.sampling && s.sampled_logprob);
    const double log_total = !sound ? __builtin_nan("") : normalise ? LogSumExp(x, V, x[ArgMax(x, V)]) : 0;
    if (s.n_top > 0) Top(x, V, log_total, s.n_top, s.top_ids + (size_t)o * s.n_top, s.top_logprobs + (size_t)o * s.n_top);
    if (s.score_ids && s.score_ids[o] >= 0) s.score_logprobs[o] = (float)((double)x[s.score_ids[o]] - log_total);
    if (!s.sampling) return;
    if (sound) {
      DrawRow<V>(c, o, x, log_total);
    } else {
      s.sampled[o] = LLMOS_NO_TOKEN;
      if (s.sampled_logprob) s.sampled_logprob[o] = __builtin_nanf("");
    }
  });
}

}  // namespace llmos
