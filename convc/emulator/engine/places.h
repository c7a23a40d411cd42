/* From addresses to bytes of the host, checked on the way. */
#pragma once

#include "numbers.h"
#include "shadow.h"

typedef struct {
  uint8_t *host[LANES]; /* null: the access is dropped */
  uint64_t offset[LANES];
  int32_t space[LANES];
} Places;

INLINE void *reg(const Warp *w, int32_t unit) { return w->registers + (int64_t)unit * 128; }

static int find_window(const Launch *launch, uint64_t address) {
  const uint64_t window = address >> WINDOW;
  if (window >= 1 && window <= (uint64_t)launch->n_buffers - (uint64_t)launch->n_variables) return (int)window - 1;
  const uint64_t variable = window - VARIABLES;
  if (variable < (uint64_t)launch->n_variables) return launch->n_buffers - launch->n_variables + (int)variable;
  return NOWHERE;
}

enum { GLOBAL_SPACE, SHARED_SPACE, LOCAL_SPACE, GENERIC_SPACE }; /* as in decode.py */

static void locate(Run *run, Warp *w, const Op *i, uint32_t lane, uint64_t address, int space, int size, int writes,
                   Places *p) {
  const Launch *launch = run->launch;
  const int op = (int)(i - launch->code), thread = w->number * LANES + (int)lane;
  uint64_t offset = address, bytes = 0;
  int32_t where = NOWHERE;
  uint8_t *base = NULL;
  if (space == GENERIC_SPACE) {
    const uint64_t window = address >> WINDOW;
    space = window == SHARED_WINDOW ? SHARED_SPACE : window == LOCAL_WINDOW ? LOCAL_SPACE : GLOBAL_SPACE;
    if (space != GLOBAL_SPACE) offset = address & ((1ull << WINDOW) - 1);
  }
  if (space == SHARED_SPACE) {
    where = SHARED, base = run->shared, bytes = (uint64_t)launch->shared_bytes;
  } else if (space == LOCAL_SPACE) {
    where = LOCAL, bytes = (uint64_t)launch->local_bytes, base = w->local + bytes * lane;
  } else if ((where = find_window(launch, address)) >= 0) {
    const Buffer *buffer = &launch->buffers[where];
    base = buffer->data, bytes = buffer->bytes;
    offset = (address & ((1ull << WINDOW) - 1)) - MIDDLE;
  }
  p->host[lane] = NULL, p->space[lane] = where, p->offset[lane] = offset;
  if (address % (uint64_t)size) {
    report(run, MISALIGNED, op, thread, 0, where, offset, size);
    return;
  }
  if (where == NOWHERE || offset > bytes || bytes - offset < (uint64_t)size) {
    report(run, OUT_OF_BOUNDS, op, thread, 0, where, offset, size);
    return;
  }
  if (writes && where >= 0 && !launch->buffers[where].writable) {
    report(run, READ_ONLY, op, thread, 0, where, offset, size);
    return;
  }
  p->host[lane] = base + offset;
}

INLINE uint64_t address_of(const Warp *w, const Op *i, int slot, uint32_t lane) {
  /* a[slot]: register, a[slot + 1]: offset, a[slot + 2]: bytes of the register */
  const void *at = reg(w, i->a[slot]);
  const uint64_t base = i->a[slot + 2] == 8 ? ((const uint64_t *)at)[lane] : ((const uint32_t *)at)[lane];
  return base + (uint64_t)(int64_t)i->a[slot + 1];
}

INLINE void check_lane(Run *run, Warp *w, const Op *i, uint32_t lane, const Places *p, int size, enum access what) {
  if (!p->host[lane] || p->space[lane] == LOCAL) return;
  const Access a = {run, w, (int)(i - run->launch->code), p->space[lane], size, lane, p->offset[lane]};
  check_access(&a, what, 0);
  if (a.space >= 0) check_initialised(&a, what);
}

/* The check off: what is written is initialised all the same, for launches to come. */
static void mark_written(const Run *run, uint32_t m, const Places *p, int size) {
  EACH_IN(m) {
    if (!p->host[l] || p->space[l] < 0) continue;
    uint8_t *bytes = run->launch->buffers[p->space[l]].initialised;
    if (bytes) memset(bytes + p->offset[l], 1, (size_t)size);
  }
}

/* The places of all lanes. Most lie, aligned, in one buffer: those that do not are looked at one by one. */
static void locate_all(Run *run, Warp *w, const Op *i, uint32_t m, int slot, int space, int size, int writes,
                       Places *p) {
  uint8_t *base = run->shared;
  uint64_t first = 0, bytes = (uint64_t)run->launch->shared_bytes;
  int32_t where = SHARED;
  if (space != SHARED_SPACE) {
    const uint64_t address = address_of(w, i, slot, (uint32_t)__builtin_ctz(m));
    where = space == LOCAL_SPACE ? NOWHERE : find_window(run->launch, address);
    if (where >= 0) {
      const Buffer *buffer = &run->launch->buffers[where];
      base = buffer->data, bytes = buffer->bytes, first = (address & ~((1ull << WINDOW) - 1)) + MIDDLE;
      if (writes && !buffer->writable) where = NOWHERE;
    }
  }
  const uint64_t room = where != NOWHERE && bytes >= (uint64_t)size ? bytes - (uint64_t)size + 1 : 0;
  EACH_IN(m) {
    const uint64_t address = address_of(w, i, slot, l), offset = address - first;
    if (offset < room && !(address & ((uint64_t)size - 1))) {
      p->host[l] = base + offset, p->offset[l] = offset, p->space[l] = where;
    } else {
      locate(run, w, i, l, address, space, size, writes, p);
    }
  }
}
