// Queries that share a key/value head over the pages of their sequence, several side by side.
//
// A query walks the pages in order with a running maximum and sum (online softmax, arXiv:1805.02867), in powers of two; the
// maximum follows only when a score exceeds it by more than kSlack, so that sums are seldom rescaled. Each query's arithmetic
// is its own: how many stand side by side changes speed, not bytes, and a page that it does not see changes nothing.
//
// Keys and values in bfloat16, where the processor has dot products of pairs: queries and weights are rounded to bfloat16 too.
// Elsewhere all arithmetic is float32.
#pragma once
#include "llmos/pages.h"

namespace llmos {

// How scores are made and which of them count: a token sees itself and the window - 1 tokens before it (0: all of them);
// scores are capped where the cap is not 0. Biases of distance, [bucket][head], are added where there are some; `buckets` has
// the bucket of each distance from -reach to reach.
struct Scores {
  float scale, cap;
  int window;
  const float* biases = nullptr;
  const uint8_t* buckets = nullptr;
  int reach = 0, heads = 0;

  // What is added to the scores of a page for the query at `position`, which works for `head`.
  LLMOS_MEMBER void Biases(int head, int position, int page, float* out) const {
    for (int i = 0; i < kPage; ++i) {
      const int distance = page * kPage + i - position;
      out[i] = biases[buckets[(distance < -reach ? -reach : distance > reach ? reach : distance) + reach] * heads + head];
    }
  }
};

// What a query attends to: positions `oldest` to `newest` of the pages in a table; it stands at `position` itself.
struct Span {
  const int32_t* pages;
  int position, oldest, newest;
};

constexpr float kLog2E = 1.44269504088896341f, kSlack = 8, kLeast = -1e30f;
#if defined(__AVX512F__)
constexpr int kMostAbreast = 8;  // times two vectors of scores are 16 sums in 32 registers
#else
constexpr int kMostAbreast = 2;
#endif
#if defined(__AVX512BF16__)
constexpr bool kPairDots = true;
#else
constexpr bool kPairDots = false;
#endif

// How many queries stand side by side, where `group` of them share a key/value head: whole groups if that is nearly as good.
constexpr int Abreast(int group) {
  int divisor = kMostAbreast;
  while (group % divisor) --divisor;
  const int whole = kMostAbreast / divisor * divisor;
  return 2 * whole > kMostAbreast ? whole : kMostAbreast;
}

// What is kept of queries lies on the stack, which no model may overflow: places of a query, vectors of its output, queries.
constexpr int kMostPlaces = 512, kMostChunks = kMostPlaces / kLanes, kMostQueries = 64;
constexpr int QueriesOf(int d) {
  const int queries = 4096 / (d < kMostPlaces ? d : kMostPlaces);
  return queries < kMostQueries ? queries : kMostQueries;
}

// 2^x, 0 or nearly so from -125 downwards; NaN stays NaN. Nothing is said of x > 127. Polynomials with the least largest relative
// error, fitted by Lawson's algorithm: 8e-8 with rounding.
LLMOS_INLINE F16 PowerOf2(F16 x) {
  const F16 y = x < Set(-125) ? Set(-125) : x, magic = y + Set(12582912.0f), r = y - (magic - Set(12582912.0f));
  F16 p = Fma(Set(1.5345812e-4f), r, Set(1.3399930904e-3f));
  p = Fma(p, r, Set(9.6184890711e-3f));
  p = Fma(p, r, Set(5.5503286421e-2f));
  p = Fma(p, r, Set(2.4022646248e-1f));
  p = Fma(p, r, Set(6.9314718246e-1f));
  p = Fma(p, r, Set(1.0f));
  const F16 value = (F16)((U16)p + ((U16)magic << 23));
  return x == x ? value : x;
}

// The same to 7.5e-5, for what is rounded to bfloat16.
#if defined(__AVX512BF16__)
LLMOS_INLINE F16 RoughPowerOf2(F16 x) {
  const F16 r = (F16)_mm512_reduce_ps((__m512)x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);  // 0 .. 1, and 0 of an infinity
  F16 p = Fma(Set(0.07802452147f), r, Set(0.22606717050f));
  p = Fma(p, r, Set(0.69583350419f));
  p = Fma(p, r, Set(0.99992519617f));
  return (F16)_mm512_scalef_ps((__m512)p, (__m512)x);
}
#else
LLMOS_INLINE F16 RoughPowerOf2(F16 x) { return PowerOf2(x); }
#endif

LLMOS_INLINE bool Exceeds(F16 a, F16 b, float limit) {
#if defined(__AVX512F__)
  const __m512 most = _mm512_set1_ps(limit);
  return (_mm512_cmp_ps_mask((__m512)a, most, _CMP_GT_OQ) | _mm512_cmp_ps_mask((__m512)b, most, _CMP_GT_OQ)) != 0;
#else
  return MaxLane(Max(a, b)) > limit;
#endif
}

// The places of a page that some query of those at hand sees, and for pairs of positions the bits that are theirs.
struct Visible {
  int from, to;
  uint32_t pairs[kPage / 2];
  Visible(int first, int end) : from(first), to(end) {
    for (int p = 0; p < kPage; p += 2) pairs[p / 2] = (p >= from && p < to ? 0xffffu : 0) | (p + 1 >= from && p + 1 < to ? 0xffff0000u : 0);
  }
};

// The block of queries. kGroup: how many of one token follow each other.
template <int d, Kv kFormat, int kGroup>
struct QueryBlock {
  using Head = KvHead<d, kFormat>;
  static constexpr int kPair = Head::kPair, kMost = QueriesOf(d), kAbreast = Abreast(kGroup);
  static constexpr bool kDots = kPair == 2 && kPairDots;
  static constexpr int kAll = (d + kLanes - 1) / kLanes, kChunks = kAll < kMostChunks ? kAll : kMostChunks;
  static constexpr bool kWhole = d <= kMostPlaces;  // else queries are made ready anew for each page, a piece at a time
  static constexpr int kSteps = (int)RoundUp(kWhole ? d : kMostPlaces, kPair) / kPair;
  static constexpr int kWords = kDots ? kSteps : kSteps * kPair;  // of a query: pairs, or floats
  static constexpr int kWeights = kDots ? kPage / 2 : kPage;      // of a page, likewise

  struct Query {
    const float* x;
    float* out;
    int head, position, oldest, newest;
  };
  const Scores& how;
  int n = 0, first_chunk = 0, chunks = 0;
  // The head's part of the page that comes next is fetched meanwhile: into the second cache, since the first one waits for fewer
  // lines at a time than memory could deliver.
  const uint8_t* ahead = nullptr;
  Query query[kMost];
  float maximum[kMost];
  F16 sum[kMost], out[kMost][kChunks];
  uint32_t words[kMost][kWords];

  explicit QueryBlock(const Scores& scores) : how(scores) {}

  // Over pages in the order of `pages`; kv: where their parts of the key/value head begin in page 0.
  void Run(const uint8_t* kv, const int32_t* pages, uint64_t page_bytes) {
    int oldest = query[0].oldest, newest = query[0].newest;
    for (int q = 1; q < n; ++q) {
      oldest = query[q].oldest < oldest ? query[q].oldest : oldest;
      newest = query[q].newest > newest ? query[q].newest : newest;
    }
    if (kWhole)
      for (int q = 0; q < n; ++q) Prepare(q, 0, kSteps);
    for (first_chunk = 0; first_chunk < kAll; first_chunk += kChunks) {
      chunks = kAll % kChunks && kAll - first_chunk < kChunks ? kAll - first_chunk : kChunks;
      Begin();
      for (int p = oldest / kPage, last = newest / kPage; p <= last; ++p) {
        ahead = kv + (uint64_t)pages[p < last ? p + 1 : p] * page_bytes;
        Page(Head{(uint8_t*)kv + (uint64_t)pages[p] * page_bytes}, p);
      }
      Finish();
    }
  }

  void Begin() {
    for (int q = 0; q < n; ++q) {
      maximum[q] = kLeast;
      sum[q] = Set(0);
      for (int j = 0; j < chunks; ++j) out[q][j] = Set(0);
    }
  }

  // Zeros are positive, whatever the signs of the values that met a weight of 0.
  void Finish() {
    for (int q = 0; q < n; ++q)
      for (int j = 0; j < chunks; ++j) {
        const int at = (first_chunk + j) * kLanes;
        StorePart(query[q].out + at, out[q][j] / Set(Sum(sum[q])) + Set(0), d - at);
      }
  }

  // Steps `first` to `end` - 1 of a query, times what makes its scores powers of two.
  LLMOS_MEMBER void Prepare(int q, int first, int end) {
    const float factor = how.cap != 0 ? how.scale / how.cap : how.scale * kLog2E;
    for (int i = first * kPair; i < end * kPair; i += kLanes) {
      const int left = d - i, room = end * kPair - i;
      const F16 v = (left > 0 ? LoadPart(query[q].x + i, left) : Set(0)) * Set(factor);
      const int at = i - first * kPair;
      if (!kDots) StorePart((float*)words[q] + at, v, room);
      if (kDots) {
        uint16_t pairs[kLanes];
        StoreBf16(pairs, v);
        memcpy((uint16_t*)words[q] + at, pairs, room < kLanes ? 2 * (size_t)room : sizeof pairs);
      }
    }
  }

  // One page. Where some queries see values that are no numbers and others must not, every token has the page for itself.
  LLMOS_MEMBER void Page(const Head& head, int page) {
    int oldest = query[0].oldest, newest = query[0].newest, last_oldest = oldest, first_newest = newest;
    for (int q = 1; q < n; ++q) {
      oldest = query[q].oldest < oldest ? query[q].oldest : oldest;
      newest = query[q].newest > newest ? query[q].newest : newest;
      last_oldest = query[q].oldest > last_oldest ? query[q].oldest : last_oldest;
      first_newest = query[q].newest < first_newest ? query[q].newest : first_newest;
    }
    const Visible seen(Inside(oldest, page), Inside(newest + 1, page));
    const bool whole = Inside(last_oldest, page) == 0 && Inside(first_newest + 1, page) == kPage;
    const bool alike = Inside(last_oldest, page) == seen.from && Inside(first_newest + 1, page) == seen.to;
    if (alike || head.Finite(seen.from, seen.to)) return Queries(0, n, head, page, seen, !whole);
    for (int q = 0, end; q < n; q = end) {
      for (end = q + 1; end < n && query[end].oldest == query[q].oldest && query[end].newest == query[q].newest;) ++end;
      const Visible own(Inside(query[q].oldest, page), Inside(query[q].newest + 1, page));
      if (own.from < own.to) Queries(q, end, head, page, own, true);
    }
  }
  static LLMOS_MEMBER int Inside(int position, int page) {
    const int place = position - page * kPage;
    return place < 0 ? 0 : place > kPage ? kPage : place;
  }

  // `edge`: some of these queries do not see the whole page.
  void Queries(int q, int end, const Head& head, int page, const Visible& seen, bool edge) {
    for (; q + kAbreast <= end; q += kAbreast) Some<kAbreast>(q, head, page, seen, edge);
    if constexpr (kGroup == 3 || kGroup == 5 || kGroup == 6)  // one token: the page is read once, not twice (7: no gain)
      for (; q + kGroup <= end; q += kGroup) Some<kGroup>(q, head, page, seen, edge);
    if constexpr (kAbreast > 4)
      for (; q + 4 <= end; q += 4) Some<4>(q, head, page, seen, edge);
    if constexpr (kAbreast > 2)
      for (; q + 2 <= end; q += 2) Some<2>(q, head, page, seen, edge);
    for (; q < end; ++q) Some<1>(q, head, page, seen, edge);
  }

  template <int M>
  LLMOS_MEMBER void Some(int q, const Head& head, int page, const Visible& seen, bool edge) {
    F16 scores[M][2] = {};
    if (kWhole) {
      Dots<M>(q, head, 0, kSteps, scores);
    } else {
      for (int first = 0; first < Head::kSteps; first += kSteps) {
        const int end = Head::kSteps - first < kSteps ? Head::kSteps : first + kSteps;
        for (int m = 0; m < M; ++m) Prepare(q + m, first, end);
        Dots<M>(q, head, first, end, scores);
      }
    }
    alignas(64) uint32_t weights[M][kWeights];
    for (int m = 0; m < M; ++m) Weigh(q + m, scores[m], head, page, edge, weights[m]);
    constexpr int kTogether = M > 4 ? 2 : 4;
    int j = 0;
    for (; j + kTogether <= chunks; j += kTogether) Values<M, kTogether>(q, head, j, weights, seen);
    if (kChunks % kTogether || kAll % kChunks)
      for (; j < chunks; ++j) Values<M, 1>(q, head, j, weights, seen);
  }

  // scores += products of the steps `first` to `end` - 1, one after another.
  template <int M>
  LLMOS_MEMBER void Dots(int q, const Head& head, int first, int end, F16 (&scores)[M][2]) const {
    for (int k = first; k < end; ++k)
      for (int half = 0; half < 2; ++half) {
        const size_t at = Head::KeyAt(half * kLanes, k * kPair);
        __builtin_prefetch(ahead + at * Head::kElement, 0, 2);
        if constexpr (kDots) {
          for (int m = 0; m < M; ++m) scores[m][half] = DotBf16(scores[m][half], (const uint16_t*)head.keys() + at, words[q + m][k - first]);
        } else {
          F16 key[2];
          Split(head.keys(), at, ~0u, key);
          for (int m = 0; m < M; ++m)
            for (int i = 0; i < kPair; ++i)
              scores[m][half] = Fma(key[i], Set(((const float*)words[q + m])[(k - first) * kPair + i]), scores[m][half]);
        }
      }
  }

  // What stands side by side in sixteen elements, as floats. bits: those of pairs that count.
  static LLMOS_MEMBER void Split(const uint8_t* p, size_t at, uint32_t bits, F16 (&out)[2]) {
    if (kPair == 2) {
      const U16 pairs = Head::ReadPairs(p, at) & bits;
      out[0] = (F16)(pairs << 16);
      out[1] = (F16)(pairs & 0xffff0000u);
    } else {
      out[0] = Head::Read(p, at);
    }
  }

  // Scores become weights, and the query's maximum and sum follow.
  LLMOS_MEMBER void Weigh(int q, F16 (&score)[2], const Head& head, int page, bool edge, uint32_t* weights) {
    float biases[kPage];
    if (how.biases) how.Biases(query[q].head, query[q].position, page, biases);
    const int from = Inside(query[q].oldest, page), to = Inside(query[q].newest + 1, page);
    I16 counts[2];
    for (int half = 0; half < 2; ++half) {
      F16& s = score[half];
      if (kFormat == Kv::kI8) s = s * Load(head.key_scales() + half * kLanes);
      if (how.cap != 0) s = Set(how.cap * kLog2E) * Tanh(s);
      if (how.biases) s = Fma(Load(biases + half * kLanes), Set(kLog2E), s);
      counts[half] = (kLane >= from - half * kLanes) & (kLane < to - half * kLanes);
      if (edge) s = counts[half] ? s : Set(-__builtin_inff());
    }
    if (Exceeds(score[0], score[1], maximum[q] + kSlack)) Raise(q, MaxLane(Max(score[0], score[1])));
    F16 weight[2];
    for (int half = 0; half < 2; ++half) {
      weight[half] = kDots ? RoughPowerOf2(score[half] - Set(maximum[q])) : PowerOf2(score[half] - Set(maximum[q]));
      if (edge) weight[half] = counts[half] ? weight[half] : Set(0);
      if (!kDots) sum[q] = sum[q] + weight[half];
      if (kFormat == Kv::kI8) weight[half] = weight[half] * Load(head.value_scales() + half * kLanes);
      if (kFormat == Kv::kI8 && edge) weight[half] = counts[half] ? weight[half] : Set(0);
      if (!kDots) Store((float*)weights + half * kLanes, weight[half]);
    }
#if defined(__AVX512BF16__)
    if (kDots) {
      const __m512bh pairs = _mm512_cvtne2ps_pbh((__m512)weight[1], (__m512)weight[0]);
      memcpy(weights, &pairs, sizeof pairs);
      sum[q] = (F16)_mm512_dpbf16_ps((__m512)sum[q], pairs, (__m512bh)_mm512_set1_epi32(0x3f803f80));
    }
#endif
  }

  LLMOS_MEMBER void Raise(int q, float peak) {
    const F16 correction = PowerOf2(Set(maximum[q] - peak));
    maximum[q] = peak;
    sum[q] = sum[q] * correction;
    for (int j = 0; j < chunks; ++j) out[q][j] = out[q][j] * correction;
  }

  // Adds the weighted values of chunks j to j + C - 1.
  template <int M, int C>
  LLMOS_MEMBER void Values(int q, const Head& head, int j, const uint32_t (&weights)[M][kWeights], const Visible& seen) {
    F16 sums[M][C];
    for (int m = 0; m < M; ++m)
      for (int c = 0; c < C; ++c) sums[m][c] = out[q + m][j + c];
    for (int p = seen.from / kPair; p * kPair < seen.to; ++p) {
      F16 value[C][2];
      for (int c = 0; c < C; ++c) {
        const size_t at = Head::ValueAt(p * kPair, (first_chunk + j + c) * kLanes);
        __builtin_prefetch(ahead + Head::kKeyBytes + at * Head::kElement, 0, 2);
        if (kDots) value[c][0] = (F16)(Head::ReadPairs(head.values(), at) & seen.pairs[p]);
        if (!kDots) Split(head.values(), at, seen.pairs[p], value[c]);
      }
      for (int m = 0; m < M; ++m)
        for (int c = 0; c < C; ++c) {
          if (kDots) sums[m][c] = DotPairs(sums[m][c], value[c][0], weights[m][p]);
          if (!kDots)
            for (int i = 0; i < kPair; ++i) sums[m][c] = Fma(value[c][i], Set(((const float*)weights[m])[p * kPair + i]), sums[m][c]);
        }
    }
    for (int m = 0; m < M; ++m)
      for (int c = 0; c < C; ++c) out[q + m][j + c] = sums[m][c];
  }

  static LLMOS_MEMBER F16 DotPairs(F16 acc, F16 a, uint32_t b) {
    uint16_t pairs[2 * kLanes];
    memcpy(pairs, &a, sizeof pairs);
    return DotBf16(acc, pairs, b);
  }
};

}  // namespace llmos
