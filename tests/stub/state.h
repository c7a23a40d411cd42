/* The state of the stub driver, shared by its files. */
#pragma once
#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace stub {

struct Launch {
    CUfunction function;
    unsigned shape[6], shared; /* grid and block, each x y z; dynamic shared memory in bytes */
    std::string arguments;
};
struct Device { std::string name; int major, minor; size_t total, used; int retained; };
struct Allocation { char *written; size_t size; int device; };

extern std::vector<Device> devices;
extern std::vector<CUcontext> stack;
extern std::map<char *, Allocation> memory;
extern std::map<char *, size_t> pinned;
extern CUresult sticky; /* what a launch ended with: every call gives it from then on */
extern unsigned lazy;   /* bit 0: the first stream runs only when something waits for it; bit 1: the others */
extern unsigned streams_made;

CUresult enter(const char *api); /* counts the call; an error where it is told to fail */
void run(const Launch &);
CUresult mark(CUdeviceptr to, size_t size, bool write); /* is it memory of a device? then it has been written */
void drain_all();
void enqueue(CUstream, std::function<void()>);

} // namespace stub

struct CUctx_st { int device; };
struct CUmod_st { int id; };
struct CUfunc_st { int module; std::string name; unsigned most_dynamic = 48 * 1024; };
struct CUgraph_st { std::vector<stub::Launch> launches; };
struct CUgraphExec_st { std::vector<stub::Launch> launches; };
struct CUstream_st { unsigned number; CUgraph graph; std::deque<std::function<void()>> work; };
struct CUevent_st { CUstream stream; unsigned recorded, completed; double time; };

#define ENTER                                                                                                          \
    if (const CUresult code = stub::enter(__func__)) return code
#define NEEDS_CONTEXT                                                                                                  \
    ENTER;                                                                                                             \
    if (stub::stack.empty()) return CUDA_ERROR_INVALID_CONTEXT;                                                        \
    if (stub::sticky) return stub::sticky
#define NOT_CAPTURING(s)                                                                                               \
    if ((s) && (s)->graph) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
