/* Barriers: who waits, who has come, and what never will. */
#pragma once

#include "collective.h"

static void fail_block(Run *run) {
  for (int k = 0; k < run->n_warps; k++) {
    Warp *w = &run->warps[k];
    w->live = w->runs = w->at_barrier = w->at_sync = 0;
    w->n_copies = 0;
  }
}

static void fail_launch(Run *run) {
  fail_block(run);
  run->failed = 1;
}

enum { BARRIER_WAIT, BARRIER_ARRIVE, BARRIER_POPC, BARRIER_AND, BARRIER_OR }; /* as in decode.py */

/* `gone`: threads that the barrier does without, as they exited. */
static void release(Run *run, int id, int gone) {
  Barrier *b = &run->barriers[id];
  uint8_t waits[LANES] = {0};
  uint64_t first = 0;
  int waiting = 0; /* not those that arrived and went on */
  for (int k = 0; k < run->n_warps; k++) {
    Warp *w = &run->warps[k];
    uint32_t here = 0;
    EACH_IN(w->at_barrier) here |= (uint32_t)(w->barrier[l] == id) << l;
    waits[k] = here != 0;
    waiting += __builtin_popcount(here);
    EACH_IN(here) {
      const Op *i = &run->launch->code[w->pc[l]];
      const uint64_t mine = record(run, w, w->pc[l], l);
      if (!first) first = mine;
      /* In a barrier of the whole block all threads must meet at one place. */
      if (b->expected == run->threads && op_of(first) != w->pc[l] && id == 0)
        report(run, BARRIER_DIVERGENT, w->pc[l], w->number * LANES + (int)l, first, NOWHERE, 0, 0);
      if (i->a[2] == BARRIER_POPC) ((uint32_t *)reg(w, i->a[3]))[l] = (uint32_t)b->trues;
      if (i->a[2] == BARRIER_AND) put_predicate(w, i->a[3], 1u << l, b->trues == b->expected ? FULL : 0);
      if (i->a[2] == BARRIER_OR) put_predicate(w, i->a[3], 1u << l, b->trues ? FULL : 0);
      w->pc[l]++;
    }
    w->at_barrier &= ~here;
    w->runs |= here;
  }
  if (waiting + gone == run->threads) synchronise_block(run);
  else synchronise_warps(run, b->since, waits);
  *b = (Barrier){0};
}

/* a: register of the barrier 0, of the threads it waits for or -1 1, kind 2, result 3, predicate 4 */
static void arrive(Run *run, Warp *w, const Op *i, uint32_t m, int pc) {
  const uint32_t lane = (uint32_t)__builtin_ctz(m);
  const int id = (int)(((uint32_t *)reg(w, i->a[0]))[lane] & 15);
  Barrier *b = &run->barriers[id];
  b->expected = i->a[1] < 0 ? run->threads : (int)((uint32_t *)reg(w, i->a[1]))[lane];
  b->arrived += __builtin_popcount(m);
  if (i->a[2] >= BARRIER_POPC) b->trues += __builtin_popcount((i->a[4] > 0 ? w->predicates[i->a[4] - 1]
                                                                           : ~w->predicates[-i->a[4] - 1]) & m);
  b->since[w->number] = ++run->time;
  if (i->a[2] != BARRIER_ARRIVE) {
    w->runs &= ~m;
    w->at_barrier |= m;
    EACH_IN(m) w->pc[l] = pc, w->barrier[l] = id;
  }
  if (b->arrived >= b->expected) release(run, id, 0);
}

/* Nothing runs: the block is done, or it waits for what will not come. */
static int unblock(Run *run) {
  int64_t waiting = 0, gone = 0;
  int id = -1, same = 1, lanes_wait = 0;
  uint64_t left = 0;
  for (int k = 0; k < run->n_warps; k++) {
    Warp *w = &run->warps[k];
    waiting += __builtin_popcount(w->live);
    gone += __builtin_popcount(w->there & ~w->live);
    EACH_IN(w->there & ~w->live) if (!left) left = record(run, w, w->pc[l], l);
    EACH_IN(w->at_sync) {
      report(run, WARP_SYNC, w->pc[l], k * LANES + (int)l, 0, NOWHERE, 0, 0);
      same = 0, lanes_wait = 1;
    }
    EACH_IN(w->at_barrier) {
      if (id >= 0 && w->barrier[l] != id) same = 0;
      id = w->barrier[l];
    }
  }
  if (!waiting) return 0;
  if (same && run->barriers[id].arrived + gone == run->threads && run->barriers[id].expected == run->threads) {
    for (int k = 0, told = 0; k < run->n_warps && !told; k++)
      EACH_IN(run->warps[k].at_barrier) {
        report(run, BARRIER_MISSING, run->warps[k].pc[l], k * LANES + (int)l, left, NOWHERE, 0, 0);
        told = 1;
        break;
      }
    release(run, id, (int)gone);
    return 1;
  }
  for (int k = 0; k < run->n_warps && !lanes_wait; k++)
    EACH_IN(run->warps[k].at_barrier)
      report(run, DEADLOCK, run->warps[k].pc[l], k * LANES + (int)l, left, NOWHERE, 0, 0);
  fail_block(run);
  return 0;
}
