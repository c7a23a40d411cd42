// C[M, N] = A[M, K] * B[K, N], row-major: without shared memory, and with tiles of 32x32x8 in it.
extern "C" __global__ void naive(const float* A, const float* B, float* C, int M, int N, int K) {
  const int m = blockIdx.y * blockDim.y + threadIdx.y, n = blockIdx.x * blockDim.x + threadIdx.x;
  if (m >= M || n >= N) return;
  float sum = 0;
  for (int k = 0; k < K; k++) sum += A[m * K + k] * B[k * N + n];
  C[m * N + n] = sum;
}

extern "C" __global__ void __launch_bounds__(256)
    tiled(const float* A, const float* B, float* C, int M, int N, int K) {
  __shared__ float As[8][33];
  __shared__ float Bs[8][32];
  const int t = threadIdx.x, tx = t % 16, ty = t / 16, m0 = blockIdx.y * 32, n0 = blockIdx.x * 32;
  float sum[2][2] = {};
  for (int k0 = 0; k0 < K; k0 += 8) {
    const int am = m0 + t / 8, ak = k0 + t % 8, bk = k0 + t / 32, bn = n0 + t % 32;
    As[t % 8][t / 8] = am < M && ak < K ? A[am * K + ak] : 0;
    Bs[t / 32][t % 32] = bk < K && bn < N ? B[bk * N + bn] : 0;
    __syncthreads();
#pragma unroll
    for (int k = 0; k < 8; k++)
      for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) sum[i][j] += As[k][ty * 2 + i] * Bs[k][tx + 16 * j];
    __syncthreads();
  }
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 2; j++) {
      const int m = m0 + ty * 2 + i, n = n0 + tx + 16 * j;
      if (m < M && n < N) C[m * N + n] = sum[i][j];
    }
}
