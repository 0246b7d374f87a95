#include "llmos/timed.h"
#include "testing.h"

using namespace llmos;

static uint64_t Nanoseconds() { return Times<1>::Now(); }
static void Work(uint64_t nanoseconds) {
  for (const uint64_t end = Nanoseconds() + nanoseconds; Nanoseconds() < end;) {
  }
}

TEST(parts_add_up_to_the_step_and_the_long_one_is_the_longest) {
  for (int size : Ints{1, 2, 3}) {
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
    EXPECT(spent[2] > spent[1] && spent[2] >= 6 * 4000000u / (unsigned)size, "team %d: %llu", size, (unsigned long long)spent[2]);
    times.Take(spent);
    EXPECT(spent[0] + spent[1] + spent[2] == 0, "what was taken is gone");
  }
}

int main() { return RunTests(); }
