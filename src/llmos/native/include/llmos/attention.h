// Attention over paged keys and values.
//
// A page of a layer holds, for each key/value head, keys [d][32] (so that one load feeds 32 positions), values [32][d padded
// to 16] and, for int8, a scale per token for each of both. A query walks the pages of its sequence in order with a running
// maximum and sum (online softmax, arXiv:1805.02867): its arithmetic depends on its position only, where attention is not causal
// also on the length of its sequence.
#pragma once
#include "llmos/call.h"

namespace llmos {

constexpr int kPage = LLMOS_PAGE_TOKENS;
static_assert(kPage == 2 * kLanes, "scores of a page are two vectors");

template <int d, Kv kFormat>
struct KvHead {
  static constexpr int kPadded = (int)RoundUp(d, kLanes);
  static constexpr size_t kElement = kFormat == Kv::kF32 ? 4 : kFormat == Kv::kI8 ? 1 : 2;
  static constexpr size_t kKeyBytes = RoundUp(kElement * d * kPage, 64);
  static constexpr size_t kValueBytes = RoundUp(kElement * kPadded * kPage, 64);
  static constexpr size_t kScaleBytes = kFormat == Kv::kI8 ? 2 * kPage * sizeof(float) : 0;
  static constexpr size_t kBytes = kKeyBytes + kValueBytes + kScaleBytes;
  uint8_t* base;
  LLMOS_MEMBER uint8_t* keys() const { return base; }
  LLMOS_MEMBER uint8_t* values() const { return base + kKeyBytes; }
  LLMOS_MEMBER float* key_scales() const { return (float*)(base + kKeyBytes + kValueBytes); }
  LLMOS_MEMBER float* value_scales() const { return key_scales() + kPage; }

  // Sixteen stored numbers as floats, without their scale.
  static LLMOS_MEMBER F16 Read(const uint8_t* p, size_t index) {
    if (kFormat == Kv::kF32) return Load((const float*)p + index);
    if (kFormat == Kv::kF16) return LoadHalf((const uint16_t*)p + index);
    if (kFormat == Kv::kBf16) return LoadBf16((const uint16_t*)p + index);
    typedef int8_t B16 __attribute__((vector_size(16)));
    B16 bytes;
    memcpy(&bytes, p + index, sizeof bytes);
    return __builtin_convertvector(bytes, F16);
  }
  static LLMOS_MEMBER void Write(uint8_t* p, size_t index, float value, float inverse) {
    if (kFormat == Kv::kF32) ((float*)p)[index] = value;
    if (kFormat == Kv::kF16) ((uint16_t*)p)[index] = ToHalf(value);
    if (kFormat == Kv::kBf16) ((uint16_t*)p)[index] = ToBf16(value);
    if (kFormat == Kv::kI8) {
      const float shifted = value * inverse + 12582912.0f;
      uint32_t bits;
      memcpy(&bits, &shifted, 4);
      p[index] = (uint8_t)bits;
    }
  }

  // Stores one token's key and value at place `slot` of the page.
  LLMOS_MEMBER void Append(int slot, const float* key, const float* value) const {
    float inverse_key = 0, inverse_value = 0;
    if (kFormat == Kv::kI8) {
      inverse_key = Scale(key, &key_scales()[slot]);
      inverse_value = Scale(value, &value_scales()[slot]);
    }
    for (int i = 0; i < d; ++i) {
      Write(keys(), (size_t)i * kPage + slot, key[i], inverse_key);
      Write(values(), (size_t)slot * kPadded + i, value[i], inverse_value);
    }
  }
  static LLMOS_MEMBER float Scale(const float* x, float* scale) {
    F16 seen = Set(0);
    for (int i = 0; i < d; i += kLanes) seen = LargerMagnitude(seen, LoadPart(x + i, d - i));
    const float largest = LargestMagnitude(seen);
    *scale = largest / 127.0f;
    return largest > 0 ? 127.0f / largest : 0;
  }
};

template <int kKvHeads, int d, Kv kFormat>
constexpr uint64_t KvLayerBytes() {
  return kKvHeads * KvHead<d, kFormat>::kBytes;
}

// Rotates the pairs (i, i + n/2) of the first n floats of a head.
template <int n>
LLMOS_INLINE void Rotate(float* x, const float* cosines, const float* sines) {
  for (int i = 0; i < n / 2; ++i) {
    const float a = x[i], b = x[i + n / 2];
    x[i] = a * cosines[i] - b * sines[i];
    x[i + n / 2] = b * cosines[i] + a * sines[i];
  }
}

// Rows of qkv are [q heads | k heads | v heads]. Rotates the first kRotated floats of queries and keys in place, by the tables
// that start after kTable floats for each position, and stores keys and values in their pages. A tile is one token.
template <int H, int KV, int d, Kv kFormat, int kRotated, int kTable>
void RopeAppend(Team& team, float* qkv, int ld, const Call& c, uint64_t page_bytes, uint64_t layer) {
  team.RunTiles(c.n_tokens, [&](int t) {
    float* row = qkv + (size_t)t * ld;
    const int position = c.step.positions[t];
    if (kRotated) {
      const float* table = c.model.rope + (size_t)c.model.context * kTable;
      const float* cosines = table + (size_t)position * (kRotated / 2);
      const float* sines = cosines + (size_t)c.model.context * (kRotated / 2);
      for (int h = 0; h < H + KV; ++h) Rotate<kRotated>(row + h * d, cosines, sines);
    }
    uint8_t* page = c.page(t, position / kPage, page_bytes) + layer;
    for (int h = 0; h < KV; ++h) {
      const KvHead<d, kFormat> head{page + h * KvHead<d, kFormat>::kBytes};
      head.Append(position % kPage, row + (H + h) * d, row + (H + KV + h) * d);
    }
  });
}

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

// What one query has seen so far: maximum, sum of exponentials, weighted values of a slice of the head. It lies on the stack,
// which no model may overflow: a tile keeps at most kMostQueries of them, and a slice is at most kMostChunks vectors.
constexpr int kMostQueries = 16, kMostChunks = 32;

template <int d>
struct Softmax {
  static constexpr int kAll = (d + kLanes - 1) / kLanes, kChunks = kAll < kMostChunks ? kAll : kMostChunks;
  float maximum, sum;
  F16 out[kChunks];
};

// One page for one query. Positions `from` to `to` - 1 of it count; the values from vector `first` of the head on, `chunks`
// vectors. biases: added to the scores, where there are some.
template <int d, Kv kFormat>
LLMOS_INLINE void AttendPage(const float* query, const KvHead<d, kFormat>& head, int from, int to, const Scores& how, const float* biases,
                             int first, int chunks, Softmax<d>& state) {
  F16 score[2] = {};
  for (int i = 0; i < d; ++i) {
    const F16 q = Set(query[i]);
    for (int half = 0; half < 2; ++half) score[half] = Fma(q, head.Read(head.keys(), (size_t)i * kPage + half * kLanes), score[half]);
  }
  float values[kPage];
  for (int half = 0; half < 2; ++half) {
    score[half] = score[half] * Set(how.scale);
    if (kFormat == Kv::kI8) score[half] = score[half] * Load(head.key_scales() + half * kLanes);
    if (how.cap != 0) score[half] = Set(how.cap) * Tanh(score[half] * Set(1.0f / how.cap));
    if (biases) score[half] = score[half] + Load(biases + half * kLanes);
    for (int lane = to - half * kLanes < 0 ? 0 : to - half * kLanes; lane < kLanes; ++lane) score[half][lane] = -__builtin_inff();
    for (int lane = 0; lane < from - half * kLanes && lane < kLanes; ++lane) score[half][lane] = -__builtin_inff();
  }
  const float peak = MaxLane(Max(score[0], score[1]));
  const float maximum = peak > state.maximum ? peak : state.maximum;
  const float correction = Exp(Set(state.maximum - maximum))[0];
  F16 weight[2];
  for (int half = 0; half < 2; ++half) {
    weight[half] = Exp(score[half] - Set(maximum));
    F16 used = weight[half];
    if (kFormat == Kv::kI8) used = used * Load(head.value_scales() + half * kLanes);
    Store(values + half * kLanes, used);
  }
  state.sum = state.sum * correction + Sum(weight[0] + weight[1]);
  state.maximum = maximum;
  for (int j = 0; j < chunks; ++j) state.out[j] = state.out[j] * Set(correction);
  for (int p = from; p < to; ++p) {
    const size_t row = (size_t)p * KvHead<d, kFormat>::kPadded + first * kLanes;
    for (int j = 0; j < chunks; ++j) state.out[j] = Fma(Set(values[p]), head.Read(head.values(), row + j * kLanes), state.out[j]);
  }
}

// `queries` heads of d floats, from head `h` on, that share a key/value head: a slice of their outputs.
template <int d, Kv kFormat, int kQueries>
LLMOS_INLINE void AttendSlice(const float* query, int h, int queries, const uint8_t* kv, const Span& span, uint64_t page_bytes,
                              const Scores& how, int first, int chunks, float* out) {
  Softmax<d> state[kQueries];
  for (auto& s : state) {
    s.maximum = -1e30f;
    s.sum = 0;
    for (auto& chunk : s.out) chunk = Set(0);
  }
  for (int p = span.oldest / kPage; p <= span.newest / kPage; ++p) {
    const KvHead<d, kFormat> head{(uint8_t*)kv + (uint64_t)span.pages[p] * page_bytes};
    const int left = span.newest + 1 - p * kPage, to = left < kPage ? left : kPage;
    const int from = span.oldest > p * kPage ? span.oldest - p * kPage : 0;
    for (int q = 0; q < queries; ++q) {
      float biases[kPage];
      if (how.biases) how.Biases(h + q, span.position, p, biases);
      AttendPage<d, kFormat>(query + q * d, head, from, to, how, how.biases ? biases : nullptr, first, chunks, state[q]);
    }
  }
  for (int q = 0; q < queries; ++q)
    for (int j = 0; j < chunks; ++j) {
      const int at = (first + j) * kLanes;
      StorePart(out + q * d + at, state[q].out[j] / Set(state[q].sum), d - at);
    }
}

// The H / KV heads that share key/value head h, of one token. kv: where the pages' parts of that head begin in page 0. Every
// slice of a head that is larger than one computes the scores anew: such heads are rare, and the bytes are the same.
template <int H, int KV, int d, Kv kFormat>
LLMOS_INLINE void AttendGroup(const float* query, int h, const uint8_t* kv, const Span& span, uint64_t page_bytes, const Scores& how,
                              float* out) {
  constexpr int kQueries = H / KV, kTogether = kQueries < kMostQueries ? kQueries : kMostQueries;
  constexpr int kAll = Softmax<d>::kAll, kSlice = Softmax<d>::kChunks;
  for (int q = h * kQueries; q < (h + 1) * kQueries; q += kTogether)
    for (int first = 0; first < kAll; first += kSlice) {
      const int queries = kQueries % kTogether && (h + 1) * kQueries - q < kTogether ? (h + 1) * kQueries - q : kTogether;
      const int chunks = kAll % kSlice && kAll - first < kSlice ? kAll - first : kSlice;
      AttendSlice<d, kFormat, kTogether>(query + (size_t)q * d, q, queries, kv, span, page_bytes, how, first, chunks, out + (size_t)q * d);
    }
}

// The last position of the sequence of token t, where sequences stand whole and one after another in the batch (`CheckWhole`).
LLMOS_INLINE int LastPosition(const LlmosStep& step, int t) {
  int inside = t, outside = step.n_tokens;
  while (outside - inside > 1) {
    const int middle = inside + (outside - inside) / 2;
    (step.sequence[middle] == step.sequence[t] ? inside : outside) = middle;
  }
  return step.positions[inside];
}

// out rows are the heads side by side. A tile is one token and one key/value head with the queries that share it.
template <int H, int KV, int d, Kv kFormat, bool kCausal = true>
void Attention(Team& team, const float* qkv, int ld, const Call& c, uint64_t page_bytes, uint64_t layer, const Scores how, float* out,
               int ldout) {
  team.RunTiles(c.n_tokens * KV, [&](int tile) {
    const int t = tile / KV, h = tile % KV, position = c.step.positions[t];
    const int oldest = how.window && position >= how.window ? position - how.window + 1 : 0;
    const Span span{c.pages(t), position, oldest, kCausal ? position : LastPosition(c.step, t)};
    AttendGroup<H, KV, d, kFormat>(qkv + (size_t)t * ld, h, c.model.kv + layer + h * KvHead<d, kFormat>::kBytes, span, page_bytes, how,
                                   out + (size_t)t * ldout);
  });
}

}  // namespace llmos
