/* The order in which an epoch visits n images: the stable argsort of the first n 64-bit words of Philox4x64-10 under
 * the key (seed, epoch), whose counter is that of NumPy: 1, 2, 3, ... It is that of convc.data.epoch_order.
 *
 * Source: Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011. */
#include <stdlib.h>
#include "run.h"

typedef struct {
    uint64_t word;
    uint32_t image;
} draw;

/* The high half of the product of 64 bits; the low half goes to *low. */
static uint64_t multiply(uint64_t a, uint64_t b, uint64_t *low)
{
    const unsigned __int128 product = (unsigned __int128)a * b;
    *low = (uint64_t)product;
    return (uint64_t)(product >> 64);
}

/* The four words of one counter. */
static void philox4x64(uint64_t words[4], uint64_t counter, uint64_t seed, uint64_t epoch)
{
    uint64_t c[4] = {counter, 0, 0, 0};
    for (int round = 0; round < 10; ++round) {
        uint64_t low0, low2;
        const uint64_t high0 = multiply(c[0], 0xd2e7470ee14c6c93u, &low0);
        const uint64_t high2 = multiply(c[2], 0xca5a826395121157u, &low2);
        c[0] = high2 ^ c[1] ^ seed, c[1] = low2;
        c[2] = high0 ^ c[3] ^ epoch, c[3] = low0;
        seed += 0x9e3779b97f4a7c15u, epoch += 0xbb67ae8584caa73bu;
    }
    for (int i = 0; i < 4; ++i)
        words[i] = c[i];
}

static int by_word(const void *one, const void *other)
{
    const draw *a = one, *b = other;
    if (a->word != b->word)
        return a->word < b->word ? -1 : 1;
    return a->image < b->image ? -1 : a->image > b->image;
}

void epoch_order(uint32_t *order, size_t n, uint64_t seed, uint64_t epoch)
{
    draw *draws = room(n * sizeof *draws);
    uint64_t words[4];
    for (size_t i = 0; i < n; ++i) {
        if (i % 4 == 0)
            philox4x64(words, i / 4 + 1, seed, epoch);
        draws[i] = (draw){words[i % 4], (uint32_t)i};
    }
    qsort(draws, n, sizeof *draws, by_word);
    for (size_t i = 0; i < n; ++i)
        order[i] = draws[i].image;
    free(draws);
}
