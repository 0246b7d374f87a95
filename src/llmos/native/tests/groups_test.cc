#include "testing.h"

using namespace llmos;

// Squared error of n values stored with the codes, scale and minimum given, of int4 weighted by their squares.
static double Error(Format format, const GroupNumbers& numbers, const float* x, const int* codes, int n) {
  double sum = 0;
  for (int k = 0; k < n; ++k) {
    const double off = (double)x[k] - numbers.Value(format, codes[k]);
    sum += off * off * (format == Format::kI4 ? (double)x[k] * x[k] : 1);
  }
  return sum;
}

// No worse than plain rounding, codes in range, and every code the nearest one for the scale that was chosen.
template <Format kFormat>
static void Check(int n, float size, float offset) {
  Random random(n);
  F16 x[kGroup];
  for (int k = 0; k < n; ++k)
    for (int lane = 0; lane < kLanes; ++lane) x[k][lane] = random.Float(size) * random.Float(1) + offset * (float)(lane % 3);
  Choice choice = {};
  kFormat == Format::kI4 ? ChooseInt4(x, n, choice) : ChooseUint4(x, n, choice);
  for (int lane = 0; lane < kLanes; ++lane) {
    float row[kGroup];
    int codes[kGroup], plain[kGroup];
    for (int k = 0; k < n; ++k) row[k] = x[k][lane];
    GroupNumbers numbers(kFormat, row, n);
    for (int k = 0; k < n; ++k) plain[k] = numbers.Code(kFormat, row[k]);
    const double worst = Error(kFormat, numbers, row, plain, n);
    numbers.scale = choice.scales[lane];
    numbers.minimum = choice.minimums[lane];
    for (int k = 0; k < n; ++k) {
      codes[k] = (int)choice.codes[k][lane];
      EXPECT(codes[k] >= 0 && codes[k] <= 15);
      const double step = fabs((double)FromHalf(numbers.scale)), off = fabs((double)row[k] - numbers.Value(kFormat, codes[k]));
      const double nearest = fabs((double)row[k] - numbers.Value(kFormat, numbers.Code(kFormat, row[k])));
      EXPECT(off <= nearest + 1e-5 * step + 1e-9, "n %d lane %d: %g is off by %g", n, lane, row[k], off);
    }
    const double square = pow(fabs(size) + fabs(offset) * 2, 2);
    const double rounding = n * square * 1e-6 * (kFormat == Format::kI4 ? square : 1);  // of plain scale and minimum to float16
    EXPECT(Error(kFormat, numbers, row, codes, n) <= worst + rounding + 1e-13, "format %d n %d size %g lane %d", (int)kFormat, n, size, lane);
  }
}

template <Format kFormat>
static void CheckSizes() {
  for (int n : Ints{1, 2, 17, 31, 32})
    for (float size : Floats{0, 1e-45f, 1e-20f, 1e-6f, 1, 300})
      for (float offset : Floats{0, 5, -20}) Check<kFormat>(n, size, kFormat == Format::kU4 ? offset : 0);
}

TEST(int4_chooses_well) { CheckSizes<Format::kI4>(); }
TEST(uint4_chooses_well) { CheckSizes<Format::kU4>(); }

TEST(the_smallest_half_above) {
  Random random(3);
  for (int i = 0; i < 100000; ++i) {
    const float x = fabsf(random.Float()) * (float)pow(2, random.Below(41) - 25);
    const uint16_t h = HalfAbove(x);
    EXPECT(FromHalf(h) >= x && (h == 0 || FromHalf((uint16_t)(h - 1)) < x), "%a", x);
  }
  EXPECT(HalfAbove(0) == 0 && HalfAbove(1e-45f) == 1 && HalfAbove(65504) == 0x7bff);
}

int main() { return RunTests(); }
