// Attention of a decoder over what an encoder made of a source.
//
// A source has pages of its own: while it is read, the keys and values of the encoder's layer at work; afterwards those that each
// layer of the decoder attends to. They are laid out as those of attention.h.
#pragma once
#include "llmos/attention.h"

namespace llmos {

// Rows of kv are [k heads | v heads] of the tokens of sources; they are stored in the sources' pages. A tile is one token.
template <int KV, int d, Kv kFormat>
void AppendCross(Team& team, const float* kv, int ld, const Call& c, uint64_t page_bytes, uint64_t layer) {
  team.RunTiles(c.n_tokens, [&](int t) {
    const float* row = kv + (size_t)t * ld;
    const int position = c.step.positions[t];
    uint8_t* page = c.page(t, position / kPage, page_bytes) + layer;
    for (int h = 0; h < KV; ++h) {
      const KvHead<d, kFormat> head{page + h * KvHead<d, kFormat>::kBytes};
      head.Append(position % kPage, row + h * d, row + (KV + h) * d);
    }
  });
}

// As `Attention`, of rows that hold queries only, over the whole source of each token's sequence.
template <int H, int KV, int d, Kv kFormat>
void CrossAttention(Team& team, const float* q, int ld, const Call& c, uint64_t page_bytes, uint64_t layer, const Scores how, float* out,
                    int ldout) {
  AttendTiles<H, KV, d, kFormat, false>(team, q, ld, c, page_bytes, layer, how, out, ldout, [&](int t) {
    const int sequence = c.step.sequence[t];
    const LlmosSources& sources = *c.step.sources;
    return Span{sources.block_table + (int64_t)sequence * sources.max_pages, 0, 0, sources.lengths[sequence] - 1};
  });
}

}  // namespace llmos
