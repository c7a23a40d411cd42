/* A plain matrix product by hand, as a yardstick for the inner loops that are generated: C[m,n] = sum A[k,m] * B[k,n].
 * 128 x 128 x 8, 8 x 8 a thread, two slices in shared memory, everything divides everything. */
extern "C" __global__ void __launch_bounds__(256) sgemm(
    const float *__restrict__ a, const float *__restrict__ b, float *__restrict__ c, int m, int n, int k)
{
    __shared__ float4 as[2][8][32], bs[2][8][32];
    const int t = threadIdx.x, tx = t % 16, ty = t / 16, row = t / 32, col = t % 32;
    const float4 *pa = reinterpret_cast<const float4 *>(a + row * m + blockIdx.y * 128) + col;
    const float4 *pb = reinterpret_cast<const float4 *>(b + row * n + blockIdx.x * 128) + col;
    float acc[8][8] = {};
    as[0][row][col] = *pa;
    bs[0][row][col] = *pb;
    __syncthreads();
    for (int i = 0; i < k; i += 8) {
        const int now = i / 8 % 2;
        float4 na, nb;
        if (i + 8 < k) {
            pa += 2 * m;
            pb += 2 * n;
            na = *pa;
            nb = *pb;
        }
#pragma unroll
        for (int d = 0; d < 8; ++d) {
            const float4 a0 = as[now][d][ty], a1 = as[now][d][16 + ty], b0 = bs[now][d][tx], b1 = bs[now][d][16 + tx];
            const float x[8] = {a0.x, a0.y, a0.z, a0.w, a1.x, a1.y, a1.z, a1.w};
            const float y[8] = {b0.x, b0.y, b0.z, b0.w, b1.x, b1.y, b1.z, b1.w};
#pragma unroll
            for (int p = 0; p < 8; ++p)
#pragma unroll
                for (int q = 0; q < 8; ++q) acc[p][q] += x[p] * y[q];
        }
        if (i + 8 < k) {
            as[1 - now][row][col] = na;
            bs[1 - now][row][col] = nb;
        }
        __syncthreads();
    }
#pragma unroll
    for (int p = 0; p < 8; ++p)
#pragma unroll
        for (int q = 0; q < 8; ++q)
            c[(blockIdx.y * 128 + p / 4 * 64 + ty * 4 + p % 4) * n + blockIdx.x * 128 + q / 4 * 64 + tx * 4 + q % 4] = acc[p][q];
}
