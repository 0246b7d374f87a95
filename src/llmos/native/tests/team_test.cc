#include <time.h>

#include "testing.h"

using namespace llmos;

TEST(every_tile_runs_once) {
  for (int size : Ints{1, 2, 3, 5})
    for (int n : Ints{0, 1, size - 1, size, size + 1, 100}) {
      Array<int> count(101);
      OnTeam(size, [&](Team& team) { team.RunTiles(n, [&](int tile) { __atomic_add_fetch(&count[tile], 1, __ATOMIC_RELAXED); }); });
      for (int i = 0; i < 101; ++i) EXPECT(count[i] == (i < n), "team %d, tile %d of %d ran %d times", size, i, n, count[i]);
    }
}

TEST(a_kernel_sees_all_results_of_the_one_before) {
  for (int size : Ints{2, 3, 7}) {  // more threads than cores, too
    Array<int> a(64), b(64);
    int wrong = 0;
    OnTeam(size, [&](Team& team) {
      for (int round = 1; round <= 300; ++round) {
        team.RunTiles(64, [&](int tile) { a[tile] = round; });
        team.RunTiles(64, [&](int tile) {
          for (int i = 0; i < 64; ++i)
            if (a[i] != round) __atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
          b[tile] = round;
        });
      }
    });
    EXPECT(wrong == 0 && b[0] == 300, "team %d: %d stale reads", size, wrong);
  }
}

TEST(others_take_the_tiles_of_a_thread_that_is_held_up) {
  for (int size : Ints{2, 3})
    for (int n : Ints{2, 3, 40}) {
      int done = 0, late = 0;
      OnTeam(size, [&](Team& team) {
        bool held = team.rank == 0;
        team.RunTiles(n, [&](int) {
          const time_t end = time(nullptr) + 20;
          for (; held && __atomic_load_n(&done, __ATOMIC_RELAXED) < n - 1 && time(nullptr) < end; sched_yield())
            if (time(nullptr) >= end - 1) __atomic_store_n(&late, 1, __ATOMIC_RELAXED);
          held = false;
          __atomic_add_fetch(&done, 1, __ATOMIC_RELAXED);
        });
      });
      EXPECT(done == n && !late, "team %d: %d of %d tiles", size, done, n);
    }
}

TEST(a_thread_walks_through_its_own_part) {
  constexpr int kTiles = 90;
  for (int size : Ints{2, 3}) {
    Array<int> by(kTiles), when(kTiles);
    int clock = 0;
    OnTeam(size, [&](Team& team) {
      team.RunTiles(kTiles, [&](int tile) {
        by[tile] = team.rank;
        when[tile] = __atomic_fetch_add(&clock, 1, __ATOMIC_RELAXED);
      });
    });
    for (int tile = 1; tile < kTiles; ++tile) {
      const int part = tile * size / kTiles;
      if ((tile - 1) * size / kTiles == part && by[tile] == part) EXPECT(by[tile - 1] == part && when[tile - 1] < when[tile], "tile %d", tile);
    }
  }
}

TEST(ranks_are_distinct_and_the_caller_is_first) {
  Array<int> ranks(4);
  const pthread_t caller = pthread_self();
  OnTeam(4, [&](Team& team) {
    EXPECT(team.size == 4);
    __atomic_add_fetch(&ranks[team.rank], 1, __ATOMIC_RELAXED);
    if (team.rank == 0) EXPECT(pthread_equal(pthread_self(), caller));
  });
  for (int i = 0; i < 4; ++i) EXPECT(ranks[i] == 1);
}

TEST(a_pool_serves_many_jobs) {
  Pool* pool = (Pool*)llmos_pool_create(3);
  int sum = 0;
  for (int job = 0; job < 2000; ++job)
    PoolRun(pool, [](Team& team, const void* p) { __atomic_add_fetch(*(int* const*)p, team.rank + 1, __ATOMIC_RELAXED); }, (const void*)&(const int* const&)&sum);
  EXPECT(sum == 2000 * 6, "%d", sum);
  llmos_pool_destroy(pool);
}

// CPU seconds of the process.
static double Used() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

TEST(an_idle_pool_sleeps) {
  Pool* pool = (Pool*)llmos_pool_create(4);
  const auto nothing = [](Team&, const void*) {};
  PoolRun(pool, nothing, nullptr);
  timespec quarter{0, 250000000};
  nanosleep(&quarter, nullptr);
  const double before = Used();
  nanosleep(&quarter, nullptr);
  EXPECT(Used() - before < 0.05, "%g s of processor time while idle", Used() - before);
  PoolRun(pool, nothing, nullptr);
  llmos_pool_destroy(pool);
}

TEST(impossible_sizes_give_no_pool) {
  EXPECT(llmos_pool_create(0) == nullptr);
  EXPECT(llmos_pool_create(-1) == nullptr);
  EXPECT(llmos_pool_create(100000) == nullptr);
  llmos_pool_destroy(nullptr);
}

int main() { return RunTests(); }
