// Threads: a pool that lives as long as the model, and the team that runs one step.
//
// Every thread of the team executes the whole step. A kernel hands out its tiles with `RunTiles`: tiles are claimed one by one,
// so a disturbed core takes fewer, and a barrier follows. Waiting spins for a while, then yields: on a machine with more
// threads than cores a spinning thread would stop the one that it waits for. Between steps the workers sleep.
#pragma once
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#if defined(_WIN32)
#include <malloc.h>
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

// Spins on `done`, yielding the core after about 20 microseconds.
template <class Done>
LLMOS_INLINE void SpinUntil(Done done) {
  for (int i = 0; !done(); ++i) i < 400 ? Pause() : (void)sched_yield();
}

// The tiles of one thread's part that nobody has claimed yet, in one word: the first, the one behind the last, and the operation
// that it is about, 24, 24 and 16 bits.
struct alignas(64) Share {
  uint64_t packed;
};

struct Shared {
  alignas(64) int arrived;     // threads at the barrier
  alignas(64) int generation;  // barriers passed
  Share* shares;               // of each thread
};

struct Team {
  int rank, size;
  Shared* shared;

  // f(tile) for each tile below n < 2^24, divided over the team; returns when all are done. A thread walks through a part of its
  // own, from its front, and then takes from the back of others' parts: threads that claim neighbouring tiles in turn fetch each
  // other's ahead (reads of 37 GB/s on two threads where parts that lie together gave 68).
  template <class F>
  LLMOS_MEMBER void RunTiles(int n, F f) {
    if (size == 1) {
      for (int tile = 0; tile < n; ++tile) f(tile);
      return;
    }
    const uint64_t turn = (uint32_t)__atomic_load_n(&shared->generation, __ATOMIC_RELAXED) & 0xffff;
    for (int i = 0; i < size; ++i) {
      const int owner = rank + i < size ? rank + i : rank + i - size;
      for (int tile = Claim(owner, n, turn); tile >= 0; tile = Claim(owner, n, turn)) f(tile);
    }
    Barrier();
  }

  // The next tile of a thread's part, -1 where none is left. Whoever comes first to a part that is still about an earlier
  // operation begins it anew; its owner has done so before it comes to the barrier.
  LLMOS_MEMBER int Claim(int owner, int n, uint64_t turn) {
    constexpr uint64_t kMask = (1 << 24) - 1;
    uint64_t* share = &shared->shares[owner].packed;
    uint64_t seen = __atomic_load_n(share, __ATOMIC_RELAXED);
    for (;;) {
      const bool begun = seen >> 48 == turn;
      uint64_t first = begun ? seen & kMask : Part(owner, n), last = begun ? seen >> 24 & kMask : Part(owner + 1, n);
      if (begun && first == last) return -1;
      const int tile = first == last ? -1 : owner == rank ? (int)first++ : (int)--last;
      if (__atomic_compare_exchange_n(share, &seen, turn << 48 | last << 24 | first, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) return tile;
    }
  }

  // Where the part of a thread begins.
  LLMOS_MEMBER uint64_t Part(int owner, int n) const { return ((uint64_t)n * (uint64_t)owner + (uint64_t)size - 1) / (uint64_t)size; }

  LLMOS_MEMBER void Barrier() {
    const int generation = __atomic_load_n(&shared->generation, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(&shared->arrived, 1, __ATOMIC_ACQ_REL) == size) {
      shared->arrived = 0;
      __atomic_store_n(&shared->generation, (int)((uint32_t)generation + 1), __ATOMIC_RELEASE);
    } else {
      SpinUntil([&] { return __atomic_load_n(&shared->generation, __ATOMIC_ACQUIRE) != generation; });
    }
  }
};

struct Pool {
  using Job = void (*)(Team&, const void*);
  Shared shared;
  int size;
  int started;
  pthread_t* threads;
  pthread_mutex_t mutex;
  pthread_cond_t wake;
  int turn;  // jobs published; negative: stop
  int running;
  Job job;
  const void* argument;
};

struct Worker {
  Pool* pool;
  int rank;
};

LLMOS_INLINE void RunJob(Pool* pool, int rank) {
  Team team{rank, pool->size, &pool->shared};
  pool->job(team, pool->argument);
}

static inline void* WorkerMain(void* argument) {
  Worker worker = *(Worker*)argument;
  free(argument);
  Pool* pool = worker.pool;
  for (int seen = 0;;) {
    for (int i = 0; i < 2000 && __atomic_load_n(&pool->turn, __ATOMIC_ACQUIRE) == seen; ++i) Pause();
    pthread_mutex_lock(&pool->mutex);
    while (pool->turn == seen) pthread_cond_wait(&pool->wake, &pool->mutex);
    seen = pool->turn;
    pthread_mutex_unlock(&pool->mutex);
    if (seen < 0) return nullptr;
    RunJob(pool, worker.rank);
    __atomic_sub_fetch(&pool->running, 1, __ATOMIC_RELEASE);
  }
}

// Runs job on every thread of the pool, the caller being rank 0; returns when all are done. pool == NULL: the caller alone.
static inline void PoolRun(Pool* pool, Pool::Job job, const void* argument) {
  if (pool == nullptr || pool->size == 1) {
    Shared alone{};
    Team team{0, 1, &alone};
    job(team, argument);
    return;
  }
  pool->job = job;
  pool->argument = argument;
  pool->running = pool->size - 1;
  pthread_mutex_lock(&pool->mutex);
  __atomic_store_n(&pool->turn, pool->turn == 0x7fffffff ? 1 : pool->turn + 1, __ATOMIC_RELEASE);
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->mutex);
  RunJob(pool, 0);
  SpinUntil([&] { return __atomic_load_n(&pool->running, __ATOMIC_ACQUIRE) == 0; });
}

}  // namespace llmos

LLMOS_EXPORT void llmos_pool_destroy(void* handle) {
  llmos::Pool* pool = (llmos::Pool*)handle;
  if (pool == nullptr) return;
  pthread_mutex_lock(&pool->mutex);
  __atomic_store_n(&pool->turn, -1, __ATOMIC_RELEASE);
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->mutex);
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
