// Threads: a pool that lives as long as the model, and the team that runs one step.
//
// Every thread of the team executes the whole step. A kernel hands out its tiles with `RunTiles`: they are claimed one by one, so
// a disturbed core takes fewer, and what follows waits for tiles that are done, not for threads: one that is late (woken late,
// put off its core) passes over what others have done meanwhile, and one that never comes is not missed. Whoever waits spins,
// then yields, then sleeps: the one waited for may need this very core, or be moved to it. Between steps the workers sleep.
#pragma once
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#if defined(_WIN32)
#include <malloc.h>
#elif defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "llmos/vec.h"

namespace llmos {

LLMOS_INLINE void Pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");  // `yield` does nothing on most cores; this waits about as long as x86's pause
#endif
}

// Memory on a 64-byte boundary, NULL where there is none. Windows gives it back by a function of its own.
#if defined(_WIN32)
LLMOS_INLINE void* AlignedAlloc(size_t bytes) { return _aligned_malloc(bytes, 64); }
LLMOS_INLINE void AlignedFree(void* memory) { _aligned_free(memory); }
#else
LLMOS_INLINE void* AlignedAlloc(size_t bytes) {
  void* memory = nullptr;
  return posix_memalign(&memory, 64, bytes) == 0 ? memory : nullptr;
}
LLMOS_INLINE void AlignedFree(void* memory) { free(memory); }
#endif

// Sleeps while *word is `value`, and may wake for no reason. Where a system has no such call, lets others run.
LLMOS_INLINE void SleepWhile(const uint32_t* word, uint32_t value) {
#if defined(__linux__)
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
#else
  sched_yield();
#endif
}
LLMOS_INLINE void WakeAll(const uint32_t* word) {
#if defined(__linux__)
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 0x7fffffff, nullptr, nullptr, 0);
#endif
}

// Moves the calling thread from a core if it is there and may be on others: Linux may wake a thread on the core of whoever wakes
// it, and leave both there for many milliseconds while others are idle.
LLMOS_INLINE void LeaveCore(int core) {
#if defined(__linux__)
  cpu_set_t allowed;
  if (core < 0 || sched_getcpu() != core || sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
  cpu_set_t others = allowed;
  CPU_CLR(core, &others);
  if (sched_setaffinity(0, sizeof others, &others) == 0) sched_setaffinity(0, sizeof allowed, &allowed);
#endif
}
LLMOS_INLINE int ThisCore() {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

// The tiles of one thread's part that nobody has claimed yet, in one word: the first, the one behind the last (22 bits each), and
// the operation that it is about, as far as 20 bits tell. A thread is late by less than a step, and a step has less than half as
// many numbers (layers of 1024 experts: 127 of them), so an operation that is over is never taken for one to come.
struct alignas(64) Share {
  uint64_t packed;
};

struct Shared {
  alignas(64) uint32_t next;    // operations before this one are done
  alignas(64) int done;         // tiles of that one that are
  alignas(64) uint32_t parked;  // threads that sleep until `next` changes
  Share* shares;                // of each thread
};

struct Team {
  int rank, size;
  Shared* shared;
  // The number of the next operation, and of the one before it. Numbers may be left out: where it depends on memory how many
  // operations there are (`experts`), the one behind them, whose memory is elsewhere, gets a number that does not. A thread that
  // reads that memory later, when it holds something else, then counts up to numbers that nobody is at, and agrees again.
  uint32_t turn, previous;

  Team(int rank, int size, Shared* shared, uint32_t first) : rank(rank), size(size), shared(shared), turn(first), previous(first - 1) {}

  // f(tile) for each tile below n < 2^22, divided over the team; returns when all are done. A thread walks through a part of its
  // own, from its front, and then takes from the back of others' parts: threads that claim neighbouring tiles in turn fetch each
  // other's ahead (reads of 37 GB/s on two threads where parts that lie together gave 68).
  template <class F>
  LLMOS_MEMBER void RunTiles(int n, F f) {
    if (size == 1) {
      for (int tile = 0; tile < n; ++tile) f(tile);
      return;
    }
    const uint32_t current = turn++, before = previous + 1;
    if (n == 0) return;
    previous = current;
    if (__atomic_load_n(&shared->next, __ATOMIC_ACQUIRE) != before) return;  // done by others
    int mine = 0;
    for (int i = 0; i < size; ++i) {
      const int owner = rank + i < size ? rank + i : rank + i - size;
      for (int tile = Claim(owner, n, current); tile >= 0; tile = Claim(owner, n, current), ++mine) f(tile);
    }
    if (mine > 0 && __atomic_add_fetch(&shared->done, mine, __ATOMIC_ACQ_REL) == n) {
      __atomic_store_n(&shared->done, 0, __ATOMIC_RELAXED);
      __atomic_store_n(&shared->next, turn, __ATOMIC_SEQ_CST);
      if (__atomic_load_n(&shared->parked, __ATOMIC_SEQ_CST)) WakeAll(&shared->next);
    } else {
      WaitWhile(before);
    }
  }

  // The next tile of a thread's part, -1 where none is left. Whoever comes first to a part that is still about an earlier
  // operation begins it anew. Everyone looks at every part before it counts its tiles as done, so no part lags by more than one.
  LLMOS_MEMBER int Claim(int owner, int n, uint32_t current) {
    constexpr uint64_t kTiles = (1 << 22) - 1;
    constexpr uint32_t kTurns = (1 << 20) - 1;
    uint64_t* share = &shared->shares[owner].packed;
    uint64_t seen = __atomic_load_n(share, __ATOMIC_RELAXED);
    for (;;) {
      const uint32_t ahead = ((uint32_t)(seen >> 44) - current) & kTurns;
      if (ahead != 0 && ahead <= kTurns / 2) return -1;  // others are further
      const bool begun = ahead == 0;
      uint64_t first = begun ? seen & kTiles : Part(owner, n), last = begun ? seen >> 22 & kTiles : Part(owner + 1, n);
      if (begun && first == last) return -1;
      const int tile = first == last ? -1 : owner == rank ? (int)first++ : (int)--last;
      const uint64_t left = (uint64_t)(current & kTurns) << 44 | last << 22 | first;
      if (__atomic_compare_exchange_n(share, &seen, left, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) return tile;
    }
  }

  // Where the part of a thread begins.
  LLMOS_MEMBER uint64_t Part(int owner, int n) const { return ((uint64_t)n * (uint64_t)owner + (uint64_t)size - 1) / (uint64_t)size; }

  // Returns when `next` is no longer `value`: spins for about 10 microseconds, yields for about 100, then sleeps.
  LLMOS_MEMBER void WaitWhile(uint32_t value) {
    for (int i = 0; i < 600; ++i) {
      if (__atomic_load_n(&shared->next, __ATOMIC_ACQUIRE) != value) return;
      i < 400 ? Pause() : (void)sched_yield();
    }
    __atomic_add_fetch(&shared->parked, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&shared->next, __ATOMIC_SEQ_CST) == value) SleepWhile(&shared->next, value);
    __atomic_sub_fetch(&shared->parked, 1, __ATOMIC_RELAXED);
  }
};

struct Pool {
  using Job = void (*)(Team&, const void*);
  static constexpr uint32_t kOpen = 1u << 30, kAwaited = 1u << 29;
  Shared shared;
  int size;
  int started;
  pthread_t* threads;
  pthread_mutex_t mutex;
  pthread_cond_t wake;
  alignas(64) int number;       // jobs published; negative: stop
  alignas(64) int asleep;       // workers that wait for `wake`
  alignas(64) uint32_t inside;  // workers at the job; kOpen: more may come; kAwaited: the caller sleeps until they have left
  Job job;
  const void* argument;
  uint32_t first;  // number of its first operation
  int core;        // where the caller was when it began
};

struct Worker {
  Pool* pool;
  int rank;
};

// Runs the job that is being worked at, if there is one.
LLMOS_INLINE void HelpWithJob(Pool* pool, int rank) {
  uint32_t inside = __atomic_load_n(&pool->inside, __ATOMIC_RELAXED);
  do {
    if (!(inside & Pool::kOpen)) return;
  } while (!__atomic_compare_exchange_n(&pool->inside, &inside, inside + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
  LeaveCore(pool->core);
  Team team(rank, pool->size, &pool->shared, pool->first);
  pool->job(team, pool->argument);
  if (__atomic_sub_fetch(&pool->inside, 1, __ATOMIC_RELEASE) == Pool::kAwaited) WakeAll(&pool->inside);
}

static inline void* WorkerMain(void* argument) {
  Worker worker = *(Worker*)argument;
  free(argument);
  Pool* pool = worker.pool;
  for (int seen = 0;;) {
    for (int i = 0; i < 4000 && __atomic_load_n(&pool->number, __ATOMIC_ACQUIRE) == seen; ++i) Pause();
    if (__atomic_load_n(&pool->number, __ATOMIC_ACQUIRE) == seen) {
      pthread_mutex_lock(&pool->mutex);
      __atomic_add_fetch(&pool->asleep, 1, __ATOMIC_SEQ_CST);
      while (__atomic_load_n(&pool->number, __ATOMIC_SEQ_CST) == seen) pthread_cond_wait(&pool->wake, &pool->mutex);
      __atomic_sub_fetch(&pool->asleep, 1, __ATOMIC_RELAXED);
      pthread_mutex_unlock(&pool->mutex);
    }
    seen = __atomic_load_n(&pool->number, __ATOMIC_ACQUIRE);
    if (seen < 0) return nullptr;
    HelpWithJob(pool, worker.rank);
  }
}

// Publishes a number that workers wait for, and wakes those that sleep.
LLMOS_INLINE void Publish(Pool* pool, int number) {
  __atomic_store_n(&pool->number, number, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&pool->asleep, __ATOMIC_SEQ_CST) == 0) return;
  pthread_mutex_lock(&pool->mutex);
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->mutex);
}

// Returns when all workers have left the job, which no more may enter: spins, yields and sleeps as `WaitWhile` does, because a worker
// that is late may need this very core, or the time that a quota leaves, and a caller of higher standing yields to nobody.
LLMOS_INLINE void AwaitWorkers(Pool* pool) {
  for (int i = 0; i < 600; ++i) {
    if (__atomic_load_n(&pool->inside, __ATOMIC_ACQUIRE) == 0) return;
    i < 400 ? Pause() : (void)sched_yield();
  }
  uint32_t inside = __atomic_or_fetch(&pool->inside, Pool::kAwaited, __ATOMIC_ACQ_REL);
  for (; inside != Pool::kAwaited; inside = __atomic_load_n(&pool->inside, __ATOMIC_ACQUIRE)) SleepWhile(&pool->inside, inside);
}

// Runs job on the threads of the pool that come, the caller being rank 0; returns when it is done and all have left it. pool ==
// NULL: the caller alone.
static inline void PoolRun(Pool* pool, Pool::Job job, const void* argument) {
  if (pool == nullptr || pool->size == 1) {
    Shared alone{};
    Team team(0, 1, &alone, 0);
    job(team, argument);
    return;
  }
  pool->job = job;
  pool->argument = argument;
  pool->first = __atomic_load_n(&pool->shared.next, __ATOMIC_RELAXED);
  pool->core = ThisCore();
  __atomic_store_n(&pool->inside, Pool::kOpen, __ATOMIC_RELEASE);
  Publish(pool, pool->number == 0x7fffffff ? 1 : pool->number + 1);
  Team team(0, pool->size, &pool->shared, pool->first);
  job(team, argument);
  __atomic_and_fetch(&pool->inside, ~Pool::kOpen, __ATOMIC_ACQ_REL);
  AwaitWorkers(pool);
}

}  // namespace llmos

LLMOS_EXPORT void llmos_pool_destroy(void* handle) {
  llmos::Pool* pool = (llmos::Pool*)handle;
  if (pool == nullptr) return;
  llmos::Publish(pool, -1);
  for (int i = 0; i < pool->started; ++i) pthread_join(pool->threads[i], nullptr);
  pthread_cond_destroy(&pool->wake);
  pthread_mutex_destroy(&pool->mutex);
  free(pool->threads);
  llmos::AlignedFree(pool->shared.shares);
  llmos::AlignedFree(pool);
}

LLMOS_EXPORT void* llmos_pool_create(int32_t n_threads) {
  if (n_threads < 1 || n_threads > 1024) return nullptr;
  llmos::Pool* pool = (llmos::Pool*)llmos::AlignedAlloc(sizeof(llmos::Pool));
  if (pool == nullptr) return nullptr;
  memset((void*)pool, 0, sizeof *pool);
  pool->size = n_threads;
  pool->threads = (pthread_t*)calloc((size_t)n_threads, sizeof(pthread_t));
  const size_t share_bytes = (size_t)n_threads * sizeof(llmos::Share);
  pool->shared.shares = (llmos::Share*)llmos::AlignedAlloc(share_bytes);
  if (pool->shared.shares != nullptr) memset((void*)pool->shared.shares, 0xff, share_bytes);
  pthread_mutex_init(&pool->mutex, nullptr);
  pthread_cond_init(&pool->wake, nullptr);
  const bool room = pool->threads != nullptr && pool->shared.shares != nullptr;
  for (int rank = 1; room && rank < n_threads; ++rank) {
    llmos::Worker* worker = (llmos::Worker*)malloc(sizeof(llmos::Worker));
    if (worker == nullptr) break;
    *worker = {pool, rank};
    if (pthread_create(&pool->threads[rank - 1], nullptr, llmos::WorkerMain, worker) != 0) {
      free(worker);
      break;
    }
    ++pool->started;
  }
  if (!room || pool->started != n_threads - 1) {
    llmos_pool_destroy(pool);
    return nullptr;
  }
  return pool;
}
