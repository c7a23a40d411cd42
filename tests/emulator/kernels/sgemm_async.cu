// C[M, N] = A[M, K] * B[K, N] with two tiles in shared memory: one is copied while the other is used.
extern "C" __global__ void __launch_bounds__(256)
    pipelined(const float* A, const float* B, float* C, int M, int N, int K) {
  __shared__ float As[2][8][33];
  __shared__ float Bs[2][8][32];
  const int t = threadIdx.x, tx = t % 16, ty = t / 16, m0 = blockIdx.y * 32, n0 = blockIdx.x * 32;
  float sum[2][2] = {};
  auto load = [&](int stage, int k0) {
    const int am = m0 + t / 8, ak = k0 + t % 8, bk = k0 + t / 32, bn = n0 + t % 32;
    copy4(&As[stage][t % 8][t / 8], A + am * K + ak, am < M && ak < K);
    copy4(&Bs[stage][t / 32][t % 32], B + bk * N + bn, bk < K && bn < N);
    commit();
  };
  load(0, 0);
  for (int k0 = 0, stage = 0; k0 < K; k0 += 8, stage ^= 1) {
    load(stage ^ 1, k0 + 8);
    wait(1);
    __syncthreads();
#pragma unroll
    for (int k = 0; k < 8; k++)
      for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) sum[i][j] += As[stage][k][ty * 2 + i] * Bs[stage][k][tx + 16 * j];
    __syncthreads();
  }
  wait(0);
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 2; j++) {
      const int m = m0 + ty * 2 + i, n = n0 + tx + 16 * j;
      if (m < M && n < N) C[m * N + n] = sum[i][j];
    }
}
