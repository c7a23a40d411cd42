/* case: 1 kernels in 1 launches, one after the other on one stream;
 * 0 bytes of intermediates in one arena. Every grid is planned for the full batch; the
 * batch rows of a run are read from device memory.
 *
 *   1. conv1_fprop_f32<<<22, 128>>>
 */

#define UNROLL _Pragma("unroll")
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
#ifndef NAN
#define NAN __int_as_float(0x7fffffff)
#endif


/* conv1_fprop_f32
 * from    conv1, by lower, nest_products, merge_axes, schedule
 *         %0: f32[n<=16,7,5,5] = loops(%x, %w) {
 *           title="fprop"
 *           for(n:n<=16, gk:7, p:5, q:5)
 *           reduce(c:1, r:3, s:3) acc = sum($1[gk, 0, r, s] * $0[n, gk, p + r - 1, q + s - 1])
 *           map() { store 0[n, gk, p, q] = acc }
 *           schedule {threads=128, team=1}
 *         } loc(conv1: lower, nest_products, merge_axes, schedule)
 * loops   a thread a point, 128 threads a block
 * launch  22 blocks of 128 threads
 * bound   0.00676 us on an H100: 0.00085 us of FP32, 0.00676 us of memory
 * work    50.4 kFLOP, 22.7 kB moved at least, 2.22 FLOP/B
 */
extern "C" __global__ void __launch_bounds__(128)
    conv1_fprop_f32(const float *__restrict__ x_ptr, const float *__restrict__ w_ptr,
            float *__restrict__ t0_ptr, const int *__restrict__ rows_ptr)
{
    const int block = blockIdx.x;
    const int rows = *rows_ptr;
    const int point = block * 128 + threadIdx.x;
    if (point >= rows * 175) return;
    const int n = point / 175, gk = (point / 25) % 7, p = (point / 5) % 5, q = point % 5;
    float acc_value = 0.0f;
    UNROLL for (int r = 0; r < 3; ++r)
    UNROLL for (int s = 0; s < 3; ++s) {
        acc_value += (w_ptr[gk * 9 + r * 3 + s] * (p + r - 1 >= 0 && p + r - 1 < 5 && q + s - 1 >= 0 &&
                q + s - 1 < 5 ? x_ptr[n * 175 + gk * 25 + p * 5 + r * 5 + q + s - 6] : 0.0f));
    }
    {
        t0_ptr[n * 175 + gk * 25 + p * 5 + q] = acc_value;
    }
}
