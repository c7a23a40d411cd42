/* case: 2 kernels in 2 launches, one after the other on one stream;
 * 10816 bytes of intermediates in one arena. Every grid is planned for the full batch; the
 * batch rows of a run are read from device memory.
 *
 *   1. conv1_wgrad_parts_f32_8x32x16<<<20, 128>>>
 *   2. conv1_sum_parts_f32<<<2, 128>>>
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
/* The copies since the last commit are one group; a wait leaves the latest `kept` groups on their way. */
static __device__ __forceinline__ void commit_copies()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kept> static __device__ __forceinline__ void wait_for_copies()
{
    asm volatile("cp.async.wait_group %0;" :: "n"(kept) : "memory");
}


/* conv1_wgrad_parts_f32_8x32x16
 * from    conv1, by lower, split_k, select_tile
 *         %0.parts: f32[n<=20,5,3,3,3] = gemm(%dy, %x) {
 *           title="wgrad_parts"
 *           phase {
 *             batch(n:n<=20, g:1) m(k:5) n(c:3, r:3, s:3) k(p:7, q:7)
 *             a = $0[n, k, p, q]
 *             b = $1[n, c, p + r - 1, q + s - 1]
 *             store 0[n, k, c, r, s] = acc
 *             schedule {block_m=8, block_n=32, block_k=16, thread_m=1, thread_n=2, stages=4}
 *           }
 *         } loc(conv1: lower, split_k, select_tile)
 * GEMM    M = k(5) = 5, N = c(3)*r(3)*s(3) = 27, K = p(7)*q(7) = 49, 20 groups
 * tile    8 x 32 x 16, 1 x 2 a thread, 4 slices, 128 threads a block
 * launch  20 blocks of 128 threads, 12.3 kB of shared memory
 * gather  A along K, 2 cache lines for 32 elements; B along K, 4 cache lines for 32 elements
 * bound   0.0126 us on an H100: 0.00365 us of FP32, 0.0126 us of memory
 * model   2.43 us; 2.52 us with 16 x 32 x 16, 2 x 2 a thread, 4 slices
 * work    217 kFLOP, 42.2 kB moved at least, 5.14 FLOP/B
 * saved   106 kB of im2col matrix that is never stored
 */
extern "C" __global__ void __launch_bounds__(128)
    conv1_wgrad_parts_f32_8x32x16(const float *__restrict__ dy_ptr, const float *__restrict__ x_ptr,
            float *__restrict__ t0_parts_ptr, const int *__restrict__ rows_ptr)
{
    const int block = blockIdx.x;
    __shared__ __align__(16) float a_tile[4][16][12];
    __shared__ __align__(16) float b_tile[4][16][36];
    const int thread = threadIdx.x;
    const int rows = *rows_ptr;
    const int m_extent = 5, n_extent = 27, k_extent = 49;
    const int m_first = 0;
    const int n_first = 0;
    const int group = block;
    /* a part behind the last row */
    if (group >= rows) return;
    const int n = group;
    const int m_thread = thread / 16, n_thread = thread % 16 * 2;

    float acc[2] = {};
    /* A: consecutive threads along K */
    const int a_line = thread / 8 % 8, a_depth = thread % 8 + thread / 64 * 8;
    const int gemm_m = m_first + a_line;
    const float *const a_from = dy_ptr + n * 245 + gemm_m * 49 + a_depth;
    const bool a_inside = gemm_m < m_extent;
    /* B: consecutive threads along K */
    const int b_line = thread / 8, b_depth = thread % 8;
    const float *b_from[2];
    int b_at0[2];
    int b_at1[2];
    bool b_inside[2];
    UNROLL for (int part = 0; part < 2; ++part) {
        const int gemm_n = n_first + b_line + part * 16;
        const int c = gemm_n / 9, r = (gemm_n / 3) % 3, s = gemm_n % 3;
        b_from[part] = x_ptr + n * 147 + c * 49 + r * 7 + s;
        b_at0[part] = r;
        b_at1[part] = s;
        b_inside[part] = gemm_n < n_extent;
    }
    const int slices = 4;
    /* gathers the next slice of both */
    int slice = 0;
    const auto gather = [&](const int stage) {
        {
            const int line = a_line, depth = a_depth;
            const int gemm_k = slice * 16 + depth;
            copy_async(&a_tile[stage][depth][line], a_from + slice * 16, a_inside & (gemm_k < k_extent));
        }
        UNROLL for (int part = 0; part < 4; ++part) {
            const int line = b_line + part % 2 * 16, depth = b_depth + part / 2 * 8;
            const int gemm_k = slice * 16 + depth;
            const int p = gemm_k / 7, q = gemm_k % 7;
            copy_async(&b_tile[stage][depth][line], b_from[part % 2] + p * 7 + q - 8, b_inside[part % 2] &
                    (gemm_k < k_extent) & ((unsigned)(b_at0[part % 2] + p - 1) < 7) &
                    ((unsigned)(b_at1[part % 2] + q - 1) < 7));
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
            const int k = gemm_m, crs = gemm_n;
            const float acc_value = acc[tn];
            t0_parts_ptr[n * 135 + k * 27 + crs] = acc_value;
        }
    }
}

/* conv1_sum_parts_f32
 * from    conv1, by lower, split_k, merge_axes, schedule
 *         %0: f32[5,3,3,3] = loops(%0.parts) {
 *           title="sum_parts"
 *           for(kcrs:135)
 *           reduce(n_part:n<=20) total = sum($0[n_part, kcrs / 27, (kcrs / 9) % 3, (kcrs / 3) % 3, kcrs % 3])
 *           map() { store 0[kcrs / 27, (kcrs / 9) % 3, (kcrs / 3) % 3, kcrs % 3] = total }
 *           schedule {threads=128, team=1}
 *         } loc(conv1: lower, split_k, merge_axes, schedule)
 * loops   a thread a point, 128 threads a block
 * launch  2 blocks of 128 threads
 * bound   0.00339 us on an H100: 4.55e-05 us of FP32, 0.00339 us of memory
 * work    2.7 kFLOP, 11.3 kB moved at least, 0.24 FLOP/B
 */
extern "C" __global__ void __launch_bounds__(128)
    conv1_sum_parts_f32(const float *__restrict__ t0_parts_ptr, float *__restrict__ t0_ptr,
            const int *__restrict__ rows_ptr)
{
    const int block = blockIdx.x;
    const int rows = *rows_ptr;
    const int point = block * 128 + threadIdx.x;
    if (point >= 135) return;
    const int kcrs = point;
    float total_value = 0.0f;
    for (int n_part = 0; n_part < rows; ++n_part) {
        total_value += t0_parts_ptr[n_part * 135 + kcrs];
    }
    {
        t0_ptr[kcrs] = total_value;
    }
}
