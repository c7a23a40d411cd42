// What the kernels share: asynchronous copies, and loads and products of fragments.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

typedef unsigned int u32;

__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// 4 bytes, zeros where not `inside`.
__device__ __forceinline__ void copy4(void* to, const void* from, bool inside) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from), "r"(inside ? 4 : 0)
               : "memory");
}
__device__ __forceinline__ void copy16(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}
#define commit() asm volatile("cp.async.commit_group;" ::: "memory")
#define wait(n) asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory")
