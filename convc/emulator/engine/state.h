/* What a launch is made of. Structures marked (shared) are laid out alike in launch.py. */
#pragma once

#include <stdint.h>

#include "lanes.h"

/* (shared) One operation of the bytecode. `a` holds registers, as multiples of 128 bytes, and numbers. */
typedef struct {
  int32_t op, guard, flags, counted; /* guard: 0, or the predicate + 1, negative where it is negated */
  int32_t a[16];
} Op;

enum { FLAG_FLUSH = 1, FLAG_SATURATE = 2, FLAG_ROUNDING = 4 }; /* as in decode.py; rounding: flags >> 4 */

/* (shared) Bytes that addresses may lead to, and their shadow. */
typedef struct {
  uint8_t *data;
  uint64_t bytes;
  uint8_t *initialised; /* one for each byte, or null: all is */
  uint64_t shadow;      /* where its first byte has its place among all bytes that have a shadow */
  int32_t writable, checked;
} Buffer;

/* (shared) A number that registers hold from the start, in every lane. */
typedef struct {
  uint64_t value;
  int32_t unit, width;
} Constant;

/* (shared) What a report is about. As in report.py. */
enum kind {
  RACE_WRITE_WRITE, RACE_READ_WRITE, RACE_WRITE_READ, BLOCKS_WRITE_WRITE, BLOCKS_READ_WRITE, BLOCKS_WRITE_READ,
  UNINITIALISED_SHARED, UNINITIALISED_GLOBAL, OUT_OF_BOUNDS, READ_ONLY, MISALIGNED, BARRIER_MISSING, BARRIER_DIVERGENT,
  DEADLOCK, COPY_READ, COPY_OVERWRITTEN, COPY_NEVER_WAITED, WARP_SYNC, TRAP, BUDGET, BAD_BRANCH
};
typedef struct {
  int32_t kind, op, other_op, space; /* space: a buffer's number, or one of enum space */
  uint64_t offset;
  int64_t count;
  int64_t block, other_block; /* other_op < 0: there is no other access */
  int32_t thread, other_thread, size, unused;
} Report;

enum space { SHARED = -1, LOCAL = -2, NOWHERE = -3 };

/* (shared) Of one memory operation: warp-wide requests, 32-byte sectors or passes over the banks, and the least of
 * these that could do. */
typedef struct {
  int64_t requests, moved, ideal, lanes;
} Counter;

#define CAPACITY 512 /* of reports: (shared) */

/* (shared) */
typedef struct {
  const Op *code;
  const Constant *constants;
  Buffer *buffers;
  Counter *counters;
  Report *reports;
  int64_t warp_instructions, lane_instructions, budget, dropped_reports;
  int32_t ops, n_constants, n_buffers, n_variables, n_reports, units, predicates, check;
  uint64_t shadow_bytes;
  int32_t grid[3], block[3];
  int32_t shared_bytes, dynamic_bytes, local_bytes, grain; /* grain: log2 of the bytes of a shadow cell */
} Launch;

/* 1 TiB windows, one a buffer, from number 1; module variables lie far above the arguments. As in decode.py. */
enum { WINDOW = 40, VARIABLES = 4096, SHARED_WINDOW = 8189, LOCAL_WINDOW = 8190 };
#define MIDDLE (1ull << 39)

/* Registers that hold the special ones, in this order from unit 0. As in decode.py. */
enum special {
  TID, NTID = 3, CTAID = 6, NCTAID = 9, LANEID = 12, WARPID, NWARPID, LANEMASK_EQ, LANEMASK_LE, LANEMASK_LT,
  LANEMASK_GE, LANEMASK_GT, DYNAMIC_BYTES, TOTAL_BYTES, ZERO, SPECIAL_UNITS = 24
};

typedef struct Cell {
  uint64_t write, read[2];
} Cell;

typedef struct {
  uint32_t lane, group;
  uint32_t target; /* offset in shared memory */
  int32_t op, size, from_bytes;
  int32_t buffer;
  uint64_t offset;
  const uint8_t *source;
} Copy;

enum lane_state { RUNS, AT_BARRIER, AT_WARP_SYNC, GONE };

typedef struct {
  uint8_t *registers;
  uint32_t *predicates;
  uint8_t *local;
  int32_t number;
  uint32_t there;  /* lanes that the block has */
  uint32_t live;   /* and that have not exited */
  uint32_t runs, at_barrier, at_sync;
  int32_t pc[LANES]; /* of the lanes that are not of the group that runs; where an exited lane left */
  int32_t barrier[LANES];
  uint32_t awaited[LANES]; /* the member mask of a lane that waits for others of its warp */
  uint32_t known[LANES][LANES]; /* known[t][u]: what u did before this time happened before what t does now */
  uint32_t groups[LANES];       /* cp.async groups that a lane has committed */
  Copy *copies;
  int32_t n_copies, room;
  int64_t executed;
} Warp;

typedef struct {
  int32_t arrived, expected, trues; /* threads; trues: of bar.red */
  uint32_t since[LANES];            /* time at which each warp arrived, 0: it did not */
} Barrier;

typedef struct {
  Launch *launch;
  Warp *warps;
  int32_t n_warps, threads, failed;
  int64_t block; /* number of the block that runs */
  uint32_t time, block_start, barrier_time;
  uint32_t *starts;  /* time at which each block started */
  uint32_t *between; /* [warp][warp]: like known, through barriers that a part of the block shares */
  uint8_t *shared;
  Cell *shared_cells;
  Cell *cells; /* of all buffers */
  Barrier barriers[16];
} Run;

INLINE uint64_t record(const Run *run, const Warp *w, int op, uint32_t lane) {
  return (uint64_t)run->time << 32 | (uint64_t)op << 10 | (uint64_t)(w->number * LANES) | lane;
}
#define IN_FLIGHT (1ull << 31) /* a copy that has not landed */
#define ATOMIC (1ull << 30)
INLINE uint32_t time_of(uint64_t r) { return (uint32_t)(r >> 32); }
INLINE int thread_of(uint64_t r) { return (int)(r & 1023); }
INLINE int op_of(uint64_t r) { return (int)(r >> 10 & 0xfffff); }
