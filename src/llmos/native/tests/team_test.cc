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

// Waits until `value` is at least `wanted`, half a minute at most.
static bool Becomes(const int* value, int wanted) {
  for (const time_t end = time(nullptr) + 30; time(nullptr) < end; sched_yield())
    if (__atomic_load_n(value, __ATOMIC_ACQUIRE) >= wanted) return true;
  return false;
}

TEST(ranks_are_distinct_and_the_caller_is_first) {
  Array<int> ranks(4);
  const pthread_t caller = pthread_self();
  int here = 0;
  OnTeam(4, [&](Team& team) {
    EXPECT(team.size == 4);
    if (team.rank == 0) EXPECT(pthread_equal(pthread_self(), caller));
    team.RunTiles(4, [&](int) {  // nobody gets a second tile before everybody has one
      __atomic_add_fetch(&ranks[team.rank], 1, __ATOMIC_RELAXED);
      __atomic_add_fetch(&here, 1, __ATOMIC_RELEASE);
      EXPECT(Becomes(&here, 4));
    });
  });
  for (int i = 0; i < 4; ++i) EXPECT(ranks[i] == 1);
}

TEST(a_thread_that_does_not_come_is_not_waited_for) {
  constexpr int kOperations = 50;
  Array<int> sum(kOperations);
  int finished = 0, entered = 0;
  OnTeam(2, [&](Team& team) {
    if (team.rank == 1) {
      __atomic_add_fetch(&entered, 1, __ATOMIC_RELEASE);
      EXPECT(Becomes(&finished, 1));  // late by the whole job
    } else {
      EXPECT(Becomes(&entered, 1));
    }
    for (int i = 0; i < kOperations; ++i) team.RunTiles(3, [&](int) { __atomic_add_fetch(&sum[i], 1, __ATOMIC_RELAXED); });
    if (team.rank == 0) __atomic_add_fetch(&finished, 1, __ATOMIC_RELEASE);
  });
  for (int i = 0; i < kOperations; ++i) EXPECT(sum[i] == 3, "operation %d: %d of 3 tiles", i, sum[i]);
}

// As experts do: how many operations there are is read from memory, and the one behind them has a number that does not depend on it.
template <class F>
static void Counted(Team& team, const int* count, F f) {
  const uint32_t last = team.turn + 20;
  for (int i = 0; i < __atomic_load_n(count, __ATOMIC_RELAXED); ++i) f();
  team.turn = last;
}

TEST(operations_that_a_late_thread_counts_wrongly_are_passed_over) {
  for (int wrong : Ints{0, 1, 2, 3, 7}) {
    int count = 2, entered = 0, rewritten = 0, counted = 0;
    Array<int> sum(3);
    OnTeam(2, [&](Team& team) {
      if (team.rank == 1) {
        __atomic_add_fetch(&entered, 1, __ATOMIC_RELEASE);
        EXPECT(Becomes(&rewritten, 1));
      } else {
        EXPECT(Becomes(&entered, 1));
      }
      const auto add = [&](int i) { __atomic_add_fetch(&sum[i], 1, __ATOMIC_RELAXED); };
      Counted(team, &count, [&] { team.RunTiles(5, [&](int) { add(0); }); });
      team.RunTiles(1, [&](int) { add(1); });
      if (team.rank == 1) __atomic_add_fetch(&counted, 1, __ATOMIC_RELEASE);
      team.RunTiles(1, [&](int) {  // in the memory of the count, while the late thread counts
        add(2);
        __atomic_store_n(&count, wrong, __ATOMIC_RELAXED);
        __atomic_add_fetch(&rewritten, 1, __ATOMIC_RELEASE);
        EXPECT(Becomes(&counted, 1));
      });
    });
    EXPECT(sum[0] == 10 && sum[1] == 1 && sum[2] == 1, "%d counted: %d %d %d", wrong, sum[0], sum[1], sum[2]);
  }
}

// Holds a thread up, by chance.
static void Dawdle(Random& random) {
  const int kind = random.Below(12), n = random.Below(40);
  for (int i = 0; i < n && kind < 4; ++i) Pause();
  for (int i = 0; i < n && kind == 4; ++i) sched_yield();
}

// A job of operations of random sizes. Each tile looks for what the operation before has left, so that one that runs twice, never
// or too early shows, and under a thread sanitizer every race.
struct Chain {
  static constexpr int kMost = 24, kOperations = 12;
  int number = 0, stale = 0, count = 0, counted = 0;
  int sizes[kOperations] = {}, runs[kOperations][kMost] = {}, stamps[2][kMost] = {}, extra[5] = {};

  void Run(Team& team) {
    Random same((uint64_t)number), own((uint64_t)(number * 64 + team.rank + 1));
    int side = 0, n_before = 0, before = 0;
    for (int k = 0; k < kOperations; ++k) {
      const int n = sizes[k], stamp = number * kOperations + k;
      Dawdle(own);
      team.RunTiles(n, [&](int tile) {
        Dawdle(own);
        for (int i = 0; i < n_before; ++i)
          if (stamps[1 - side][i] != before) __atomic_add_fetch(&stale, 1, __ATOMIC_RELAXED);
        ++runs[k][tile];
        stamps[side][tile] = stamp;
      });
      if (n > 0) side = 1 - side, n_before = n, before = stamp;
      if (same.Below(3) == 0) Count(team, same.Below(8));
    }
  }
  void Count(Team& team, int following) {
    Counted(team, &count, [&] { team.RunTiles(5, [&](int tile) { ++extra[tile]; }); });
    team.RunTiles(1, [&](int) { counted += count; });
    team.RunTiles(1, [&](int) { __atomic_store_n(&count, following, __ATOMIC_RELAXED); });
  }
  bool Right() const {
    bool right = stale == 0;
    for (int k = 0; k < kOperations; ++k)
      for (int tile = 0; tile < kMost; ++tile) right = right && runs[k][tile] == (tile < sizes[k]);
    for (const int n : extra) right = right && n == counted;
    return right;
  }
};

TEST(many_short_operations_run_each_tile_once_and_in_order) {
  Random random(7);
  for (int size : Ints{2, 3, 8}) {
    Pool* pool = (Pool*)llmos_pool_create(size);
    for (int job = 1; job <= 120; ++job) {
      Chain chain;
      chain.number = job;
      for (int& n : chain.sizes) n = random.Below(2) ? random.Below(Chain::kMost + 1) : random.Below(3);
      PoolRun(pool, [](Team& team, const void* p) { ((Chain*)p)->Run(team); }, &chain);
      EXPECT(chain.Right(), "team %d, job %d: %d stale reads, %d counted", size, job, chain.stale, chain.counted);
    }
    llmos_pool_destroy(pool);
  }
}

TEST(a_pool_serves_many_jobs) {
  Pool* pool = (Pool*)llmos_pool_create(3);
  struct Sums {
    int jobs = 0, tiles = 0, empty = 0;
  } sums;
  for (int job = 0; job < 2000; ++job)
    PoolRun(pool, [](Team& team, const void* p) {
      Sums& s = *(Sums*)p;
      team.RunTiles(5, [&](int) { __atomic_add_fetch(&s.tiles, 1, __ATOMIC_RELAXED); });
      team.RunTiles(0, [&](int) { __atomic_add_fetch(&s.empty, 1, __ATOMIC_RELAXED); });
      team.RunTiles(1, [&](int) { s.jobs += s.tiles % 5 == 0; });
    }, &sums);
  EXPECT(sums.jobs == 2000 && sums.tiles == 10000 && sums.empty == 0, "%d %d %d", sums.jobs, sums.tiles, sums.empty);
  llmos_pool_destroy(pool);
}

// CPU seconds of the process, or of the calling thread.
static double Used(clockid_t whose = CLOCK_PROCESS_CPUTIME_ID) {
  timespec t;
  clock_gettime(whose, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

TEST(a_caller_sleeps_while_a_worker_is_late_to_leave) {
  Pool* pool = (Pool*)llmos_pool_create(3);
  struct Job {
    int entered, tiles;
    double spent;
  } job{};
  double spent = 0;
  for (int i = 1; i <= 10; ++i) {
    job = {0, 0, 0};
    PoolRun(pool, [](Team& team, const void* p) {
      Job& job = *(Job*)p;
      if (team.rank == 0) EXPECT(Becomes(&job.entered, 2));
      if (team.rank != 0) __atomic_add_fetch(&job.entered, 1, __ATOMIC_RELEASE);
      team.RunTiles(4, [&](int) { __atomic_add_fetch(&job.tiles, 1, __ATOMIC_RELAXED); });
      timespec late{0, 20000000 * team.rank};
      if (team.rank == 0) job.spent = Used(CLOCK_THREAD_CPUTIME_ID);
      else nanosleep(&late, nullptr);
    }, &job);
    spent += Used(CLOCK_THREAD_CPUTIME_ID) - job.spent;
    EXPECT(job.tiles == 4, "job %d: %d tiles", i, job.tiles);
  }
  EXPECT(spent < 0.1, "%g s of processor time while others slept for 0.4 s", spent);
  llmos_pool_destroy(pool);
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
