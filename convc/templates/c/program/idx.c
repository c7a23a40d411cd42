/* IDX, the format of MNIST: two zero bytes, the type of an element (8: one byte), the number of dimensions, each
 * dimension as a big-endian 32-bit number, then the elements, the last dimension running fastest.
 *
 * Images of one channel are [N, H, W], others [N, C, H, W]; labels are [N]. */
#include <stdio.h>
#include <stdlib.h>
#include "run.h"

static uint32_t big_endian(const uint8_t *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

idx_file read_idx(const char *path, size_t size)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        fail("cannot read %s: start the program in its folder, or name another file", path);
    uint8_t head[4], dimension[4];
    if (fread(head, 1, 4, file) != 4)
        fail("%s is no IDX file: it has fewer than 4 bytes", path);
    if (head[0] == 0x1f && head[1] == 0x8b)
        fail("%s is packed: gunzip it first", path);
    if (head[0] || head[1] || head[2] != 8 || head[3] < 1)
        fail("%s is no IDX file of bytes: it begins with %02x%02x%02x%02x", path, head[0], head[1], head[2], head[3]);
    idx_file found = {0, 1, NULL};
    for (int i = 0; i < head[3]; ++i) {
        if (fread(dimension, 1, 4, file) != 4)
            fail("%s ends within its header", path);
        if (i == 0)
            found.count = big_endian(dimension);
        else if (__builtin_mul_overflow(found.size, (size_t)big_endian(dimension), &found.size))
            fail("%s has items larger than memory", path);
    }
    if (found.size != size)
        fail("%s has items of %zu bytes, and this program takes %zu", path, found.size, size);
    if (!found.count)
        fail("%s has no items", path);
    size_t bytes = found.count * size; /* fewer than 2^32 items, and what one has fits memory */
    found.bytes = malloc(bytes);
    if (!found.bytes)
        fail("there is no memory for the %zu bytes of %s", bytes, path);
    if (fread(found.bytes, 1, bytes, file) != bytes || fgetc(file) != EOF)
        fail("%s has not the %zu items that its header says", path, found.count);
    fclose(file);
    return found;
}
