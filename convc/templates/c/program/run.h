/* What the parts of this program share: files, tensors, the order of the images. */
#ifndef RUN_H
#define RUN_H
#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "weights are little-endian, and so must be the machine"
#endif

/* What one run of the program needs for a parameter, or for what the update rule keeps of it. */
typedef struct {
    const char *name;  /* as a weights file writes it; NULL: in no file, zeros at first */
    const char *shape; /* likewise: "[6,1,5,5]" */
    size_t elements;   /* of 4 bytes each */
    void *data;
} tensor;

/* The items of an IDX file, one after the other. */
typedef struct {
    size_t count, size; /* items, and bytes of each */
    uint8_t *bytes;
} idx_file;

/* One line on standard error, and exit status 1. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Zeros, on a boundary of 64 bytes. */
void *room(size_t bytes);

/* idx.c: all items must have `size` bytes. */
idx_file read_idx(const char *path, size_t size);

/* weights.c: safetensors, every tensor float32 and finite. */
void load_weights(const char *path, const tensor *tensors, int count);
void save_weights(const char *path, const tensor *tensors, int count);

/* order.c: which image comes when, a permutation of 0 .. n-1. */
void epoch_order(uint32_t *order, size_t n, uint64_t seed, uint64_t epoch);

/* pool.c: body(context, thread, threads, barrier) on that many threads. */
void convc_pool_run(void (*body)(void *, int, int, void (*)(void)), void *context, int threads);

#endif
