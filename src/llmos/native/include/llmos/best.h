// The largest scores of rows, kept while the output head makes them: for a greedy or top-k draw nobody needs the others, and they
// are not written (a vocabulary of 151936 is 600 KB a row, written, and read four times to draw from it).
//
// Each thread keeps lists of its own, so which scores it meets and in which order depends on chance; the lists together
// have the largest whatever it was, and a draw from them in order of id is the draw from the whole row, bit for bit.
#pragma once
#include "llmos/call.h"

namespace llmos {

// Unsigned integers in the order of the floats; NaN counts as the smallest.
LLMOS_INLINE uint32_t Key(float x) {
  if (x != x) return 0;
  uint32_t u;
  memcpy(&u, &x, 4);
  return u & 0x80000000u ? ~u : u | 0x80000000u;
}

// Whether one of the first n lanes is not below a limit; NaN is not.
LLMOS_INLINE bool ReachesAny(F16 v, float limit, int n) {
#if defined(__AVX512F__)
  return (_mm512_cmp_ps_mask((__m512)v, _mm512_set1_ps(limit), _CMP_NLT_UQ) & ((1u << n) - 1)) != 0;
#else
  const U16 reached = (U16)(v < Set(limit)) ^ 0xffffffffu;
  uint32_t any = 0;
  for (int lane = 0; lane < kLanes; ++lane) any |= lane < n ? reached[lane] : 0;
  return any != 0;
#endif
}

constexpr int kMostBest = 64;
constexpr float kLowest = -3.40282347e38f;

// The largest finite scores of a row, falling, ties in order of id.
struct alignas(64) Best {
  int32_t most;     // how many are wanted; 0: the row is written
  int32_t n;        // how many there are
  int32_t unsound;  // a score was NaN or plus infinity: the row is no distribution
  float least;      // what a score must reach to belong to them
  float x[kMostBest];
  int32_t id[kMostBest];

  LLMOS_MEMBER void Begin(int wanted) {
    most = wanted;
    n = unsound = 0;
    least = kLowest;
  }

  LLMOS_MEMBER void Add(float score, int32_t of) {
    const uint32_t key = Key(score);
    int at = n;
    while (at > 0 && (Key(x[at - 1]) < key || (Key(x[at - 1]) == key && id[at - 1] > of))) --at;
    if (at == most) return;
    n = n < most ? n + 1 : most;
    for (int i = n - 1; i > at; --i) x[i] = x[i - 1], id[i] = id[i - 1];
    x[at] = score;
    id[at] = of;
    if (n == most) least = x[n - 1];
  }

  // Scores of ids `first` to `first + valid - 1`.
  LLMOS_MEMBER void Offer(F16 scores, int first, int valid) {
    if (!ReachesAny(scores, least, valid)) return;
    for (int lane = 0; lane < valid; ++lane) {
      const float score = scores[lane];
      unsound |= !(score < __builtin_inff());
      if (score >= least && score < __builtin_inff()) Add(score, first + lane);
    }
  }

  LLMOS_MEMBER void Merge(const Best& other) {
    unsound |= other.unsound;
    for (int i = 0; i < other.n; ++i) Add(other.x[i], other.id[i]);
  }

  LLMOS_MEMBER void SortById() {
    for (int i = 1; i < n; ++i) {
      const float score = x[i];
      const int32_t of = id[i];
      int at = i;
      for (; at > 0 && id[at - 1] > of; --at) x[at] = x[at - 1], id[at] = id[at - 1];
      x[at] = score;
      id[at] = of;
    }
  }
};

// The lists of one thread for all output rows. They lie where a row's own scores would be kept while penalties change them.
struct BestLists {
  uint8_t* first = nullptr;  // null: there are none
  size_t apart = 0;

  // Whether V scores are room enough for the lists of all threads.
  template <int V>
  static LLMOS_MEMBER bool Fit(int threads) {
    return (uint64_t)threads * sizeof(Best) <= (uint64_t)V * sizeof(float);
  }
  template <int V>
  static LLMOS_MEMBER BestLists Of(const Call& c, int rank) {
    if (!Fit<V>(Threads(c))) return {};
    return {c.scratch + SeenBytes<V>() + (size_t)rank * sizeof(Best), DrawBytes<V>()};
  }
  static LLMOS_MEMBER int Threads(const Call& c) { return c.model.pool == nullptr ? 1 : ((const Pool*)c.model.pool)->size; }

  LLMOS_MEMBER Best& operator[](int row) const { return *(Best*)(first + (size_t)row * apart); }

  // Whether the scores were taken, and are not to be written.
  LLMOS_MEMBER bool Take(int row, F16 scores, int id, int valid) const {
    if (first == nullptr || (*this)[row].most == 0) return false;
    (*this)[row].Offer(scores, id, valid);
    return true;
  }
};

// How many of the largest scores are enough to draw a token; 0: all scores are needed.
LLMOS_INLINE int Enough(const LlmosSampling& p) {
  if (p.repetition_penalty != 1.0f || p.presence_penalty != 0 || p.frequency_penalty != 0 || p.n_bias > 0) return 0;
  if (p.temperature <= 0) return 1;
  return p.top_k > 0 && p.top_k <= kMostBest ? p.top_k : 0;
}

// Empties the lists, for the caller of a step before its threads begin.
template <int V>
void BeginBest(const Call& c) {
  const LlmosStep& s = c.step;
  const int threads = BestLists::Threads(c);
  if (!BestLists::Fit<V>(threads)) return;
  const bool drawn = s.sampling && !s.logits && !s.logit_mask && !s.sampled_logprob && s.n_top == 0;
  for (int rank = 0; rank < threads; ++rank)
    for (int o = 0; o < c.n_outputs; ++o)
      BestLists::Of<V>(c, rank)[o].Begin(drawn && !(s.score_ids && s.score_ids[o] >= 0) ? Enough(SamplingOf(s, o)) : 0);
}

}  // namespace llmos
