/* The check: which access races with which. Every cell of memory remembers its last write and two of its readers.
 *
 * Time counts the synchronisations that the launch has seen. An access at time T by thread u happened before what
 * thread t does now, if both are one thread, or a barrier or a warp-wide synchronisation of both came after T.
 * Different blocks of one launch are never ordered. */
#pragma once

#include "state.h"

static int64_t block_of(const Run *run, uint64_t rec) {
  int64_t low = 0, high = run->block; /* the last block that started at or before its time */
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (run->starts[middle] <= time_of(rec)) low = middle;
    else high = middle - 1;
  }
  return low;
}

/* `other`: the record of the other access, 0 where there is none. */
static void report(Run *run, int kind, int op, int thread, uint64_t other, int space, uint64_t offset, int size) {
  Launch *launch = run->launch;
  const int other_op = other ? op_of(other) : -1;
  for (int k = 0; k < launch->n_reports; k++) {
    Report *r = &launch->reports[k];
    if (r->kind == kind && r->op == op && r->other_op == other_op) {
      r->count++;
      return;
    }
  }
  if (launch->n_reports == CAPACITY) {
    launch->dropped_reports++;
    return;
  }
  launch->reports[launch->n_reports++] = (Report){
      .kind = kind, .op = op, .other_op = other_op, .space = space, .offset = offset, .count = 1, .block = run->block,
      .other_block = other ? block_of(run, other) : -1, .thread = thread, .size = size,
      .other_thread = other ? thread_of(other) : -1};
}

INLINE int same_block(const Run *run, uint64_t rec) { return time_of(rec) >= run->block_start; }

/* Did `rec`, of this block, happen before what this lane does now? */
INLINE int ordered(const Run *run, const Warp *w, uint32_t lane, uint64_t rec) {
  const uint32_t then = time_of(rec), other = (uint32_t)thread_of(rec);
  if (then < run->barrier_time || other == (uint32_t)w->number * LANES + lane) return 1;
  if (other / LANES == (uint32_t)w->number) return then < w->known[lane][other % LANES];
  return then < run->between[w->number * run->n_warps + (int)(other / LANES)];
}

typedef struct {
  Run *run;
  Warp *w;
  int op, space, size;
  uint32_t lane;
  uint64_t offset;
} Access;

static void conflict(const Access *a, int kind, uint64_t other) {
  report(a->run, kind, a->op, a->w->number * LANES + (int)a->lane, other, a->space, a->offset, a->size);
}

INLINE int clashes(const Access *a, uint64_t rec) {
  if (!rec) return 0;
  if (!same_block(a->run, rec)) return a->space != SHARED;
  return !ordered(a->run, a->w, a->lane, rec);
}

static void clash(const Access *a, int kind, uint64_t rec) {
  /* The three kinds of races between blocks stand in the same order as those within one. */
  conflict(a, kind + (same_block(a->run, rec) ? 0 : BLOCKS_WRITE_WRITE), rec);
}

/* Remembers a reader. Two are enough where they are of different warps: whoever writes later without a barrier is
 * then not ordered after one of them. A reader of an earlier block stays: it clashes with every write to come. */
INLINE void add_reader(const Access *a, Cell *cell, uint64_t me) {
  const uint64_t first = cell->read[0], second = cell->read[1];
  if (!clashes(a, first)) cell->read[0] = me;
  else if (!clashes(a, second) || thread_of(first) / LANES == thread_of(second) / LANES) cell->read[1] = me;
}

/* Are two lanes of this warp recorded that read the cell by this very operation, after a barrier that came after the
 * last write? Then one more changes nothing: a warp that reads one number in all its lanes is soon through. */
INLINE int read_by_neighbours(const Access *a, const Cell *cell, uint64_t me) {
  if ((cell->read[0] ^ me) / LANES || (cell->read[1] ^ me) / LANES) return 0; /* time, operation and warp */
  if (!cell->write) return a->space != SHARED;
  return same_block(a->run, cell->write) && time_of(cell->write) < a->run->barrier_time && !(cell->write & IN_FLIGHT);
}

INLINE void read_cell(const Access *a, Cell *cell, uint64_t me) {
  if (read_by_neighbours(a, cell, me)) return;
  const uint64_t write = cell->write;
  if (a->space == SHARED && time_of(write) < a->run->block_start) {
    conflict(a, UNINITIALISED_SHARED, 0);
  } else if ((write & IN_FLIGHT) && same_block(a->run, write)) {
    conflict(a, COPY_READ, write);
  } else if (clashes(a, write)) {
    clash(a, RACE_READ_WRITE, write);
  } else {
    for (int k = 0; k < 2; k++)
      if ((cell->read[k] & ATOMIC) && clashes(a, cell->read[k])) clash(a, RACE_READ_WRITE, cell->read[k]);
  }
  add_reader(a, cell, me);
}

INLINE void write_cell(const Access *a, Cell *cell, uint64_t me) {
  const uint64_t write = cell->write;
  if ((write & IN_FLIGHT) && same_block(a->run, write)) {
    conflict(a, COPY_OVERWRITTEN, write);
  } else if (clashes(a, write)) {
    clash(a, RACE_WRITE_WRITE, write);
  }
  for (int k = 0; k < 2; k++) {
    const uint64_t read = cell->read[k];
    if (clashes(a, read)) clash(a, (read & ATOMIC) ? RACE_WRITE_WRITE : RACE_WRITE_READ, read);
    cell->read[k] = 0;
  }
  cell->write = me;
}

/* An atomic clashes with every other kind of access, and with no atomic. It stands among the readers too, so that the
 * next atomic does not hide it. */
INLINE void atomic_cell(const Access *a, Cell *cell, uint64_t me) {
  const uint64_t write = cell->write;
  if (a->space == SHARED && time_of(write) < a->run->block_start) {
    conflict(a, UNINITIALISED_SHARED, 0);
  } else if ((write & IN_FLIGHT) && same_block(a->run, write)) {
    conflict(a, COPY_OVERWRITTEN, write);
  } else if (!(write & ATOMIC) && clashes(a, write)) {
    clash(a, RACE_WRITE_WRITE, write);
  }
  for (int k = 0; k < 2; k++)
    if (!(cell->read[k] & ATOMIC) && clashes(a, cell->read[k])) clash(a, RACE_WRITE_READ, cell->read[k]);
  cell->write = me | ATOMIC;
  add_reader(a, cell, me | ATOMIC);
}

enum access { READ, WRITE, UPDATE };

INLINE void check_access(const Access *a, enum access what, uint64_t mark) {
  const Run *run = a->run;
  const uint64_t me = record(run, a->w, a->op, a->lane) | mark;
  Cell *cells;
  uint64_t first = a->offset;
  if (a->space == SHARED) {
    cells = run->shared_cells;
  } else {
    const Buffer *buffer = &run->launch->buffers[a->space];
    if (!buffer->checked) return;
    cells = run->cells;
    first = buffer->shadow + a->offset;
  }
  const uint64_t last = (first + (uint64_t)a->size - 1) >> run->launch->grain;
  for (uint64_t k = first >> run->launch->grain; k <= last; k++) {
    if (what == READ) read_cell(a, &cells[k], me);
    else if (what == WRITE) write_cell(a, &cells[k], me);
    else atomic_cell(a, &cells[k], me);
  }
}

/* Whether every byte has been written, by the host or by a kernel; a write marks them. */
static void check_initialised(const Access *a, enum access what) {
  uint8_t *bytes = a->run->launch->buffers[a->space].initialised;
  if (!bytes) return;
  if (what != WRITE && memchr(bytes + a->offset, 0, (size_t)a->size)) conflict(a, UNINITIALISED_GLOBAL, 0);
  if (what != READ) memset(bytes + a->offset, 1, (size_t)a->size);
}

/* What every thread of the warps named did so far happens before what they do next. */
static void synchronise_lanes(Run *run, Warp *w, uint32_t members) {
  if (members == w->there || members == FULL) {
    EACH_LANE for (int u = 0; u < LANES; u++) w->known[l][u] = run->time + 1;
  } else {
    uint32_t merged[LANES];
    for (int u = 0; u < LANES; u++) {
      merged[u] = 0;
      EACH_IN(members) if (w->known[l][u] > merged[u]) merged[u] = w->known[l][u];
      if (members >> u & 1) merged[u] = run->time + 1;
    }
    EACH_IN(members) memcpy(w->known[l], merged, sizeof merged);
  }
  run->time++;
}

static void synchronise_block(Run *run) { run->barrier_time = ++run->time; }

/* A barrier of a part of the block: `since` is the time before which a warp's accesses are ordered, 0 if it did not
 * arrive; only the warps that wait are ordered after the others. */
static void synchronise_warps(Run *run, const uint32_t *since, const uint8_t *waits) {
  const int n = run->n_warps;
  uint32_t merged[LANES];
  for (int u = 0; u < n; u++) {
    merged[u] = since[u];
    for (int t = 0; t < n; t++)
      if (since[t] && run->between[t * n + u] > merged[u]) merged[u] = run->between[t * n + u];
  }
  for (int t = 0; t < n; t++) {
    if (!waits[t]) continue;
    memcpy(run->between + t * n, merged, (size_t)n * sizeof *merged);
    EACH_LANE for (int u = 0; u < LANES; u++) run->warps[t].known[l][u] = since[t];
  }
  run->time++;
}
