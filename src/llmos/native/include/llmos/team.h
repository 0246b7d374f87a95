// Threads: a pool that lives as long as the model, and the team that runs one step.
//
// Every thread of the team executes the whole step. A kernel hands out its tiles with `Run`: tiles are claimed one by one,
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

struct Shared {
  alignas(64) int next;        // next tile to claim
  alignas(64) int arrived;     // threads at the barrier
  alignas(64) int generation;  // barriers passed
};

struct Team {
  int rank, size;
  Shared* shared;

  // f(tile) for each tile below n, divided over the team; returns when all are done.
  template <class F>
  LLMOS_MEMBER void RunTiles(int n, F f) {
    if (size == 1) {
      for (int tile = 0; tile < n; ++tile) f(tile);
      return;
    }
    for (;;) {
      const int tile = __atomic_fetch_add(&shared->next, 1, __ATOMIC_RELAXED);
      if (tile >= n) break;
      f(tile);
    }
    Barrier();
  }

  LLMOS_MEMBER void Barrier() {
    const int generation = __atomic_load_n(&shared->generation, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(&shared->arrived, 1, __ATOMIC_ACQ_REL) == size) {
      shared->arrived = 0;
      __atomic_store_n(&shared->next, 0, __ATOMIC_RELAXED);
      __atomic_store_n(&shared->generation, generation + 1, __ATOMIC_RELEASE);
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
  llmos::AlignedFree(pool);
}

LLMOS_EXPORT void* llmos_pool_create(int32_t n_threads) {
  if (n_threads < 1 || n_threads > 1024) return nullptr;
  llmos::Pool* pool = (llmos::Pool*)llmos::AlignedAlloc(sizeof(llmos::Pool));
  if (pool == nullptr) return nullptr;
  memset((void*)pool, 0, sizeof *pool);
  pool->size = n_threads;
  pool->threads = (pthread_t*)calloc((size_t)n_threads, sizeof(pthread_t));
  pthread_mutex_init(&pool->mutex, nullptr);
  pthread_cond_init(&pool->wake, nullptr);
  for (int rank = 1; pool->threads != nullptr && rank < n_threads; ++rank) {
    llmos::Worker* worker = (llmos::Worker*)malloc(sizeof(llmos::Worker));
    if (worker == nullptr) break;
    *worker = {pool, rank};
    if (pthread_create(&pool->threads[rank - 1], nullptr, llmos::WorkerMain, worker) != 0) {
      free(worker);
      break;
    }
    ++pool->started;
  }
  if (pool->threads == nullptr || pool->started != n_threads - 1) {
    llmos_pool_destroy(pool);
    return nullptr;
  }
  return pool;
}
