/* Runs a program's step as its Python runtime does, with every array in an allocation of its own.
 *
 *   driver LIBRARY ENTRY FILE RESULTS
 *
 * FILE holds, in 8-byte integers of this machine: the number of inputs, outputs, stores and scalars, the arena's
 * bytes, the number of runs. For each run: rows, threads, by how many bytes inputs and outputs are off a 16-byte
 * boundary, the number of gaps in the arena; begin and end of each gap; the sizes in bytes of all inputs, outputs
 * and stores; then the scalars (4 bytes each) and the bytes of inputs and stores. RESULTS gets the bytes of outputs
 * and stores, run by run. The arena and the outputs are filled with NaN before each run; gaps must not be touched. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, size) ((void)(start), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(start, size) ((void)(start), (void)(size))
#endif

typedef void (*convc_body)(void *ctx, int thread, int threads, void (*barrier)(void));
void convc_pool_run(convc_body body, void *ctx, int threads);

typedef struct { /* as in convc.h */
    void *const *inputs;
    void *const *outputs;
    void *const *stores;
    const int32_t *scalars;
    char *arena;
    int64_t rows;
} convc_call;

enum { BOUNDARY = 64 }; /* of the arena and of stores */

typedef struct {
    int64_t count;
    int64_t *sizes;
    char **whole;   /* what was allocated */
    void **arrays;  /* what the program gets */
} group;

static void fail(const char *what)
{
    fprintf(stderr, "driver: %s\n", what);
    exit(2);
}

static void take(void *to, int64_t bytes, FILE *file)
{
    if (bytes && fread(to, 1, bytes, file) != (size_t)bytes) fail("the file ends too early");
}

static int64_t number(FILE *file)
{
    int64_t n;
    take(&n, sizeof n, file);
    return n;
}

static group sized(int64_t count, FILE *file)
{
    group g = {count, malloc(count * sizeof(int64_t)), calloc(count, sizeof(char *)), calloc(count, sizeof(void *))};
    take(g.sizes, count * sizeof(int64_t), file);
    return g;
}

/* Each array at the end of an allocation of its own: what lies behind its last byte is the sanitizer's. */
static void allocate(group *g, int64_t skew, int64_t boundary)
{
    for (int64_t i = 0; i < g->count; i++) {
        void *whole;
        if (posix_memalign(&whole, boundary, skew + g->sizes[i])) fail("out of memory");
        memset(whole, 0xff, skew + g->sizes[i]);
        g->whole[i] = whole;
        g->arrays[i] = g->whole[i] + skew;
    }
}

static void fill(group *g, FILE *file)
{
    for (int64_t i = 0; i < g->count; i++) take(g->arrays[i], g->sizes[i], file);
}

static void hand_on(group *g, FILE *results)
{
    for (int64_t i = 0; results && i < g->count; i++)
        if (fwrite(g->arrays[i], 1, g->sizes[i], results) != (size_t)g->sizes[i]) fail("cannot write the results");
    for (int64_t i = 0; i < g->count; i++) free(g->whole[i]);
    free(g->sizes), free(g->whole), free(g->arrays);
}

int main(int argc, char **argv)
{
    if (argc != 5) fail("LIBRARY ENTRY FILE RESULTS");
    void *library = dlopen(argv[1], RTLD_NOW);
    if (!library) fail(dlerror());
    convc_body step = (convc_body)dlsym(library, argv[2]);
    if (!step) fail("the library has no such entry");
    FILE *file = fopen(argv[3], "rb"), *results = fopen(argv[4], "wb");
    if (!file || !results) fail("cannot open the files");

    const int64_t inputs = number(file), outputs = number(file), stores = number(file), scalars = number(file);
    const int64_t arena_bytes = number(file), runs = number(file);
    void *arena;
    if (posix_memalign(&arena, BOUNDARY, arena_bytes)) fail("out of memory");
    for (int64_t run = 0; run < runs; run++) {
        const int64_t rows = number(file), threads = number(file), skew = number(file), gaps = number(file);
        memset(arena, 0xff, arena_bytes);
        int64_t (*gap)[2] = malloc(gaps * sizeof *gap);
        take(gap, gaps * sizeof *gap, file);
        for (int64_t i = 0; i < gaps; i++) ASAN_POISON_MEMORY_REGION((char *)arena + gap[i][0], gap[i][1] - gap[i][0]);
        group in = sized(inputs, file), out = sized(outputs, file), kept = sized(stores, file);
        allocate(&in, skew, 16), allocate(&out, skew, 16), allocate(&kept, 0, BOUNDARY);
        int32_t *numbers = malloc(scalars * sizeof *numbers);
        take(numbers, scalars * sizeof *numbers, file);
        fill(&in, file), fill(&kept, file);

        convc_call call = {in.arrays, out.arrays, kept.arrays, numbers, arena, rows};
        convc_pool_run(step, &call, (int)threads);

        ASAN_UNPOISON_MEMORY_REGION(arena, arena_bytes);
        hand_on(&in, NULL), hand_on(&out, results), hand_on(&kept, results);
        free(numbers), free(gap);
    }
    free(arena);
    if (fclose(results)) fail("cannot write the results");
    fclose(file);
    return 0;
}
