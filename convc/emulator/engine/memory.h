/* Loads, stores and atomics: from addresses to bytes of the host, checked on the way. */
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

static void check_lane(Run *run, Warp *w, const Op *i, uint32_t lane, const Places *p, int size, enum access what) {
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

/* ---- counters ---- */

static int count_sectors(const Places *p, uint32_t m) {
  uint64_t seen[64];
  uint8_t used[64] = {0};
  int n = 0;
  uint64_t last = UINT64_MAX;
  EACH_IN(m) { /* an aligned access of up to 16 bytes lies in one sector */
    if (!p->host[l]) continue;
    const uint64_t sector = (uint64_t)(uint32_t)p->space[l] << 48 | p->offset[l] >> 5;
    if (sector == last) continue;
    last = sector;
    uint32_t slot = (uint32_t)(sector * 0x9e3779b97f4a7c15ull >> 58);
    while (used[slot] && seen[slot] != sector) slot = (slot + 1) & 63;
    if (!used[slot]) used[slot] = 1, seen[slot] = sector, n++;
  }
  return n;
}

/* Passes over the 32 banks for one phase: as many as the bank most asked for has different words. */
static int count_passes(const uint64_t *words, int n) {
  uint64_t of_bank[32][32];
  uint8_t count[32] = {0};
  int most = 0;
  for (int k = 0; k < n; k++) {
    const int bank = words[k] & 31;
    int j = 0;
    while (j < count[bank] && of_bank[bank][j] != words[k]) j++;
    if (j < count[bank]) continue;
    of_bank[bank][count[bank]++] = words[k];
    if (count[bank] > most) most = count[bank];
  }
  return most;
}

/* A warp reads 128 bytes a phase: all lanes of 4 bytes, half of the lanes of 8, a quarter of those of 16. */
static void count_shared(Counter *counter, const Places *p, uint32_t m, int size) {
  const int lanes = size <= 4 ? 32 : 128 / size, step = size <= 4 ? 1 : size / 4;
  for (int phase = 0; phase < LANES; phase += lanes) {
    uint64_t words[32];
    int n = 0;
    for (int l = phase; l < phase + lanes; l++)
      if (m >> l & 1 && p->host[l])
        for (int k = 0; k < step; k++) words[n++] = p->offset[l] / 4 + (uint64_t)k;
    if (!n) continue;
    counter->moved += count_passes(words, n);
    counter->ideal++;
  }
}

static void count(Run *run, const Op *i, const Places *p, uint32_t m, int size) {
  if (!i->counted || !m) return;
  Counter *counter = &run->launch->counters[i - run->launch->code];
  const int lanes = __builtin_popcount(m), first = __builtin_ctz(m);
  counter->requests++;
  counter->lanes += lanes;
  if (p->space[first] == SHARED) {
    count_shared(counter, p, m, size);
  } else if (p->space[first] >= 0) {
    const int moved = count_sectors(p, m), packed = (lanes * size + 31) / 32;
    counter->moved += moved;
    counter->ideal += packed < moved ? packed : moved;
  }
}

/* ---- instructions ---- */

/* The places of all lanes. Those of most accesses lie, aligned, in one buffer: what does not is looked at lane by lane. */
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

INLINE uint64_t get_bytes(const uint8_t *at, int size) {
  switch (size) {
    case 1: return *at;
    case 2: { uint16_t x; memcpy(&x, at, 2); return x; }
    case 4: { uint32_t x; memcpy(&x, at, 4); return x; }
    default: { uint64_t x; memcpy(&x, at, 8); return x; }
  }
}

INLINE void put_lane(void *to, int width, uint32_t lane, uint64_t value) {
  if (width == 8) ((uint64_t *)to)[lane] = value;
  else ((uint32_t *)to)[lane] = (uint32_t)value;
}
INLINE uint64_t get_lane(const void *from, int width, uint32_t lane) {
  return width == 8 ? ((const uint64_t *)from)[lane] : ((const uint32_t *)from)[lane];
}

/* a: registers 0..3, address 4 5 6, space 7, bytes of an element 8, elements 9, signed 10, register bytes 11 */
static void load(Run *run, Warp *w, const Op *i, uint32_t m) {
  const int each = i->a[8], n = i->a[9], size = each * n, width = i->a[11];
  Places p;
  locate_all(run, w, i, m, 4, i->a[7], size, 0, &p);
  if (run->launch->check) {
    EACH_IN(m) check_lane(run, w, i, l, &p, size, READ);
    count(run, i, &p, m, size);
  }
  for (int k = 0; k < n; k++) {
    if (i->a[k] < 0) continue;
    void *to = reg(w, i->a[k]);
    if (each == 4 && width == 4) {
      EACH_IN(m) {
        uint32_t x = FULL;
        if (p.host[l]) memcpy(&x, p.host[l] + 4 * k, 4);
        ((uint32_t *)to)[l] = x;
      }
      continue;
    }
    const int spare = 64 - 8 * each;
    EACH_IN(m) {
      uint64_t x = p.host[l] ? get_bytes(p.host[l] + each * k, each) : UINT64_MAX;
      x = i->a[10] ? (uint64_t)((int64_t)(x << spare) >> spare) : x << spare >> spare;
      put_lane(to, width, l, x);
    }
  }
}

static void store(Run *run, Warp *w, const Op *i, uint32_t m) {
  const int each = i->a[8], n = i->a[9], size = each * n, width = i->a[11];
  Places p;
  locate_all(run, w, i, m, 4, i->a[7], size, 1, &p);
  if (run->launch->check) {
    EACH_IN(m) check_lane(run, w, i, l, &p, size, WRITE);
    count(run, i, &p, m, size);
  } else {
    mark_written(run, m, &p, size);
  }
  for (int k = 0; k < n; k++) {
    const void *from = reg(w, i->a[k]);
    EACH_IN(m) {
      if (!p.host[l]) continue;
      const uint64_t x = get_lane(from, width, l);
      memcpy(p.host[l] + each * k, &x, (size_t)each);
    }
  }
}

enum atomic { ADD, MIN, MAX, AND, OR, XOR, EXCH, CAS, INC, DEC }; /* as in decode.py */

static uint64_t combine_halves(int op, int bfloat, int n, uint64_t old, uint64_t x) {
  uint64_t result = 0;
  for (int k = 0; k < n; k++) {
    const float a = half_value((uint16_t)(old >> 16 * k), bfloat), b = half_value((uint16_t)(x >> 16 * k), bfloat);
    const double y = op == ADD ? (double)a + b : op == MIN ? fmin(a, b) : fmax(a, b);
    result |= (uint64_t)half_bits(y, bfloat) << 16 * k;
  }
  return result;
}

static uint64_t combine(int op, int type, uint64_t old, uint64_t x, uint64_t y) {
  switch (op) {
    case ADD:
      if (type == F32) return bits_of(float_of((uint32_t)old) + float_of((uint32_t)x));
      if (type == F64) return bits_of64(double_of(old) + double_of(x));
      return old + x;
    case MIN:
    case MAX: {
      const int less = type == S32   ? (int32_t)old < (int32_t)x
                       : type == S64 ? (int64_t)old < (int64_t)x
                                     : old < x;
      return (op == MIN) == less ? old : x;
    }
    case AND: return old & x;
    case OR: return old | x;
    case XOR: return old ^ x;
    case EXCH: return x;
    case CAS: return old == x ? y : old;
    case INC: return old >= x ? 0 : old + 1;
    default: return old == 0 || old > x ? x : old - 1;
  }
}

/* a: result 0 or -1, value 1, second value 2, address 4 5 6, space 7, bytes 8, number 9, operation 10, register
 * bytes 11, halves in the word 12 */
static void atom(Run *run, Warp *w, const Op *i, uint32_t m) {
  const int size = i->a[8], width = i->a[11], type = i->a[9], op = i->a[10];
  Places p;
  locate_all(run, w, i, m, 4, i->a[7], size, 1, &p);
  if (run->launch->check) {
    EACH_IN(m) check_lane(run, w, i, l, &p, size, UPDATE);
    count(run, i, &p, m, size);
  } else {
    mark_written(run, m, &p, size);
  }
  EACH_IN(m) {
    uint64_t old = UINT64_MAX;
    if (p.host[l]) {
      old = get_bytes(p.host[l], size);
      const uint64_t x = get_lane(reg(w, i->a[1]), width, l), y = get_lane(reg(w, i->a[2]), width, l);
      const uint64_t made = i->a[12] ? combine_halves(op, type == BF16, i->a[12], old, x)
                                     : combine(op, type, old, size == 2 ? x & 0xffff : x, y);
      memcpy(p.host[l], &made, (size_t)size);
    }
    if (i->a[0] >= 0) put_lane(reg(w, i->a[0]), width, l, old);
  }
}

/* ---- cp.async: what is read and written is so at the wait, as late as PTX allows ---- */

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
  if (run->launch->check) count(run, i, &from, m, size);
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
