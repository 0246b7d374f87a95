// Where the time of a step goes. Only code that is compiled to be explained has this; it computes the same bytes.
#pragma once
#include <time.h>

#include "llmos/team.h"

namespace llmos {

// Parts of the step that this thread has passed.
static thread_local int passed;

// Nanoseconds of each of n parts of a step, added up until they are taken. A part has ended when the first thread sees
// all its tiles done: which one that is changes, since one that is late in noticing must not make the part look longer and the
// next one shorter. Waiting of threads for each other counts as the part's.
template <int n>
struct Times {
  uint64_t last, spent[n];
  alignas(64) int ended;  // parts of this step

  static LLMOS_MEMBER uint64_t Now() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
  }

  // The caller of the step, before the team and after it.
  LLMOS_MEMBER void Begin() {
    ended = 0;
    last = Now();
  }
  LLMOS_MEMBER void Note(int part) {
    const uint64_t now = Now();
    uint64_t before = __atomic_load_n(&last, __ATOMIC_RELAXED);
    do {
      if (now <= before) return;  // another thread has noted the next part already
    } while (!__atomic_compare_exchange_n(&last, &before, now, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    __atomic_fetch_add(&spent[part], now - before, __ATOMIC_RELAXED);
  }

  // Every thread of the team, before the first part and after each.
  LLMOS_MEMBER void Start(int part) {
    passed = 0;
    Ended(part);
  }
  LLMOS_MEMBER void Ended(int part) {
    int all = passed++;
    if (__atomic_compare_exchange_n(&ended, &all, passed, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) Note(part);
  }

  LLMOS_MEMBER void Take(uint64_t* out) {
    memcpy(out, spent, sizeof spent);
    memset(spent, 0, sizeof spent);
  }
};

}  // namespace llmos
