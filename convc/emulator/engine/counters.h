/* What memory accesses cost: sectors of global memory, passes over the banks of shared memory. */
#pragma once

#include "places.h"

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

/* `end`: 0, or 1 for the place that a copy writes, which has a counter of its own. */
static void count(Run *run, const Op *i, int end, const Places *p, uint32_t m, int size) {
  if (!i->counted || !m) return;
  Counter *counter = &run->launch->counters[i - run->launch->code + (end ? run->launch->ops : 0)];
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
