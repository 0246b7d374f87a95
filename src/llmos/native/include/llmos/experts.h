// Mixture of experts: which experts work on a token, and the tokens in the order of their experts.
//
// A slot is a token and one of the K experts chosen for it: slot t * K + r. Slots are put side by side by expert, so that an
// expert's products run over neighbouring rows; each output row then sums its slots in the order of their ranks, whatever
// else is in the batch.
#pragma once
#include "llmos/call.h"

namespace llmos {

// The K largest of E scores of each row, ties to the smaller number; their weights are the softmax over all E, divided by the
// sum of those chosen where kNormalised; not numbers where any score is none. A tile is one row. K * E comparisons, which are few beside the experts' products.
template <int E, int K, bool kNormalised>
void ChooseExperts(Team& team, const float* scores, int ld, int32_t* experts, float* weights, int rows) {
  team.RunTiles(rows, [&](int row) {
    const float* s = scores + (size_t)row * ld;
    int32_t* chosen = experts + (size_t)row * K;
    float* weight = weights + (size_t)row * K;
    for (int r = 0; r < K; ++r) {
      int best = -1;
      for (int e = 0; e < E; ++e) {
        bool taken = false;
        for (int i = 0; i < r; ++i) taken |= chosen[i] == e;
        if (!taken && (best < 0 || s[e] > s[best])) best = e;
      }
      chosen[r] = best;
    }
    F16 sum = Set(0);
    const F16 largest = Set(s[chosen[0]]);
    for (int e = 0; e < E; e += kLanes) {
      F16 powers = Exp(LoadPart(s + e, E - e) - largest);
      for (int lane = E - e; lane < kLanes; ++lane) powers[lane] = 0;
      sum = sum + powers;
    }
    float all = 0;
    for (int r = 0; r < K; ++r) all += weight[r] = Exp(Set(s[chosen[r]]) - largest)[0];
    const float whole = Sum(sum), divisor = kNormalised && whole == whole ? all : whole;
    for (int r = 0; r < K; ++r) weight[r] /= divisor;
  });
}

// places[slot]: where a slot stands when they are sorted by expert; those of expert e stand from starts[e] to starts[e + 1].
template <int E>
void SortByExpert(Team& team, const int32_t* experts, int32_t* places, int32_t* starts, int slots) {
  team.RunTiles(1, [&](int) {
    for (int e = 0; e <= E; ++e) starts[e] = 0;
    for (int slot = 0; slot < slots; ++slot) ++starts[experts[slot] + 1];
    for (int e = 0; e < E; ++e) starts[e + 1] += starts[e];
    for (int slot = 0; slot < slots; ++slot) places[slot] = starts[experts[slot]]++;
    for (int e = E; e > 0; --e) starts[e] = starts[e - 1];
    starts[0] = 0;
  });
}

// The places of an expert's slots.
struct SlotsOfExpert {
  int first, count;
};

// Where the slots of expert e stand among `slots`. A thread that is late reads here what a later operation of the step has put into
// that memory: it gets some range of slots or none, and whichever it counts with, the tiles of its operations are done (team.h). The
// race detector, which knows of no lateness, does not look.
static inline __attribute__((noinline, no_sanitize("thread"))) SlotsOfExpert SlotsOf(const int32_t* starts, int e, int slots) {
  const volatile int32_t* now = starts;  // once each, so that what is checked is what is used
  const int32_t first = now[e], end = now[e + 1];
  return first >= 0 && first <= end && end <= slots ? SlotsOfExpert{first, end - first} : SlotsOfExpert{0, 0};
}

// Copies the row of each slot's token, `row_bytes` long, to the slot's place.
template <int K>
void GatherSlots(Team& team, const uint8_t* x, size_t row_bytes, const int32_t* places, uint8_t* out, int slots) {
  team.RunTiles(slots, [&](int slot) { memcpy(out + places[slot] * row_bytes, x + (size_t)(slot / K) * row_bytes, row_bytes); });
}

// y = the rows of a token's slots, weighted and summed in order of rank.
template <int K, int D>
void SumSlots(Team& team, const float* x, int ldx, const int32_t* places, const float* weights, float* y, int ldy, int rows) {
  team.RunTiles(rows, [&](int row) {
    for (int i = 0; i < D; i += kLanes) {
      F16 sum = Set(0);
      for (int r = 0; r < K; ++r) {
        const size_t slot = (size_t)row * K + r;
        sum = Fma(LoadPart(x + (size_t)places[slot] * ldx + i, D - i), Set(weights[slot]), sum);
      }
      StorePart(y + (size_t)row * ldy + i, sum, D - i);
    }
  });
}

}  // namespace llmos
