#include "llmos/experts.h"

#include "testing.h"

using namespace llmos;

// Experts of a row by sorting all scores: the definition.
template <int E, int K, bool kNormalised>
void CheckChoice(int threads, bool ties) {
  constexpr int kLd = (int)RoundUp(E, 16), kRows = 19;
  Random random(E * 10 + K);
  Array<float> scores((size_t)kRows * kLd, random, 3);
  if (ties)
    for (int i = 0; i < kRows * kLd; ++i) scores[i] = (float)(int)scores[i];
  Array<int32_t> experts(kRows * K);
  Array<float> weights(kRows * K);
  OnTeam(threads, [&](Team& team) { ChooseExperts<E, K, kNormalised>(team, scores, kLd, experts, weights, kRows); });
  for (int row = 0; row < kRows; ++row) {
    const float* s = scores + (size_t)row * kLd;
    double all = 0, chosen = 0;
    for (int e = 0; e < E; ++e) all += exp((double)s[e]);
    for (int r = 0; r < K; ++r) chosen += exp((double)s[experts[row * K + r]]);
    for (int r = 0; r < K; ++r) {
      const int mine = experts[row * K + r];
      int better = 0;
      for (int e = 0; e < E; ++e) better += s[e] > s[mine] || (s[e] == s[mine] && e < mine);
      EXPECT(better == r, "expert %d of row %d has rank %d, not %d", mine, row, better, r);
      const double want = exp((double)s[mine]) / (kNormalised ? chosen : all);
      EXPECT(Near(weights[row * K + r], want, 1e-6), "weight %g, not %g", weights[row * K + r], want);
    }
  }
}

TEST(the_largest_scores_are_chosen_and_weighted) {
  for (int threads : Ints{1, 3})
    for (int ties : Ints{0, 1}) {
      CheckChoice<8, 2, true>(threads, ties);
      CheckChoice<5, 5, false>(threads, ties);
      CheckChoice<1, 1, true>(threads, ties);
      CheckChoice<67, 8, false>(threads, ties);
    }
}

TEST(a_score_that_is_no_number_spoils_the_row_whoever_is_chosen) {
  Random random(1);
  Array<float> scores(32, random), weights(2);
  scores[3] = __builtin_nanf("");
  scores[0] = 100;
  Array<int32_t> experts(2);
  OnTeam(1, [&](Team& team) { ChooseExperts<5, 1, true>(team, scores, 16, experts, weights, 2); });
  EXPECT(experts[0] == 0 && weights[0] != weights[0], "weight %g", weights[0]);
  EXPECT(weights[1] == 1, "weight %g of the next row", weights[1]);
}

TEST(slots_stand_side_by_side_by_expert_and_come_back_summed) {
  constexpr int E = 7, K = 3, D = 37, kRows = 23, kSlots = kRows * K, kLd = 48;
  Random random(3);
  Array<int32_t> experts(kSlots), places(kSlots), starts(E + 1);
  for (int i = 0; i < kSlots; ++i) experts[i] = random.Below(E - 1);  // the last has none
  Array<float> x((size_t)kRows * kLd, random), gathered((size_t)kSlots * kLd), weights(kSlots, random), y((size_t)kRows * kLd);
  for (int threads : Ints{1, 2}) {
    OnTeam(threads, [&](Team& team) {
      SortByExpert<E>(team, experts, places, starts, kSlots);
      GatherSlots<K>(team, (const uint8_t*)x.data(), kLd * 4, places, (uint8_t*)gathered.data(), kSlots);
      SumSlots<K, D>(team, gathered, kLd, places, weights, y, kLd, kRows);
    });
    EXPECT(starts[0] == 0 && starts[E] == kSlots && starts[E - 1] == kSlots);
    for (int slot = 0; slot < kSlots; ++slot) {
      const int e = experts[slot], place = places[slot];
      EXPECT(starts[e] <= place && place < starts[e + 1], "slot %d of expert %d is at %d", slot, e, place);
      for (int other = 0; other < slot; ++other) EXPECT(places[other] != place);
    }
    for (int row = 0; row < kRows; ++row)
      for (int i = 0; i < D; ++i) {
        double want = 0;
        for (int r = 0; r < K; ++r) want += (double)weights[row * K + r] * x[row * kLd + i];
        EXPECT(Near(y[row * kLd + i], want, 1e-6), "%g, not %g", y[row * kLd + i], want);
      }
  }
}

int main() { return RunTests(); }
