/* case: 1 kernels in 1 launches, one after the other on one stream;
 * 0 bytes of intermediates in one arena. Every grid is planned for the full batch; the
 * batch rows of a run are read from device memory.
 *
 *   1. conv1_dgrad_f32_8x32x16<<<25, 128>>>
 */

#define UNROLL _Pragma("unroll")
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
#ifndef NAN
#define NAN __int_as_float(0x7fffffff)
#endif

/* 2 neighbouring numbers at once; their address is a multiple of 8 bytes. */
static __device__ __forceinline__ void load2(float *to, const float *from)
{
    const float2 v = *reinterpret_cast<const float2 *>(from);
    to[0] = v.x; to[1] = v.y;
}


/* conv1_dgrad_f32_8x32x16
 * from    conv1, by lower, select_tile
 *         %0: f32[n<=16,3,7,7] = gemm(%dy, %w) {
 *           title="dgrad"
 *           phase {
 *             batch(g:1) m(c:3) n(n:n<=16, h:4, w:4) k(k:5, r:1, s:1)
 *             a = $1[k, c, 1, 1]
 *             b = $0[n, k, h, w]
 *             store 0[n, c, h*2, w*2] = acc
 *             schedule {block_m=8, block_n=32, block_k=16, thread_m=1, thread_n=2}
 *           }
 *           phase {
 *             batch(g:1) m(c:3) n(n:n<=16, h:4, w:3) k(k:5, r:1, s:2)
 *             a = $1[k, c, 1, s*2]
 *             b = $0[n, k, h, w - s + 1]
 *             store 0[n, c, h*2, w*2 + 1] = acc
 *             schedule {block_m=8, block_n=32, block_k=16, thread_m=1, thread_n=2}
 *           }
 *           phase {
 *             batch(g:1) m(c:3) n(n:n<=16, h:3, w:4) k(k:5, r:2, s:1)
 *             a = $1[k, c, r*2, 1]
 *             b = $0[n, k, h - r + 1, w]
 *             store 0[n, c, h*2 + 1, w*2] = acc
 *             schedule {block_m=8, block_n=32, block_k=16, thread_m=1, thread_n=2}
 *           }
 *           phase {
 *             batch(g:1) m(c:3) n(n:n<=16, h:3, w:3) k(k:5, r:2, s:2)
 *             a = $1[k, c, r*2, s*2]
 *             b = $0[n, k, h - r + 1, w - s + 1]
 *             store 0[n, c, h*2 + 1, w*2 + 1] = acc
 *             schedule {block_m=8, block_n=32, block_k=16, thread_m=1, thread_n=2}
 *           }
 *         } loc(conv1: lower, select_tile)
 * phase 0 M = c(3) = 3, N = n(n<=16)*h(4)*w(4) = 256, K = k(5)*r(1)*s(1) = 5
 * tile    8 x 32 x 16, 1 x 2 a thread, 128 threads a block
 * phase 1 M = c(3) = 3, N = n(n<=16)*h(4)*w(3) = 192, K = k(5)*r(1)*s(2) = 10
 * tile    8 x 32 x 16, 1 x 2 a thread, 128 threads a block
 * phase 2 M = c(3) = 3, N = n(n<=16)*h(3)*w(4) = 192, K = k(5)*r(2)*s(1) = 10
 * tile    8 x 32 x 16, 1 x 2 a thread, 128 threads a block
 * phase 3 M = c(3) = 3, N = n(n<=16)*h(3)*w(3) = 144, K = k(5)*r(2)*s(2) = 20
 * tile    8 x 32 x 16, 1 x 2 a thread, 128 threads a block
 * launch  25 blocks of 128 threads, 3.07 kB of shared memory
 * work    48 kFLOP, 15.1 kB moved at least, 3.19 FLOP/B
 * saved   32 kB of im2col matrix that is never stored
 */
static __device__ __forceinline__ void conv1_dgrad_f32_8x32x16_phase0(const int block, float (*a_tile)[12],
        float (*b_tile)[36], const float *__restrict__ dy_ptr, const float *__restrict__ w_ptr,
        float *__restrict__ t0_ptr, const int *__restrict__ rows_ptr)
{
    const int thread = threadIdx.x;
    const int rows = *rows_ptr;
    const int m_extent = 3, n_extent = rows * 16, k_extent = 5;
    const int m_first = 0;
    const int n_first = block * 32;
    /* a tile behind the last row */
    if (n_first >= n_extent) return;
    const int m_thread = thread / 16, n_thread = thread % 16 * 2;

    float acc[1][2] = {};
    for (int k_first = 0; k_first < k_extent; k_first += 16) {
        /* A: consecutive threads along M */
        UNROLL for (int part = 0; part < 1; ++part) {
            const int element = thread + part * 128;
            const int line = element % 8, depth = element / 8;
            const int gemm_m = m_first + line, gemm_k = k_first + depth;
            a_tile[depth][line] = (gemm_m < m_extent && gemm_k < k_extent ?
                    w_ptr[gemm_k * 27 + gemm_m * 9 + 4] : 0.0f);
        }
        /* B: consecutive threads along N */
        UNROLL for (int part = 0; part < 4; ++part) {
            const int element = thread + part * 128;
            const int line = element % 32, depth = element / 32;
            const int gemm_n = n_first + line, gemm_k = k_first + depth;
            const int n = gemm_n / 16, h = (gemm_n / 4) % 4, w = gemm_n % 4;
            b_tile[depth][line] = (gemm_n < n_extent && gemm_k < k_extent ?
                    dy_ptr[n * 80 + gemm_k * 16 + h * 4 + w] : 0.0f);
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
        const int c = gemm_m, n = gemm_n / 16, h = (gemm_n / 4) % 4, w = gemm_n % 4;
        const float acc_value = acc[tm][tn];
        if (gemm_m < m_extent && gemm_n < n_extent) {
            t0_ptr[n * 147 + c * 49 + h * 14 + w * 2] = acc_value;
        }
    }
}

static __device__ __forceinline__ void conv1_dgrad_f32_8x32x16_phase1(const int block, float (*a_tile)[12],
        float (*b_tile)[36], const float *__restrict__ dy_ptr, const float *__restrict__ w_ptr,
        float *__restrict__ t0_ptr, const int *__restrict__ rows_ptr)
{
    const int thread = threadIdx.x;
    const int rows = *rows_ptr;
    const int m_extent = 3, n_extent = rows * 12, k_extent = 10;
    const int m_first = 0;
    const int n_first = block * 32;
    /* a tile behind the last row */
    if (n_first >= n_extent) return;
    const int m_thread = thread / 16, n_thread = thread % 16 * 2;

    float acc[1][2] = {};
    for (int k_first = 0; k_first < k_extent; k_first += 16) {
        /* A: consecutive threads along M */
        UNROLL for (int part = 0; part < 1; ++part) {
            const int element = thread + part * 128;
            const int line = element % 8, depth = element / 8;
            const int gemm_m = m_first + line, gemm_k = k_first + depth;
            const int k = gemm_k / 2, s = gemm_k % 2;
            a_tile[depth][line] = (gemm_m < m_extent && gemm_k < k_extent ?
                    w_ptr[k * 27 + gemm_m * 9 + s * 2 + 3] : 0.0f);
        }
        /* B: consecutive threads along N */
        UNROLL for (int part = 0; part < 4; ++part) {
            const int element = thread + part * 128;
            const int line = element % 32, depth = element / 32;
            const int gemm_n = n_first + line, gemm_k = k_first + depth;
            const int n = gemm_n / 12, h = (gemm_n / 3) % 4, w = gemm_n % 3, k = gemm_k / 2, s = gemm_k % 2;
            b_tile[depth][line] = (gemm_n < n_extent && gemm_k < k_extent ?
                    dy_ptr[n * 80 + k * 16 + h * 4 + w - s + 1] : 0.0f);
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
        const int c = gemm_m, n = gemm_n / 12, h = (gemm_n / 3) % 4, w = gemm_n % 3;
        const float acc_value = acc[tm][tn];
        if (gemm_m < m_extent && gemm_n < n_extent) {
            t0_ptr[n * 147 + c * 49 + h * 14 + w * 2 + 1] = acc_value;
        }
    }
}

static __device__ __forceinline__ void conv1_dgrad_f32_8x32x16_phase2(const int block, float (*a_tile)[12],
        float (*b_tile)[36], const float *__restrict__ dy_ptr, const float *__restrict__ w_ptr,
        float *__restrict__ t0_ptr, const int *__restrict__ rows_ptr)
{
    const int thread = threadIdx.x;
    const int rows = *rows_ptr;
    const int m_extent = 3, n_extent = rows * 12, k_extent = 10;
    const int m_first = 0;
    const int n_first = block * 32;
    /* a tile behind the last row */
    if (n_first >= n_extent) return;
    const int m_thread = thread / 16, n_thread = thread % 16 * 2;

    float acc[1][2] = {};
    for (int k_first = 0; k_first < k_extent; k_first += 16) {
        /* A: consecutive threads along M */
        UNROLL for (int part = 0; part < 1; ++part) {
            const int element = thread + part * 128;
            const int line = element % 8, depth = element / 8;
            const int gemm_m = m_first + line, gemm_k = k_first + depth;
            const int k = gemm_k / 2, r = gemm_k % 2;
            a_tile[depth][line] = (gemm_m < m_extent && gemm_k < k_extent ?
                    w_ptr[k * 27 + gemm_m * 9 + r * 6 + 1] : 0.0f);
        }
        /* B: consecutive threads along N */
        UNROLL for (int part = 0; part < 4; ++part) {
            const int element = thread + part * 128;
            const int line = element % 32, depth = element / 32;
            const int gemm_n = n_first + line, gemm_k = k_first + depth;
            const int n = gemm_n / 12, h = (gemm_n / 4) % 3, w = gemm_n % 4, k = gemm_k / 2, r = gemm_k % 2;
            b_tile[depth][line] = (gemm_n < n_extent && gemm_k < k_extent ?
                    dy_ptr[n * 80 + k * 16 + h * 4 - r * 4 + w + 4] : 0.0f);
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
        const int c = gemm_m, n = gemm_n / 12, h = (gemm_n / 4) % 3, w = gemm_n % 4;
        const float acc_value = acc[tm][tn];
        if (gemm_m < m_extent && gemm_n < n_extent) {
            t0_ptr[n * 147 + c * 49 + h * 14 + w * 2 + 7] = acc_value;
        }
    }
}

static __device__ __forceinline__ void conv1_dgrad_f32_8x32x16_phase3(const int block, float (*a_tile)[12],
        float (*b_tile)[36], const float *__restrict__ dy_ptr, const float *__restrict__ w_ptr,
        float *__restrict__ t0_ptr, const int *__restrict__ rows_ptr)
{
    const int thread = threadIdx.x;
    const int rows = *rows_ptr;
    const int m_extent = 3, n_extent = rows * 9, k_extent = 20;
    const int m_first = 0;
    const int n_first = block * 32;
    /* a tile behind the last row */
    if (n_first >= n_extent) return;
    const int m_thread = thread / 16, n_thread = thread % 16 * 2;

    float acc[1][2] = {};
    for (int k_first = 0; k_first < k_extent; k_first += 16) {
        /* A: consecutive threads along M */
        UNROLL for (int part = 0; part < 1; ++part) {
            const int element = thread + part * 128;
            const int line = element % 8, depth = element / 8;
            const int gemm_m = m_first + line, gemm_k = k_first + depth;
            const int k = gemm_k / 4, r = (gemm_k / 2) % 2, s = gemm_k % 2;
            a_tile[depth][line] = (gemm_m < m_extent && gemm_k < k_extent ?
                    w_ptr[k * 27 + gemm_m * 9 + r * 6 + s * 2] : 0.0f);
        }
        /* B: consecutive threads along N */
        UNROLL for (int part = 0; part < 4; ++part) {
            const int element = thread + part * 128;
            const int line = element % 32, depth = element / 32;
            const int gemm_n = n_first + line, gemm_k = k_first + depth;
            const int n = gemm_n / 9, h = (gemm_n / 3) % 3, w = gemm_n % 3, k = gemm_k / 4,
                    r = (gemm_k / 2) % 2, s = gemm_k % 2;
            b_tile[depth][line] = (gemm_n < n_extent && gemm_k < k_extent ?
                    dy_ptr[n * 80 + k * 16 + h * 4 - r * 4 + w - s + 5] : 0.0f);
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
        const int c = gemm_m, n = gemm_n / 9, h = (gemm_n / 3) % 3, w = gemm_n % 3;
        const float acc_value = acc[tm][tn];
        if (gemm_m < m_extent && gemm_n < n_extent) {
            t0_ptr[n * 147 + c * 49 + h * 14 + w * 2 + 8] = acc_value;
        }
    }
}


/* 4 phases: each takes its own range of blocks. */
extern "C" __global__ void __launch_bounds__(128)
    conv1_dgrad_f32_8x32x16(const float *__restrict__ dy_ptr, const float *__restrict__ w_ptr,
            float *__restrict__ t0_ptr, const int *__restrict__ rows_ptr)
{
    const int block = blockIdx.x;
    __shared__ __align__(16) float a_tile[16][12];
    __shared__ __align__(16) float b_tile[16][36];
    if (block < 8) conv1_dgrad_f32_8x32x16_phase0(block, a_tile, b_tile, dy_ptr, w_ptr, t0_ptr, rows_ptr);
    else if (block < 14) conv1_dgrad_f32_8x32x16_phase1(block - 8, a_tile, b_tile, dy_ptr, w_ptr, t0_ptr,
            rows_ptr);
    else if (block < 20) conv1_dgrad_f32_8x32x16_phase2(block - 14, a_tile, b_tile, dy_ptr, w_ptr, t0_ptr,
            rows_ptr);
    else conv1_dgrad_f32_8x32x16_phase3(block - 20, a_tile, b_tile, dy_ptr, w_ptr, t0_ptr, rows_ptr);
}
