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

/* Copies from global to shared memory that arrive by themselves: zero where the source is not `inside`. */
static __device__ __forceinline__ void copy_async(float *to, const float *from, const bool inside)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::
        "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "r"(inside ? 4 : 0) : "memory");
}
/* 16 bytes at once; both addresses are multiples of 16. */
static __device__ __forceinline__ void copy4_async(float *to, const float *from, const bool inside)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::
        "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "r"(inside ? 16 : 0) : "memory");
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


/* conv1_dgrad_f32_8x32x16
 * from    conv1, by lower, select_tile
 *         %0: f32[n<=16,3,7,7] = gemm(%dy, %w) {
 *           title="dgrad"
 *           phase {
 *             batch(g:1) m(c:3) n(n:n<=16, h:4, w:4) k(k:5, r:1, s:1)
 *             a = $1[k, c, 1, 1]
 *             b = $0[n, k, h, w]
 *             store 0[n, c, h*2, w*2] = acc
 *             schedule {block_m=8, block_n=32, block_k=16, thread_m=1, thread_n=2, stages=4}
 *           }
 *           phase {
 *             batch(g:1) m(c:3) n(n:n<=16, h:4, w:3) k(k:5, r:1, s:2)
 *             a = $1[k, c, 1, s*2]
 *             b = $0[n, k, h, w - s + 1]
 *             store 0[n, c, h*2, w*2 + 1] = acc
 *             schedule {block_m=8, block_n=32, block_k=16, thread_m=1, thread_n=2, stages=4}
 *           }
 *           phase {
 *             batch(g:1) m(c:3) n(n:n<=16, h:3, w:4) k(k:5, r:2, s:1)
 *             a = $1[k, c, r*2, 1]
 *             b = $0[n, k, h - r + 1, w]
 *             store 0[n, c, h*2 + 1, w*2] = acc
 *             schedule {block_m=8, block_n=32, block_k=16, thread_m=1, thread_n=2, stages=4}
 *           }
 *           phase {
 *             batch(g:1) m(c:3) n(n:n<=16, h:3, w:3) k(k:5, r:2, s:2)
 *             a = $1[k, c, r*2, s*2]
 *             b = $0[n, k, h - r + 1, w - s + 1]
 *             store 0[n, c, h*2 + 1, w*2 + 1] = acc
 *             schedule {block_m=8, block_n=32, block_k=16, thread_m=1, thread_n=2, stages=4}
 *           }
 *         } loc(conv1: lower, select_tile)
 * phase 0 M = c(3) = 3, N = n(n<=16)*h(4)*w(4) = 256, K = k(5)*r(1)*s(1) = 5
 * tile    8 x 32 x 16, 1 x 2 a thread, 4 slices, 128 threads a block
 * phase 1 M = c(3) = 3, N = n(n<=16)*h(4)*w(3) = 192, K = k(5)*r(1)*s(2) = 10
 * tile    8 x 32 x 16, 1 x 2 a thread, 4 slices, 128 threads a block
 * phase 2 M = c(3) = 3, N = n(n<=16)*h(3)*w(4) = 192, K = k(5)*r(2)*s(1) = 10
 * tile    8 x 32 x 16, 1 x 2 a thread, 4 slices, 128 threads a block
 * phase 3 M = c(3) = 3, N = n(n<=16)*h(3)*w(3) = 144, K = k(5)*r(2)*s(2) = 20
 * tile    8 x 32 x 16, 1 x 2 a thread, 4 slices, 128 threads a block
 * launch  25 blocks of 128 threads, 10.2 kB of shared memory
 * gather  A along M, 4 cache lines for 32 elements; B along N, 2 cache lines for 32 elements
 * vectors 16-byte copies of B
 * bound   0.0045 us on an H100: 0.000809 us of FP32, 0.0045 us of memory
 * model   7.1 us; 7.35 us with 16 x 32 x 16, 2 x 2 a thread, 4 slices
 * work    48 kFLOP, 15.1 kB moved at least, 3.19 FLOP/B
 * saved   32 kB of im2col matrix that is never stored
 */
static __device__ __forceinline__ void conv1_dgrad_f32_8x32x16_phase0(const int block, float *shared,
        float *shared_b, const float *__restrict__ dy_ptr, const float *__restrict__ w_ptr,
        float *__restrict__ t0_ptr, const int *__restrict__ rows_ptr)
{
    float (*const a_tile)[16][8] = (float (*)[16][8])shared;
    float (*const b_tile)[16][32] = (float (*)[16][32])shared_b;
    const int thread = threadIdx.x;
    const int rows = *rows_ptr;
    const int m_extent = 3, n_extent = rows * 16, k_extent = 5;
    const int m_first = 0;
    const int n_first = block * 32;
    /* a tile behind the last row */
    if (n_first >= n_extent) return;
    const int m_thread = thread / 16, n_thread = thread % 16 * 2;

    float acc[2] = {};
    /* A: consecutive threads along M */
    const int a_line = thread % 8, a_depth = thread / 8;
    const int gemm_m = m_first + a_line;
    const float *const a_from = w_ptr + gemm_m * 9 + a_depth * 27;
    const bool a_inside = gemm_m < m_extent;
    /* B: consecutive threads along N, 16 bytes at a time */
    const int b_line = thread % 8 * 4, b_depth = thread / 8;
    const int gemm_n = n_first + b_line;
    const int n = gemm_n / 16, h = (gemm_n / 4) % 4, w = gemm_n % 4;
    const float *const b_from = dy_ptr + n * 80 + h * 4 + w + b_depth * 16;
    const bool b_inside = gemm_n < n_extent;
    const int slices = 1;
    /* gathers the next slice of both */
    int slice = 0;
    const auto gather = [&](const int stage) {
        {
            const int line = a_line, depth = a_depth;
            const int gemm_k = slice * 16 + depth;
            copy_async(&a_tile[stage][depth][line], a_from + slice * 432 + 4, a_inside & (gemm_k < k_extent));
        }
        {
            const int line = b_line, depth = b_depth;
            const int gemm_k = slice * 16 + depth;
            copy4_async(&b_tile[stage][depth][line], b_from + slice * 256, b_inside & (gemm_k < k_extent));
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
            const int c = gemm_m, n = gemm_n / 16, h = (gemm_n / 4) % 4, w = gemm_n % 4;
            const float acc_value = acc[tn];
            t0_ptr[n * 147 + c * 49 + h * 14 + w * 2] = acc_value;
        }
    }
}

static __device__ __forceinline__ void conv1_dgrad_f32_8x32x16_phase1(const int block, float *shared,
        float *shared_b, const float *__restrict__ dy_ptr, const float *__restrict__ w_ptr,
        float *__restrict__ t0_ptr, const int *__restrict__ rows_ptr)
{
    float (*const a_tile)[16][8] = (float (*)[16][8])shared;
    float (*const b_tile)[16][32] = (float (*)[16][32])shared_b;
    const int thread = threadIdx.x;
    const int rows = *rows_ptr;
    const int m_extent = 3, n_extent = rows * 12, k_extent = 10;
    const int m_first = 0;
    const int n_first = block * 32;
    /* a tile behind the last row */
    if (n_first >= n_extent) return;
    const int m_thread = thread / 16, n_thread = thread % 16 * 2;

    float acc[2] = {};
    /* A: consecutive threads along M */
    const int a_line = thread % 8, a_depth = thread / 8;
    const int gemm_m = m_first + a_line;
    const float *const a_from = w_ptr + gemm_m * 9;
    const bool a_inside = gemm_m < m_extent;
    /* B: consecutive threads along N */
    const int b_line = thread % 32, b_depth = thread / 32;
    const int gemm_n = n_first + b_line;
    const int n = gemm_n / 12, h = (gemm_n / 3) % 4, w = gemm_n % 3;
    const float *const b_from = dy_ptr + n * 80 + h * 4 + w;
    const bool b_inside = gemm_n < n_extent;
    const int slices = 1;
    /* gathers the next slice of both */
    int slice = 0;
    const auto gather = [&](const int stage) {
        {
            const int line = a_line, depth = a_depth;
            const int gemm_k = slice * 16 + depth;
            const int k = gemm_k / 2, s = gemm_k % 2;
            copy_async(&a_tile[stage][depth][line], a_from + k * 27 + s * 2 + 3, a_inside &
                    (gemm_k < k_extent));
        }
        UNROLL for (int part = 0; part < 4; ++part) {
            const int line = b_line, depth = b_depth + part * 4;
            const int gemm_k = slice * 16 + depth;
            const int k = gemm_k / 2, s = gemm_k % 2;
            copy_async(&b_tile[stage][depth][line], b_from + k * 16 - s + 1, b_inside & (gemm_k < k_extent));
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
            const int c = gemm_m, n = gemm_n / 12, h = (gemm_n / 3) % 4, w = gemm_n % 3;
            const float acc_value = acc[tn];
            t0_ptr[n * 147 + c * 49 + h * 14 + w * 2 + 1] = acc_value;
        }
    }
}

static __device__ __forceinline__ void conv1_dgrad_f32_8x32x16_phase2(const int block, float *shared,
        float *shared_b, const float *__restrict__ dy_ptr, const float *__restrict__ w_ptr,
        float *__restrict__ t0_ptr, const int *__restrict__ rows_ptr)
{
    float (*const a_tile)[16][8] = (float (*)[16][8])shared;
    float (*const b_tile)[16][32] = (float (*)[16][32])shared_b;
    const int thread = threadIdx.x;
    const int rows = *rows_ptr;
    const int m_extent = 3, n_extent = rows * 12, k_extent = 10;
    const int m_first = 0;
    const int n_first = block * 32;
    /* a tile behind the last row */
    if (n_first >= n_extent) return;
    const int m_thread = thread / 16, n_thread = thread % 16 * 2;

    float acc[2] = {};
    /* A: consecutive threads along M */
    const int a_line = thread % 8, a_depth = thread / 8;
    const int gemm_m = m_first + a_line;
    const float *const a_from = w_ptr + gemm_m * 9;
    const bool a_inside = gemm_m < m_extent;
    /* B: consecutive threads along N, 16 bytes at a time */
    const int b_line = thread % 8 * 4, b_depth = thread / 8;
    const int gemm_n = n_first + b_line;
    const int n = gemm_n / 12, h = (gemm_n / 4) % 3, w = gemm_n % 4;
    const float *const b_from = dy_ptr + n * 80 + h * 4 + w;
    const bool b_inside = gemm_n < n_extent;
    const int slices = 1;
    /* gathers the next slice of both */
    int slice = 0;
    const auto gather = [&](const int stage) {
        {
            const int line = a_line, depth = a_depth;
            const int gemm_k = slice * 16 + depth;
            const int k = gemm_k / 2, r = gemm_k % 2;
            copy_async(&a_tile[stage][depth][line], a_from + k * 27 + r * 6 + 1, a_inside &
                    (gemm_k < k_extent));
        }
        {
            const int line = b_line, depth = b_depth;
            const int gemm_k = slice * 16 + depth;
            const int k = gemm_k / 2, r = gemm_k % 2;
            copy4_async(&b_tile[stage][depth][line], b_from + k * 16 - r * 4 + 4, b_inside &
                    (gemm_k < k_extent));
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
            const int c = gemm_m, n = gemm_n / 12, h = (gemm_n / 4) % 3, w = gemm_n % 4;
            const float acc_value = acc[tn];
            t0_ptr[n * 147 + c * 49 + h * 14 + w * 2 + 7] = acc_value;
        }
    }
}

static __device__ __forceinline__ void conv1_dgrad_f32_8x32x16_phase3(const int block, float *shared,
        float *shared_b, const float *__restrict__ dy_ptr, const float *__restrict__ w_ptr,
        float *__restrict__ t0_ptr, const int *__restrict__ rows_ptr)
{
    float (*const a_tile)[16][8] = (float (*)[16][8])shared;
    float (*const b_tile)[16][32] = (float (*)[16][32])shared_b;
    const int thread = threadIdx.x;
    const int rows = *rows_ptr;
    const int m_extent = 3, n_extent = rows * 9, k_extent = 20;
    const int m_first = 0;
    const int n_first = block * 32;
    /* a tile behind the last row */
    if (n_first >= n_extent) return;
    const int m_thread = thread / 16, n_thread = thread % 16 * 2;

    float acc[2] = {};
    /* A: consecutive threads along M */
    const int a_line = thread % 8, a_depth = thread / 8;
    const int gemm_m = m_first + a_line;
    const float *const a_from = w_ptr + gemm_m * 9;
    const bool a_inside = gemm_m < m_extent;
    /* B: consecutive threads along N */
    const int b_line = thread % 32, b_depth = thread / 32;
    const int gemm_n = n_first + b_line;
    const int n = gemm_n / 9, h = (gemm_n / 3) % 3, w = gemm_n % 3;
    const float *const b_from = dy_ptr + n * 80 + h * 4 + w;
    const bool b_inside = gemm_n < n_extent;
    const int slices = 2;
    /* gathers the next slice of both */
    int slice = 0;
    const auto gather = [&](const int stage) {
        {
            const int line = a_line, depth = a_depth;
            const int gemm_k = slice * 16 + depth;
            const int k = gemm_k / 4, r = (gemm_k / 2) % 2, s = gemm_k % 2;
            copy_async(&a_tile[stage][depth][line], a_from + k * 27 + r * 6 + s * 2, a_inside &
                    (gemm_k < k_extent));
        }
        UNROLL for (int part = 0; part < 4; ++part) {
            const int line = b_line, depth = b_depth + part * 4;
            const int gemm_k = slice * 16 + depth;
            const int k = gemm_k / 4, r = (gemm_k / 2) % 2, s = gemm_k % 2;
            copy_async(&b_tile[stage][depth][line], b_from + k * 16 - r * 4 - s + 5, b_inside &
                    (gemm_k < k_extent));
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
            const int c = gemm_m, n = gemm_n / 9, h = (gemm_n / 3) % 3, w = gemm_n % 3;
            const float acc_value = acc[tn];
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
    __shared__ __align__(16) float shared[512];
    __shared__ __align__(16) float shared_b[2048];
    if (block < 8) conv1_dgrad_f32_8x32x16_phase0(block, shared, shared_b, dy_ptr, w_ptr, t0_ptr, rows_ptr);
    else if (block < 14) conv1_dgrad_f32_8x32x16_phase1(block - 8, shared, shared_b, dy_ptr, w_ptr, t0_ptr,
            rows_ptr);
    else if (block < 20) conv1_dgrad_f32_8x32x16_phase2(block - 14, shared, shared_b, dy_ptr, w_ptr, t0_ptr,
            rows_ptr);
    else conv1_dgrad_f32_8x32x16_phase3(block - 20, shared, shared_b, dy_ptr, w_ptr, t0_ptr, rows_ptr);
}
