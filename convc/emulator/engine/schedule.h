/* Which lanes of a warp run next, and the loop over instructions. */
#pragma once

#include "barriers.h"
#include "copies.h"

/* Do all lanes that the instruction names take part? `m`, those that came, grows by those that waited for them. */
static int meet(Run *run, Warp *w, const Op *i, uint32_t *m, int pc) {
  const int members_at = i->op == OP_warp_sync ? 0 : 6;
  const int all = i->op == OP_mma || i->op == OP_ldmatrix; /* aligned: the whole warp */
  const uint32_t *members = reg(w, all ? 0 : i->a[members_at]);
  const uint32_t lane = (uint32_t)__builtin_ctz(*m), named = all ? FULL : members[lane];
  EACH_IN(all ? 0 : *m) if (members[l] != named || !(named >> l & 1)) wrong_lanes(run, w, i, l);
  uint32_t waited = 0;
  EACH_IN(w->at_sync)
    if (w->awaited[l] == named &&
        (w->pc[l] == pc || (i->op == OP_warp_sync && run->launch->code[w->pc[l]].op == i->op)))
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
        put32(reg(w, i->a[0]),
              choose32(lanes32(predicate(w, i->a[3])), get_u32(reg(w, i->a[1])), get_u32(reg(w, i->a[2]))), wide);
        break;
      case OP_selp_b64:
        put64(reg(w, i->a[0]),
              choose64(lanes64(predicate(w, i->a[3])), get_u64(reg(w, i->a[1])), get_u64(reg(w, i->a[2]))), wide);
        break;
      case OP_logic_pred: /* a: result 0, operands 1 2, logic 3, complement 4 */
        put_predicate(w, i->a[0], wide,
                      logic(i->a[3], predicate(w, i->a[1]), i->a[3] ? predicate(w, i->a[2]) : 0) ^
                          (i->a[4] ? FULL : 0));
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
        if (i->a[2] == BARRIER_ARRIVE) goto regroup;
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
