/* case: 1 kernels in 1 launches, one after the other on one stream;
 * 0 bytes of intermediates in one arena. Every grid is planned for the full batch; the
 * batch rows of a run are read from device memory.
 *
 *   1. fc1_fprop_leaky_relu_dropout_f32_8x32x16<<<3, 128>>>
 */

#define UNROLL _Pragma("unroll")
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
#ifndef NAN
#define NAN __int_as_float(0x7fffffff)
#endif

/* Uniform in [0, 1): the top 24 bits of word 0 of Philox4x32-10 (Salmon et al., 2011), whose counter is
 * (index, step, 0) and whose key is (seed, stream). */
static __device__ float philox_uniform(const unsigned long long index, unsigned stream, unsigned seed,
        const unsigned step)
{
    unsigned c0 = (unsigned)index, c1 = (unsigned)(index >> 32), c2 = step, c3 = 0;
    UNROLL for (int round = 0; round < 10; ++round) {
        const unsigned long long p0 = c0 * 0xd2511f53ull, p1 = c2 * 0xcd9e8d57ull;
        c0 = (unsigned)(p1 >> 32) ^ c1 ^ seed;
        c1 = (unsigned)p1;
        c2 = (unsigned)(p0 >> 32) ^ c3 ^ stream;
        c3 = (unsigned)p0;
        seed += 0x9e3779b9u;
        stream += 0xbb67ae85u;
    }
    return (float)(c0 >> 8) * 5.9604644775390625e-8f;
}

/* 2 neighbouring numbers at once; their address is a multiple of 8 bytes. */
static __device__ __forceinline__ void load2(float *to, const float *from)
{
    const float2 v = *reinterpret_cast<const float2 *>(from);
    to[0] = v.x; to[1] = v.y;
}

/* Copies from global to shared memory that arrive by themselves: zero where the source is not `inside`. */
static __device__ __forceinline__ void copy_async(float *to, const float *from, const bool inside)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::
        "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "r"(inside ? 4 : 0) : "memory");
}
/* The copies since the last commit are one group; a wait leaves the latest `kept` groups on their way. */
static __device__ __forceinline__ void commit_copies()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kept> static __device__ __forceinline__ void wait_for_copies()
{
    asm volatile("cp.async.wait_group %0;" :: "n"(kept) : "memory");
}


/* fc1_fprop_leaky_relu_dropout_f32_8x32x16
 * from    fc1, by fuse_epilogue, lower, select_tile
 *         %2: f32[n<=20,7] = gemm(%x, %w, %seed, %step) {
 *           title="fprop_leaky_relu_dropout"
 *           phase {
 *             batch() m(n:n<=20) n(k:7) k(c:33)
 *             a = $0[n, c]
 *             b = $1[k, c]
 *             store 0[n, k] = select(random(n*7 + k, 1, $2[], $3[]) >= 0.30000001192092896, select(acc > 0.0, acc, acc * 0.2) * 1.4285714285714286, 0.0)
 *             schedule {block_m=8, block_n=32, block_k=16, thread_m=1, thread_n=2, stages=4}
 *           }
 *         } loc(fc1: fuse_epilogue, lower, select_tile)
 * GEMM    M = n(n<=20) = 20, N = k(7) = 7, K = c(33) = 33
 * tile    8 x 32 x 16, 1 x 2 a thread, 4 slices, 128 threads a block
 * launch  3 blocks of 128 threads, 12.3 kB of shared memory
 * gather  A along K, 2 cache lines for 32 elements; B along K, 2 cache lines for 32 elements
 * bound   0.00123 us on an H100: 0.000156 us of FP32, 0.00123 us of memory
 * model   2.24 us; 2.32 us with 16 x 32 x 16, 2 x 2 a thread, 4 slices
 * work    9.24 kFLOP, 4.13 kB moved at least, 2.24 FLOP/B
 */
extern "C" __global__ void __launch_bounds__(128)
    fc1_fprop_leaky_relu_dropout_f32_8x32x16(const float *__restrict__ x_ptr,
            const float *__restrict__ w_ptr, const int *__restrict__ seed_ptr,
            const int *__restrict__ step_ptr, float *__restrict__ t2_ptr, const int *__restrict__ rows_ptr)
{
    const int block = blockIdx.x;
    __shared__ __align__(16) float a_tile[4][16][12];
    __shared__ __align__(16) float b_tile[4][16][36];
    const int thread = threadIdx.x;
    const int rows = *rows_ptr;
    const int m_extent = rows, n_extent = 7, k_extent = 33;
    const int m_first = block % 3 * 8;
    const int n_first = 0;
    /* a tile behind the last row */
    if (m_first >= m_extent) return;
    const int m_thread = thread / 16, n_thread = thread % 16 * 2;

    float acc[2] = {};
    /* A: consecutive threads along K */
    const int a_line = thread / 8 % 8, a_depth = thread % 8 + thread / 64 * 8;
    const int gemm_m = m_first + a_line;
    const float *const a_from = x_ptr + gemm_m * 33 + a_depth;
    const bool a_inside = gemm_m < m_extent;
    /* B: consecutive threads along K */
    const int b_line = thread / 8, b_depth = thread % 8;
    const float *b_from;
    bool b_inside[2];
    UNROLL for (int part = 0; part < 2; ++part) {
        const int gemm_n = n_first + b_line + part * 16;
        if (part == 0) b_from = w_ptr + gemm_n * 33 + b_depth;
        b_inside[part] = gemm_n < n_extent;
    }
    const int slices = 3;
    /* gathers the next slice of both */
    int slice = 0;
    const auto gather = [&](const int stage) {
        {
            const int line = a_line, depth = a_depth;
            const int gemm_k = slice * 16 + depth;
            copy_async(&a_tile[stage][depth][line], a_from + slice * 16, a_inside & (gemm_k < k_extent));
        }
        const float *const b_next = b_from + (slice * 16);
        UNROLL for (int part = 0; part < 4; ++part) {
            const int line = b_line + part % 2 * 16, depth = b_depth + part / 2 * 8;
            const int gemm_k = slice * 16 + depth;
            copy_async(&b_tile[stage][depth][line], b_next + part % 2 * 528 + part / 2 * 8,
                    b_inside[part % 2] & (gemm_k < k_extent));
        }
        ++slice;
    };
    UNROLL for (int done = 0; done < 3; ++done) {
        if (done < slices) gather(done);
        commit_copies();
    }
    for (int done = 0; done < slices; ++done) {
        /* this slice has arrived, and everyone is done with the one before, whose place the next copies take */
        wait_for_copies<2>();
        __syncthreads();
        if (done + 3 < slices) gather((done + 3) % 4);
        commit_copies();
        const int stage = done % 4;
        UNROLL for (int depth = 0; depth < 16; ++depth) {
            const float a_part = a_tile[stage][depth][m_thread];
            float b_part[2];
            load2(b_part, &b_tile[stage][depth][n_thread]);
            UNROLL for (int tn = 0; tn < 2; ++tn)
                acc[tn] += a_part * b_part[tn];
        }
    }

    UNROLL for (int tn = 0; tn < 2; ++tn) {
        const int gemm_m = m_first + m_thread, gemm_n = n_first + n_thread + tn;
        if (gemm_m < m_extent && gemm_n < n_extent) {
            const int n = gemm_m, k = gemm_n;
            const float acc_value = acc[tn];
            t2_ptr[n * 7 + k] = (philox_uniform(n * 7 + k, 1u, (unsigned)seed_ptr[0],
                    (unsigned)step_ptr[0]) >= 0.30000001192092896f ? ((acc_value > 0.0f ? acc_value :
                    (acc_value * 0.2f)) * 1.4285714285714286f) : 0.0f);
        }
    }
}
