/* A pool of POSIX threads that runs one body at a time.
 *
 *   convc_pool_run(body, ctx, threads)
 *
 * calls body(ctx, thread, threads, barrier) once for each thread = 0 .. threads-1, side by side, and returns
 * when all have returned. The caller is thread 0; the others are workers, created on first use and kept.
 * What the caller wrote before the call, every thread sees; what the threads wrote, the caller sees after it;
 * what any thread wrote before barrier(), every thread sees after it. All threads call barrier() equally
 * often.
 *
 * A body must be right for any number of threads, for it may get fewer than asked: one where it is called
 * from within a body, and as many as there are where the system refuses to create more.
 * Calls from several threads wait for each other. In the child of a fork the pool starts afresh. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

typedef void (*convc_body)(void *ctx, int thread, int threads, void (*barrier)(void));

enum {
  MAX_THREADS = 1024,
  SPINS = 4096, /* some tens of microseconds: longer than a Python call, shorter than a time slice */
};

#define OWN_LINE _Alignas(128) /* x86 fetches lines of 64 bytes in pairs, some ARM cores have lines of 128 */

/* The current run. Plain: the caller writes it while no worker takes part, and `ticket` publishes it. */
static struct {
  convc_body body;
  void *ctx;
  int threads;
  uint64_t spins;
} run;

/* Number of the run (upper 48 bits) and its threads (lower 16), in one word: a worker that does not take part
 * learns so without a look at `run`, which the next run may be rewriting. 0: no run yet. */
static OWN_LINE _Atomic uint64_t ticket;
static OWN_LINE atomic_int unfinished; /* workers still in the body */
static OWN_LINE atomic_int arrived;    /* threads in the barrier */
static OWN_LINE atomic_uint phase;     /* barriers passed */

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;   /* held for a whole run */
static pthread_mutex_t asleep = PTHREAD_MUTEX_INITIALIZER; /* held to go to sleep, and to publish a ticket */
static pthread_cond_t wake[MAX_THREADS];                   /* one each: a run wakes only its own workers */
static int workers;                                        /* created so far: threads 1 .. workers */
static _Thread_local bool inside;                          /* this thread is in a body */

static int threads_of(uint64_t t) { return (int)(t & 0xffff); }

/* Waits a little: with the core kept for the first `spins` times, then giving it to others. */
static void relax(uint64_t waited, uint64_t spins) {
  if (waited >= spins) {
    sched_yield();
    return;
  }
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
  __asm__ volatile("yield");
#endif
}

static void barrier(void) {
  /* relaxed: this thread has seen the last phase end (or the ticket that came after it), and the phase
   * cannot go on before this thread arrives. So the value is exact. */
  const unsigned mine = atomic_load_explicit(&phase, memory_order_relaxed);
  /* release: hands on what this thread wrote; acquire: the last thread takes what all the others wrote. */
  if (atomic_fetch_add_explicit(&arrived, 1, memory_order_acq_rel) == run.threads - 1) {
    /* relaxed: whoever arrives next has first seen the phase change, which is released after this. */
    atomic_store_explicit(&arrived, 0, memory_order_relaxed);
    atomic_store_explicit(&phase, mine + 1, memory_order_release);
    return;
  }
  for (uint64_t waited = 0; atomic_load_explicit(&phase, memory_order_acquire) == mine; waited++)
    relax(waited, run.spins);
}

static void no_barrier(void) {}

/* Returns the next ticket that asks for this worker. */
static uint64_t next_ticket(int thread, uint64_t seen, uint64_t spins) {
  for (uint64_t waited = 0; waited < spins; waited++) {
    /* acquire: takes `run`, and all that the caller wrote before. */
    const uint64_t t = atomic_load_explicit(&ticket, memory_order_acquire);
    if (t != seen && threads_of(t) > thread) return t;
    relax(waited, spins);
  }
  pthread_mutex_lock(&asleep);
  uint64_t t;
  /* relaxed: tickets are published under the mutex, which orders them and all that came before. */
  while ((t = atomic_load_explicit(&ticket, memory_order_relaxed)) == seen || threads_of(t) <= thread)
    pthread_cond_wait(&wake[thread], &asleep);
  pthread_mutex_unlock(&asleep);
  return t;
}

static void *worker(void *argument) {
  const int thread = (int)(intptr_t)argument;
  uint64_t spins = 0;
  inside = true;
  /* Starting from "none seen" is right though runs went before: none of them had this many threads. */
  for (uint64_t seen = 0;;) {
    seen = next_ticket(thread, seen, spins);
    spins = run.spins;
    run.body(run.ctx, thread, run.threads, barrier);
    /* release: hands what the body wrote to the caller. The last use of `run` in this round. */
    atomic_fetch_sub_explicit(&unfinished, 1, memory_order_release);
  }
  return NULL;
}

/* Creates workers up to `threads`, as far as the system lets it. */
static void grow(int threads) {
  if (workers + 1 >= threads) return;
  /* Signals are for the program's own threads; those that a fault raises must stay open. */
  sigset_t blocked, before;
  sigfillset(&blocked);
  const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT};
  for (unsigned i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&blocked, faults[i]);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  for (; workers + 1 < threads; workers++) {
    pthread_t id;
    const int thread = workers + 1;
    pthread_cond_init(&wake[thread], NULL);
    if (pthread_create(&id, NULL, worker, (void *)(intptr_t)thread) != 0) break;
    pthread_detach(id);
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static int usable_cpus(void) {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

/* In the child of a fork only the forking thread lives on: the workers are gone, and the mutexes are as any
 * thread held them. Ticket 0, or a new worker would take the last run of the parent for its own. */
static void start_afresh(void) {
  pthread_mutex_init(&turn, NULL);
  pthread_mutex_init(&asleep, NULL);
  workers = 0;
  atomic_store_explicit(&ticket, 0, memory_order_relaxed); /* relaxed, here and below: there is one thread */
  atomic_store_explicit(&arrived, 0, memory_order_relaxed);
}

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, start_afresh); }

void convc_pool_run(convc_body body, void *ctx, int threads) {
  if (inside) { /* waiting for its own run to end would be for ever */
    body(ctx, 0, 1, no_barrier);
    return;
  }
  pthread_mutex_lock(&turn);
  inside = true;
  if (threads > MAX_THREADS) threads = MAX_THREADS;
  grow(threads);
  if (threads > workers + 1) threads = workers + 1;
  if (threads <= 1) {
    body(ctx, 0, 1, no_barrier);
  } else {
    /* With more threads than cores, whoever spins keeps from its core the thread that it waits for. */
    const uint64_t spins = threads > usable_cpus() ? 0 : SPINS;
    run.body = body, run.ctx = ctx, run.threads = threads, run.spins = spins;
    /* relaxed: the ticket's release below publishes it; and only the holder of `turn` changes the ticket. */
    atomic_store_explicit(&unfinished, threads - 1, memory_order_relaxed);
    const uint64_t number = (atomic_load_explicit(&ticket, memory_order_relaxed) >> 16) + 1;
    pthread_mutex_lock(&asleep); /* or the ticket could slip in between a worker's last look and its sleep */
    /* release: hands `run`, and all that the caller wrote, to workers that spin. */
    atomic_store_explicit(&ticket, number << 16 | (uint64_t)threads, memory_order_release);
    for (int thread = 1; thread < threads; thread++) pthread_cond_signal(&wake[thread]);
    pthread_mutex_unlock(&asleep);
    body(ctx, 0, threads, barrier);
    /* acquire: takes what the workers wrote. */
    for (uint64_t waited = 0; atomic_load_explicit(&unfinished, memory_order_acquire) != 0; waited++)
      relax(waited, spins);
  }
  inside = false;
  pthread_mutex_unlock(&turn);
}
