/* cp.async: what it reads and writes is read and written at the wait, as late as PTX allows. */
#pragma once

#include <stdlib.h>

#include "memory.h"

/* a: target address 0 1 2, source address 4 5 6, source space 7, bytes 8, register of the source's bytes 9 or -1 */
static void copy_async(Run *run, Warp *w, const Op *i, uint32_t m) {
  const int size = i->a[8];
  Places to, from;
  locate_all(run, w, i, m, 0, SHARED_SPACE, size, 1, &to);
  EACH_IN(m) {
    int bytes = size;
    if (i->a[9] >= 0) bytes = (int)limit(((uint32_t *)reg(w, i->a[9]))[l], 0, size);
    from.host[l] = NULL, from.space[l] = NOWHERE, from.offset[l] = 0;
    if (bytes) locate(run, w, i, l, address_of(w, i, 4, l), i->a[7], size, 0, &from);
    if (!to.host[l]) continue;
    if (run->launch->check) {
      const Access a = {run, w, (int)(i - run->launch->code), SHARED, size, l, to.offset[l]};
      check_access(&a, WRITE, IN_FLIGHT);
    }
    if (w->n_copies == w->room) {
      w->room = w->room ? 2 * w->room : 256;
      w->copies = realloc(w->copies, (size_t)w->room * sizeof *w->copies);
    }
    w->copies[w->n_copies++] = (Copy){.lane = l, .group = w->groups[l], .target = (uint32_t)to.offset[l],
                                      .op = (int)(i - run->launch->code), .size = size, .from_bytes = bytes,
                                      .buffer = from.space[l], .offset = from.offset[l], .source = from.host[l]};
  }
  if (run->launch->check) {
    count(run, i, 0, &from, m, size);
    count(run, i, 1, &to, m, size);
  }
}

static void land(Run *run, Warp *w, const Copy *c) {
  if (run->launch->check) {
    const int grain = run->launch->grain;
    for (uint32_t k = c->target >> grain; k <= (c->target + (uint32_t)c->size - 1) >> grain; k++)
      run->shared_cells[k].write = record(run, w, c->op, c->lane);
    if (c->source && c->buffer >= 0) {
      const Access from = {run, w, c->op, c->buffer, c->from_bytes, c->lane, c->offset};
      check_access(&from, READ, 0);
      check_initialised(&from, READ);
    }
  }
  uint8_t bytes[16] = {0};
  if (c->source) memcpy(bytes, c->source, (size_t)c->from_bytes);
  else if (c->from_bytes) memset(bytes, 0xff, sizeof bytes);
  memcpy(run->shared + c->target, bytes, (size_t)c->size);
}

/* The copies of a lane land, up to the group `before` [lane], that one excluded. */
static void wait_copies(Run *run, Warp *w, uint32_t m, const uint32_t *before) {
  int kept = 0;
  for (int k = 0; k < w->n_copies; k++) {
    const Copy c = w->copies[k];
    if (m >> c.lane & 1 && c.group < before[c.lane]) land(run, w, &c);
    else w->copies[kept++] = c;
  }
  w->n_copies = kept;
}

/* a: groups that may stay under way 0, whether those not committed land too 1 */
static void wait_group(Run *run, Warp *w, const Op *i, uint32_t m) {
  uint32_t before[LANES];
  EACH_LANE {
    const uint32_t groups = w->groups[l] + (i->a[1] ? 1 : 0), open = (uint32_t)i->a[0];
    before[l] = groups > open ? groups - open : 0;
    if (i->a[1] && m >> l & 1) w->groups[l]++;
  }
  wait_copies(run, w, m, before);
}

/* Lanes leave: what they copied and did not wait for was never sure to arrive. */
static void forget_copies(Run *run, Warp *w, uint32_t m) {
  int kept = 0;
  for (int k = 0; k < w->n_copies; k++) {
    const Copy *c = &w->copies[k];
    if (!(m >> c->lane & 1)) {
      w->copies[kept++] = *c;
      continue;
    }
    report(run, COPY_NEVER_WAITED, c->op, w->number * LANES + (int)c->lane, 0, SHARED, c->target, c->size);
  }
  w->n_copies = kept;
}
