// Attention over paged keys and values: rope, storing, and tiles of several tokens with the queries that share a key/value head.
#pragma once
#include "llmos/attend.h"

namespace llmos {

// Tokens of the batch in segments of up to `unit` (a divisor of a page) neighbours, taken from the last one back: those attend to
// the most, and a large tile at the end would keep threads waiting. kTogether: neighbours belong to a segment where they are of
// one sequence and their positions follow each other within a unit; otherwise where they are of one sequence.
template <bool kInOrder>
struct Segments {
  const LlmosStep& step;
  int unit, index, first, end;  // segment `index`, counted from the last one, has tokens first .. end - 1

  Segments(const LlmosStep& s, int tokens) : step(s), unit(tokens), index(-1), first(s.n_tokens), end(s.n_tokens) {}

  LLMOS_MEMBER bool Begins(int t) const {
    if (t == 0 || step.sequence[t] != step.sequence[t - 1]) return true;
    return kInOrder ? step.positions[t] != step.positions[t - 1] + 1 || step.positions[t] % unit == 0 : t % unit == 0;
  }
  LLMOS_MEMBER int Count() const {
    int n = 0;
    for (int t = 0; t < step.n_tokens; ++t) n += Begins(t);
    return n;
  }
  LLMOS_MEMBER void Seek(int wanted) {
    if (wanted < index) index = -1, first = step.n_tokens;
    for (; index < wanted; ++index)
      for (end = first--; !Begins(first);) --first;
  }
};

// Rotates the pairs (i, i + n/2) of the first n floats of a head.
template <int n>
LLMOS_INLINE void Rotate(float* x, const float* cosines, const float* sines) {
  for (int i = 0; i < n / 2; ++i) {
    const float a = x[i], b = x[i + n / 2];
    x[i] = a * cosines[i] - b * sines[i];
    x[i + n / 2] = b * cosines[i] + a * sines[i];
  }
}

template <int H, int KV, int d, Kv kFormat, int kRotated, int kTable>
LLMOS_INLINE void RopeAppendToken(float* row, const Call& c, int t, uint64_t page_bytes, uint64_t layer) {
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
}

// Rows of qkv are [q heads | k heads | v heads]. Rotates the first kRotated floats of queries and keys in place, by the tables
// that start after kTable floats for each position, and stores keys and values in their pages. A tile is half a page of tokens:
// single ones would write into each other's cache lines.
template <int H, int KV, int d, Kv kFormat, int kRotated, int kTable>
void RopeAppend(Team& team, float* qkv, int ld, const Call& c, uint64_t page_bytes, uint64_t layer) {
  Segments<true> segments(c.step, kPage / 2);
  team.RunTiles(segments.Count(), [&](int tile) {
    segments.Seek(tile);
    for (int t = segments.first; t < segments.end; ++t)
      RopeAppendToken<H, KV, d, kFormat, kRotated, kTable>(qkv + (size_t)t * ld, c, t, page_bytes, layer);
  });
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

// Tokens of a tile, where `group` queries share a key/value head.
constexpr int TokensOf(int group, int d) {
  int tokens = 1;
  while (tokens < kPage && 2 * tokens * group <= QueriesOf(d)) tokens *= 2;
  return tokens;
}

// Tiles of a segment and a key/value head. span(t): what token t attends to. query and out: rows of heads side by side.
template <int H, int KV, int d, Kv kFormat, bool kInOrder, class F>
LLMOS_INLINE void AttendTiles(Team& team, const float* query, int ld, const Call& c, uint64_t page_bytes, uint64_t layer,
                              const Scores& how, float* out, int ldout, F span) {
  constexpr int kGroup = H / KV, kMost = QueriesOf(d), kHeads = kGroup < kMost ? kGroup : kMost;
  Segments<kInOrder> segments(c.step, TokensOf(kGroup, d));
  team.RunTiles(segments.Count() * KV, [&](int tile) {
    segments.Seek(tile / KV);
    const int h = tile % KV;
    for (int from = h * kGroup; from < (h + 1) * kGroup; from += kHeads) {
      QueryBlock<d, kFormat, kGroup> block(how);
      const int to = kGroup % kHeads && (h + 1) * kGroup - from < kHeads ? (h + 1) * kGroup : from + kHeads;
      for (int t = segments.first; t < segments.end; ++t) {
        const Span s = span(t);
        for (int i = from; i < to; ++i)
          block.query[block.n++] = {query + (size_t)t * ld + (size_t)i * d, out + (size_t)t * ldout + (size_t)i * d, i, s.position, s.oldest, s.newest};
      }
      block.Run(c.model.kv + layer + h * KvHead<d, kFormat>::kBytes, span(segments.first).pages, page_bytes);
    }
  });
}

// out rows are the heads side by side.
template <int H, int KV, int d, Kv kFormat, bool kCausal = true>
void Attention(Team& team, const float* qkv, int ld, const Call& c, uint64_t page_bytes, uint64_t layer, const Scores how, float* out,
               int ldout) {
  AttendTiles<H, KV, d, kFormat, true>(team, qkv, ld, c, page_bytes, layer, how, out, ldout, [&](int t) {
    const int position = c.step.positions[t], oldest = how.window && position >= how.window ? position - how.window + 1 : 0;
    return Span{c.pages(t), position, oldest, kCausal ? position : LastPosition(c.step, t)};
  });
}

}  // namespace llmos
