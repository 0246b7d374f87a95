#include "llmos/timed.h"
#include "testing.h"

using namespace llmos;

static uint64_t Nanoseconds() { return Times<1>::Now(); }
static void Work(uint64_t nanoseconds) {
  for (const uint64_t end = Nanoseconds() + nanoseconds; Nanoseconds() < end;) {
  }
}

// Times of a short part and a long one, checked for what always holds.
static uint64_t LongPart(int size) {
  Times<3> times = {};
  const uint64_t begin = Nanoseconds();
  times.Begin();
  OnTeam(size, [&](Team& team) {
    times.Start(0);
    team.RunTiles(6, [&](int) { Work(100000); });
    times.Ended(1);
    team.RunTiles(6, [&](int) { Work(4000000); });
    times.Ended(2);
  });
  const uint64_t all = Nanoseconds() - begin;
  uint64_t spent[3];
  times.Take(spent);
  EXPECT(spent[0] + spent[1] + spent[2] <= all, "team %d", size);
  uint64_t again[3];
  times.Take(again);
  EXPECT(again[0] + again[1] + again[2] == 0, "what was taken is gone");
  return spent[2] > spent[1] ? spent[2] : 0;
}

// A thread that is put off its core between the last tile and its look at the clock makes the part behind it look shorter than it was,
// which is seen of one step and not of every one.
TEST(parts_add_up_to_the_step_and_the_long_one_is_the_longest) {
  for (int size : Ints{1, 2, 3}) {
    const uint64_t least = 6 * 4000000u / (unsigned)size;
    uint64_t longest = 0;
    for (int tries = 0; tries < 10 && longest < least; ++tries) {
      const uint64_t found = LongPart(size);
      longest = found > longest ? found : longest;
    }
    EXPECT(longest >= least, "team %d: %llu", size, (unsigned long long)longest);
  }
}

int main() { return RunTests(); }
