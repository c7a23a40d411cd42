/* A block, warp after warp; a grid, block after block. */
#pragma once

#include <sys/mman.h>

#include "schedule.h"

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
