/* Which lanes run next; barriers; the loop over instructions. */
#pragma once

#include <sys/mman.h>

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

/* ---- barriers ---- */

enum { BARRIER_WAIT, BARRIER_ARRIVE, BARRIER_POPC, BARRIER_AND, BARRIER_OR }; /* as in decode.py */

static void release(Run *run, int id) {
  Barrier *b = &run->barriers[id];
  uint8_t waits[LANES] = {0};
  uint64_t first = 0;
  for (int k = 0; k < run->n_warps; k++) {
    Warp *w = &run->warps[k];
    uint32_t here = 0;
    EACH_IN(w->at_barrier) here |= (uint32_t)(w->barrier[l] == id) << l;
    waits[k] = here != 0;
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
  if (b->expected == run->threads) synchronise_block(run);
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
  if (b->arrived >= b->expected) release(run, id);
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
    release(run, id);
    return 1;
  }
  for (int k = 0; k < run->n_warps && !lanes_wait; k++)
    EACH_IN(run->warps[k].at_barrier)
      report(run, DEADLOCK, run->warps[k].pc[l], k * LANES + (int)l, left, NOWHERE, 0, 0);
  fail_block(run);
  return 0;
}

/* ---- a warp ---- */

/* Do all lanes that the instruction names take part? `m`, those that came, grows by those that waited for them. */
static int meet(Run *run, Warp *w, const Op *i, uint32_t *m, int pc) {
  const int members_at = i->op == OP_warp_sync ? 0 : 6;
  const int all = i->op == OP_mma || i->op == OP_ldmatrix; /* aligned: the whole warp */
  const uint32_t *members = reg(w, all ? 0 : i->a[members_at]);
  const uint32_t lane = (uint32_t)__builtin_ctz(*m), named = all ? FULL : members[lane];
  EACH_IN(all ? 0 : *m) if (members[l] != named || !(named >> l & 1)) wrong_lanes(run, w, i, l);
  uint32_t waited = 0;
  EACH_IN(w->at_sync)
    if (w->awaited[l] == named && (w->pc[l] == pc || (i->op == OP_warp_sync && run->launch->code[w->pc[l]].op == i->op)))
      waited |= 1u << l;
  if (!(named & w->live & ~(*m | waited))) {
    w->at_sync &= ~waited;
    w->runs |= waited;
    EACH_IN(waited) {
      if (w->pc[l] == pc) *m |= 1u << l;
      else w->pc[l]++;
    }
    if (i->op == OP_warp_sync) synchronise_lanes(run, w, *m | waited);
    return 1;
  }
  w->runs &= ~*m;
  w->at_sync |= *m;
  EACH_IN(*m) w->pc[l] = pc, w->awaited[l] = named;
  return 0;
}

/* The lanes that are furthest behind run, until they reach the next ones. */
static uint32_t next_group(const Warp *w, int *pc, int *others) {
  int least = INT32_MAX;
  uint32_t group = 0;
  EACH_IN(w->runs) if (w->pc[l] < least) least = w->pc[l];
  *others = INT32_MAX;
  EACH_IN(w->runs) {
    if (w->pc[l] == least) group |= 1u << l;
    else if (w->pc[l] < *others) *others = w->pc[l];
  }
  *pc = least;
  return group;
}

static void leave(Run *run, Warp *w, uint32_t m, int pc) {
  EACH_IN(m) w->pc[l] = pc;
  w->live &= ~m;
  w->runs &= ~m;
  w->runs |= w->at_sync; /* they look again whom they wait for */
  w->at_sync = 0;
  if (w->n_copies) forget_copies(run, w, m);
}

static void run_warp(Run *run, Warp *w) {
  const Launch *launch = run->launch;
  int pc, others;
  uint32_t group;
  int64_t executed = 0, lanes = 0;
regroup:
  if (!w->runs) goto done;
  group = next_group(w, &pc, &others);
  for (;;) {
    if (pc >= others) {
      EACH_IN(group) w->pc[l] = pc;
      goto regroup;
    }
    const Op *const i = &launch->code[pc];
    uint32_t m = group;
    if (i->guard) m &= predicate(w, i->guard);
    executed++;
    lanes += __builtin_popcount(group);
    if (w->executed + executed > launch->budget) {
      report(run, BUDGET, pc, w->number * LANES + __builtin_ctz(group), 0, NOWHERE, 0, 0);
      fail_launch(run);
      goto done;
    }
    if (!m) {
      pc++;
      continue;
    }
    /* What an exited lane's register holds matters to nobody, so a whole register is written where it can be. */
    const uint32_t wide = m | ~w->live;
    if (i->flags & FLAG_ROUNDING) fesetround(MODES[i->flags >> 4]);
    switch (i->op) {
#define OP(name, ...) case OP_##name: do_##name(w, i, wide); break;
#define LANE OP
#define FLOAT OP
#define FLOAT_LANE OP
#define HALF OP
#define HALF_BITS OP
#include "ops.h"
      case OP_setp_u16: do_setp_u16(w, i, wide); break;
      case OP_setp_s16: do_setp_s16(w, i, wide); break;
      case OP_setp_u32: do_setp_u32(w, i, wide); break;
      case OP_setp_s32: do_setp_s32(w, i, wide); break;
      case OP_setp_f32: do_setp_f32(w, i, wide); break;
      case OP_setp_u64: do_setp_u64(w, i, wide); break;
      case OP_setp_s64: do_setp_s64(w, i, wide); break;
      case OP_setp_f64: do_setp_f64(w, i, wide); break;
      case OP_selp_b32: /* a: result 0, operands 1 2, predicate 3 */
        put32(reg(w, i->a[0]), choose32(lanes32(predicate(w, i->a[3])), get_u32(reg(w, i->a[1])), get_u32(reg(w, i->a[2]))),
              wide);
        break;
      case OP_selp_b64:
        put64(reg(w, i->a[0]), choose64(lanes64(predicate(w, i->a[3])), get_u64(reg(w, i->a[1])), get_u64(reg(w, i->a[2]))),
              wide);
        break;
      case OP_logic_pred: /* a: result 0, operands 1 2, logic 3, complement 4 */
        put_predicate(w, i->a[0], wide,
                      logic(i->a[3], predicate(w, i->a[1]), i->a[3] ? predicate(w, i->a[2]) : 0) ^ (i->a[4] ? FULL : 0));
        break;
      case OP_testp_f32: testp(w, i, m, 4); break;
      case OP_testp_f64: testp(w, i, m, 8); break;
      case OP_nop: break;
      case OP_cvt: cvt(w, i, m); break;
      case OP_cvt_pair: cvt_pair(w, i, m); break;
      case OP_lop3: lop3(w, i, wide); break;
      case OP_add_carry: add_carry(w, i, m); break;
      case OP_pack: pack(w, i, m); break;
      case OP_unpack: unpack(w, i, m); break;
      case OP_load: load(run, w, i, m); break;
      case OP_store: store(run, w, i, m); break;
      case OP_atom: atom(run, w, i, m); break;
      case OP_to_generic: change_space(w, i, m, 1); break;
      case OP_from_generic: change_space(w, i, m, 0); break;
      case OP_is_space: is_space(w, i, m); break;
      case OP_copy_async: copy_async(run, w, i, m); break;
      case OP_commit_group: EACH_IN(m) w->groups[l]++; break;
      case OP_wait_group: wait_group(run, w, i, m); break;
      case OP_activemask: put32(reg(w, i->a[0]), (u32v){} + m, m); break;
      case OP_shfl:
      case OP_vote:
      case OP_match:
      case OP_redux:
      case OP_ldmatrix:
      case OP_mma:
      case OP_warp_sync: {
        const uint32_t came = m;
        if (!meet(run, w, i, &m, pc)) {
          EACH_IN(group & ~came) w->pc[l] = pc + 1;
          goto regroup;
        }
        group |= m;
        if (i->op == OP_shfl) shuffle(run, w, i, m);
        if (i->op == OP_vote) vote(w, i, m);
        if (i->op == OP_match) match(w, i, m);
        if (i->op == OP_redux) reduce(w, i, m);
        if (i->op == OP_ldmatrix) ldmatrix(run, w, i, m);
        if (i->op == OP_mma) mma(run, w, i, m);
        if (w->runs & ~group) { /* those that waited elsewhere run again */
          EACH_IN(group) w->pc[l] = pc + 1;
          goto regroup;
        }
        break;
      }
      case OP_barrier:
        EACH_IN(group) w->pc[l] = pc + 1;
        arrive(run, w, i, m, pc);
        goto done; /* the warps then go on in their order */
      case OP_brx: { /* a: register 0; the table follows in ops of kind nop: a[0] is the place */
        const uint32_t *choice = reg(w, i->a[0]);
        EACH_IN(group) w->pc[l] = pc + 1 + i->a[1];
        EACH_IN(m) {
          if (choice[l] < (uint32_t)i->a[1]) w->pc[l] = launch->code[pc + 1 + (int)choice[l]].a[0];
          else report(run, BAD_BRANCH, pc, w->number * LANES + (int)l, 0, NOWHERE, choice[l], 0);
        }
        goto regroup;
      }
      case OP_bra: /* a: where to 0 */
        if (m == group) {
          pc = i->a[0];
          continue;
        }
        EACH_IN(group) w->pc[l] = pc + 1;
        EACH_IN(m) w->pc[l] = i->a[0];
        goto regroup;
      case OP_exit:
        EACH_IN(group) w->pc[l] = pc + 1;
        leave(run, w, m, pc);
        goto regroup;
      case OP_trap:
        report(run, TRAP, pc, w->number * LANES + __builtin_ctz(m), 0, NOWHERE, 0, 0);
        fail_launch(run);
        goto done;
    }
    if (i->flags & FLAG_ROUNDING) fesetround(FE_TONEAREST);
    pc++;
  }
done:
  w->executed += executed;
  run->launch->warp_instructions += executed;
  run->launch->lane_instructions += lanes;
}

/* ---- blocks and grids ---- */

static void fill(Warp *w, int unit, uint32_t value) { EACH_LANE((uint32_t *)reg(w, unit))[l] = value; }

static void set_up_warp(const Run *run, Warp *w) {
  const Launch *launch = run->launch;
  const uint32_t *block = (const uint32_t *)launch->block;
  uint32_t *tid = reg(w, TID);
  w->there = 0;
  EACH_LANE {
    const uint32_t t = (uint32_t)(w->number * LANES + l);
    tid[l] = t % block[0], tid[LANES + l] = t / block[0] % block[1], tid[2 * LANES + l] = t / block[0] / block[1];
    ((uint32_t *)reg(w, LANEID))[l] = (uint32_t)l;
    ((uint32_t *)reg(w, LANEMASK_EQ))[l] = 1u << l;
    ((uint32_t *)reg(w, LANEMASK_LT))[l] = (1u << l) - 1;
    ((uint32_t *)reg(w, LANEMASK_LE))[l] = 2 * (1u << l) - 1;
    ((uint32_t *)reg(w, LANEMASK_GE))[l] = FULL << l;
    ((uint32_t *)reg(w, LANEMASK_GT))[l] = FULL << l << 1;
    if (t < (uint32_t)run->threads) w->there |= 1u << l;
  }
  for (int k = 0; k < 3; k++) fill(w, NTID + k, block[k]), fill(w, NCTAID + k, (uint32_t)launch->grid[k]);
  fill(w, WARPID, (uint32_t)w->number);
  fill(w, NWARPID, (uint32_t)run->n_warps);
  fill(w, DYNAMIC_BYTES, (uint32_t)launch->dynamic_bytes);
  fill(w, TOTAL_BYTES, (uint32_t)launch->shared_bytes);
  fill(w, ZERO, 0), fill(w, ZERO + 1, 0);
  w->predicates[1] = FULL;
  for (int k = 0; k < launch->n_constants; k++) {
    const Constant *c = &launch->constants[k];
    EACH_LANE put_lane(reg(w, c->unit), c->width, (uint32_t)l, c->value);
  }
}

static void run_block(Run *run) {
  const Launch *launch = run->launch;
  const int64_t x = launch->grid[0], y = launch->grid[1];
  run->block_start = run->starts[run->block] = run->barrier_time = ++run->time;
  memset(run->shared, 0xff, (size_t)launch->shared_bytes); /* NaN: what nobody wrote shows */
  memset(run->barriers, 0, sizeof run->barriers);
  for (int k = 0; k < run->n_warps; k++) {
    Warp *w = &run->warps[k];
    w->live = w->runs = w->there;
    w->at_barrier = w->at_sync = 0;
    w->executed = w->n_copies = 0;
    memset(w->pc, 0, sizeof w->pc);
    memset(w->groups, 0, sizeof w->groups);
    memset(w->local, 0xff, (size_t)launch->local_bytes * LANES);
    fill(w, CTAID, (uint32_t)(run->block % x));
    fill(w, CTAID + 1, (uint32_t)(run->block / x % y));
    fill(w, CTAID + 2, (uint32_t)(run->block / x / y));
  }
  do {
    for (int more = 1; more;) {
      more = 0;
      for (int k = 0; k < run->n_warps; k++)
        if (run->warps[k].runs) run_warp(run, &run->warps[k]), more = 1;
    }
  } while (unblock(run));
}

/* Zeros at a multiple of 64 bytes, or null. */
static void *zeros(uint64_t bytes) {
  const uint64_t size = bytes + 192;
  char *p = calloc(1, size);
  if (!p) return NULL;
  char *aligned = (char *)(((uintptr_t)p + 64 + 63) & ~(uintptr_t)63);
  ((void **)aligned)[-1] = p;
  return aligned;
}
static void drop(void *p) {
  if (p) free(((void **)p)[-1]);
}

/* The shadow of all buffers: mapped, for most of it is never touched, and costs nothing then. */
static void *map_zeros(uint64_t bytes) {
  void *p = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return p == MAP_FAILED ? NULL : p;
}

/* Returns 0, or 1 where there is not enough memory. */
int convc_emulate(Launch *launch) {
  Run run = {.launch = launch, .threads = launch->block[0] * launch->block[1] * launch->block[2]};
  const int64_t blocks = (int64_t)launch->grid[0] * launch->grid[1] * launch->grid[2];
  run.n_warps = (run.threads + LANES - 1) / LANES;
  const uint64_t n = (uint64_t)run.n_warps;
  run.warps = zeros(n * sizeof(Warp));
  run.starts = zeros((uint64_t)blocks * sizeof *run.starts);
  run.between = zeros(n * n * sizeof *run.between);
  run.shared = zeros((uint64_t)launch->shared_bytes);
  const uint64_t grain = launch->check ? (uint64_t)launch->grain : 63;
  run.shared_cells = zeros((((uint64_t)launch->shared_bytes >> grain) + 1) * sizeof(Cell));
  const uint64_t shadow = ((launch->shadow_bytes >> grain) + 1) * sizeof(Cell);
  run.cells = map_zeros(shadow);
  int failed = !run.warps || !run.starts || !run.between || !run.shared || !run.shared_cells || !run.cells;
  for (int k = 0; k < run.n_warps && !failed; k++) {
    Warp *w = &run.warps[k];
    w->number = k;
    w->registers = zeros((uint64_t)launch->units * 128);
    w->predicates = zeros((uint64_t)launch->predicates * 4);
    w->local = zeros((uint64_t)launch->local_bytes * LANES);
    failed = !w->registers || !w->predicates || !w->local;
    if (!failed) set_up_warp(&run, w);
  }
  for (run.block = 0; run.block < blocks && !failed && !run.failed; run.block++) run_block(&run);
  for (int k = 0; k < run.n_warps && run.warps; k++) {
    Warp *w = &run.warps[k];
    drop(w->registers), drop(w->predicates), drop(w->local), free(w->copies);
  }
  drop(run.warps), drop(run.starts), drop(run.between), drop(run.shared), drop(run.shared_cells);
  if (run.cells) munmap(run.cells, (size_t)shadow);
  return failed;
}
