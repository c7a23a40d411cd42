/* case: 1 kernels in 1 launches, one after the other on one stream;
 * 0 bytes of intermediates in one arena. Every grid is planned for the full batch; the
 * batch rows of a run are read from device memory.
 *
 *   1. fc1_fprop_leaky_relu_dropout_f32_8x32x16<<<1, 128>>>
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


/* fc1_fprop_leaky_relu_dropout_f32_8x32x16
 * from    fc1, by fuse_epilogue, lower, select_tile
 *         %2: f32[n<=20,7] = gemm(%x, %w, %seed, %step) {
 *           title="fprop_leaky_relu_dropout"
 *           phase {
 *             batch() m(k:7) n(n:n<=20) k(c:33)
 *             a = $1[k, c]
 *             b = $0[n, c]
 *             store 0[n, k] = select(random(n*7 + k, 1, $2[], $3[]) >= 0.30000001192092896, select(acc > 0.0, acc, acc * 0.2) * 1.4285714285714286, 0.0)
 *             schedule {block_m=8, block_n=32, block_k=16, thread_m=1, thread_n=2}
 *           }
 *         } loc(fc1: fuse_epilogue, lower, select_tile)
 * GEMM    M = k(7) = 7, N = n(n<=20) = 20, K = c(33) = 33
 * tile    8 x 32 x 16, 1 x 2 a thread, 128 threads a block
 * launch  1 blocks of 128 threads, 3.07 kB of shared memory
 * work    9.24 kFLOP, 4.13 kB moved at least, 2.24 FLOP/B
 */
extern "C" __global__ void __launch_bounds__(128)
    fc1_fprop_leaky_relu_dropout_f32_8x32x16(const float *__restrict__ x_ptr,
            const float *__restrict__ w_ptr, const int *__restrict__ seed_ptr,
            const int *__restrict__ step_ptr, float *__restrict__ t2_ptr, const int *__restrict__ rows_ptr)
{
    const int block = blockIdx.x;
    __shared__ __align__(16) float a_tile[16][12];
    __shared__ __align__(16) float b_tile[16][36];
    const int thread = threadIdx.x;
    const int rows = *rows_ptr;
    const int m_extent = 7, n_extent = rows, k_extent = 33;
    const int m_first = 0;
    const int n_first = block * 32;
    /* a tile behind the last row */
    if (n_first >= n_extent) return;
    const int m_thread = thread / 16, n_thread = thread % 16 * 2;

    float acc[1][2] = {};
    for (int k_first = 0; k_first < k_extent; k_first += 16) {
        /* A: consecutive threads along K */
        UNROLL for (int part = 0; part < 1; ++part) {
            const int element = thread + part * 128;
            const int line = element / 16, depth = element % 16;
            const int gemm_m = m_first + line, gemm_k = k_first + depth;
            a_tile[depth][line] = (gemm_m < m_extent && gemm_k < k_extent ? w_ptr[gemm_m * 33 + gemm_k] :
                    0.0f);
        }
        /* B: consecutive threads along K */
        UNROLL for (int part = 0; part < 4; ++part) {
            const int element = thread + part * 128;
            const int line = element / 16, depth = element % 16;
            const int gemm_n = n_first + line, gemm_k = k_first + depth;
            b_tile[depth][line] = (gemm_n < n_extent && gemm_k < k_extent ? x_ptr[gemm_n * 33 + gemm_k] :
                    0.0f);
        }
        /* the slice is complete */
        __syncthreads();
        UNROLL for (int depth = 0; depth < 16; ++depth) {
            float a_part[1];
            a_part[0] = a_tile[depth][m_thread];
            float b_part[2];
            load2(b_part, &b_tile[depth][n_thread]);
            UNROLL for (int tm = 0; tm < 1; ++tm)
            UNROLL for (int tn = 0; tn < 2; ++tn)
                acc[tm][tn] += a_part[tm] * b_part[tn];
        }
        /* and everyone is done with it */
        __syncthreads();
    }

    UNROLL for (int tm = 0; tm < 1; ++tm)
    UNROLL for (int tn = 0; tn < 2; ++tn) {
        const int gemm_m = m_first + m_thread, gemm_n = n_first + n_thread + tn;
        const int k = gemm_m, n = gemm_n;
        const float acc_value = acc[tm][tn];
        if (gemm_m < m_extent && gemm_n < n_extent) {
            t2_ptr[n * 7 + k] = (philox_uniform(n * 7 + k, 1u, (unsigned)seed_ptr[0],
                    (unsigned)step_ptr[0]) >= 0.30000001192092896f ? ((acc_value > 0.0f ? acc_value :
                    (acc_value * 0.2f)) * 1.4285714285714286f) : 0.0f);
        }
    }
}
