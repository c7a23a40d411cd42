/* A CUDA driver without a GPU: device memory is host memory, and launches go to whoever `stub_connect` names.
 *
 * What PyCUDA and cuda-bindings call for one program is here; the rest of the driver is in absent.c. Work runs as it
 * is enqueued, but its failures show as a GPU's do: at the next call that waits, and at all after that. */
#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>

#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <map>
#include <string>
#include <time.h>
#include <vector>

namespace {

typedef int (*Loader)(const void *image, size_t size);
typedef int (*Finder)(int module, const char *name);
typedef int (*Launcher)(int module, const char *name, const unsigned *grid_and_block, unsigned shared, const void *, size_t);

struct Launch {
    CUfunction function;
    unsigned shape[6], shared;
    std::string arguments;
};
struct Device { std::string name; int major, minor; size_t total, used; int retained; };
struct Allocation { char *written; size_t size; int device; };
struct Module { int id; };
struct Failure { long calls_left, times; int code; };

Loader load;
Finder find;
Launcher launcher;
std::vector<Device> devices;
std::vector<CUcontext> stack;
std::map<char *, Allocation> memory;
std::map<char *, size_t> pinned;
std::map<std::string, Failure> failures;
std::map<std::string, long> calls;
CUresult sticky;
unsigned live;

} // namespace

struct CUctx_st { int device; };
struct CUmod_st { int id; };
struct CUfunc_st { int module; std::string name; };
struct CUgraph_st { std::vector<Launch> launches; };
struct CUgraphExec_st { std::vector<Launch> launches; };
struct CUstream_st { CUgraph graph; };
struct CUevent_st { double time; };

namespace {

CUctx_st *primary(int device)
{
    static std::map<int, CUctx_st> all;
    return &(all[device] = CUctx_st{device});
}

CUresult enter(const char *name)
{
    ++calls[name];
    const auto failure = failures.find(name);
    if (failure == failures.end() || --failure->second.calls_left > 0) return CUDA_SUCCESS;
    const int code = failure->second.code;
    if (--failure->second.times == 0) failures.erase(failure);
    return (CUresult)code;
}

CUresult run(const Launch &x)
{
    const int code = launcher(x.function->module, x.function->name.c_str(), x.shape, x.shared, x.arguments.data(),
                              x.arguments.size());
    if (code) sticky = (CUresult)code;
    return CUDA_SUCCESS;
}

CUresult mark(CUdeviceptr to, size_t size)
{
    auto place = memory.upper_bound((char *)to);
    if (place == memory.begin()) return CUDA_ERROR_INVALID_VALUE;
    --place;
    const size_t offset = (char *)to - place->first;
    if (offset + size > place->second.size) return CUDA_ERROR_INVALID_VALUE;
    memset(place->second.written + offset, 1, size);
    return CUDA_SUCCESS;
}

bool within(CUdeviceptr from, size_t size)
{
    auto place = memory.upper_bound((char *)from);
    return place != memory.begin() && (char *)from + size <= (--place)->first + place->second.size;
}

size_t image_size(const void *image)
{
    const char *bytes = (const char *)image;
    if (memcmp(bytes, "\177ELF", 4)) return strlen(bytes);
    size_t segments, sections;
    unsigned short numbers[6];
    memcpy(&segments, bytes + 32, 8);
    memcpy(&sections, bytes + 40, 8);
    memcpy(numbers, bytes + 52, 12); /* header size; entry size and count of segments, of sections */
    const size_t a = segments + (size_t)numbers[1] * numbers[2], b = sections + (size_t)numbers[3] * numbers[4];
    return a > b ? a : b;
}

double now()
{
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

} // namespace

#define ENTER                                                                                                          \
    if (const CUresult code = enter(__func__)) return code
#define NEEDS_CONTEXT                                                                                                  \
    ENTER;                                                                                                             \
    if (stack.empty()) return CUDA_ERROR_INVALID_CONTEXT;                                                              \
    if (sticky) return sticky
#define NOT_CAPTURING(s)                                                                                               \
    if ((s) && (s)->graph) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED

extern "C" {

/* ---- what tests set and ask ---- */
void stub_connect(Loader l, Finder f, Launcher x) { load = l; find = f; launcher = x; }
void stub_reset() { failures.clear(); calls.clear(); sticky = CUDA_SUCCESS; devices.clear(); }
void stub_device(const char *name, int major, int minor, size_t total)
{
    devices.push_back({name, major, minor, total, 0, 0});
}
void stub_fail(const char *api, int code, long call, long times) { failures[api] = {call, times, code}; }
long stub_calls(const char *api) { return calls[api]; }
int stub_pushed() { return (int)stack.size(); }
int stub_retained(int device) { return devices[device].retained; }
size_t stub_allocations() { return memory.size(); }
unsigned stub_live() { return live; }
/* The allocation that an address lies in: its start, size and written bytes; 0 where there is none. */
int stub_find(void *address, void **start, size_t *size, void **written)
{
    auto place = memory.upper_bound((char *)address);
    if (place == memory.begin()) return 0;
    --place;
    *start = place->first, *size = place->second.size, *written = place->second.written;
    return (char *)address < place->first + place->second.size;
}

/* ---- driver, devices, contexts ---- */
CUresult cuInit(unsigned) { ENTER; return devices.empty() ? CUDA_ERROR_NO_DEVICE : CUDA_SUCCESS; }
CUresult cuDriverGetVersion(int *version) { ENTER; *version = 13000; return CUDA_SUCCESS; }
CUresult cuGetErrorString(CUresult code, const char **text)
{
    static char unnamed[40];
    snprintf(unnamed, sizeof unnamed, "stub error %d", (int)code);
    *text = code == CUDA_ERROR_OUT_OF_MEMORY ? "out of memory" : code == CUDA_ERROR_LAUNCH_FAILED
        ? "unspecified launch failure" : code == CUDA_ERROR_INVALID_VALUE ? "invalid argument" : unnamed;
    return CUDA_SUCCESS;
}
CUresult cuGetErrorName(CUresult code, const char **text)
{
    static char name[40];
    snprintf(name, sizeof name, "CUDA_ERROR_%d", (int)code);
    *text = name;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetCount(int *count) { ENTER; *count = (int)devices.size(); return CUDA_SUCCESS; }
CUresult cuDeviceGet(CUdevice *device, int number)
{
    ENTER;
    if (number < 0 || number >= (int)devices.size()) return CUDA_ERROR_INVALID_DEVICE;
    *device = number;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetName(char *name, int size, CUdevice d)
{
    ENTER;
    strncpy(name, devices[d].name.c_str(), size);
    return CUDA_SUCCESS;
}
CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice d)
{
    ENTER;
    *major = devices[d].major, *minor = devices[d].minor;
    return CUDA_SUCCESS;
}
CUresult cuDeviceTotalMem_v2(size_t *size, CUdevice d) { ENTER; *size = devices[d].total; return CUDA_SUCCESS; }
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute what, CUdevice d)
{
    ENTER;
    *value = what == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ? devices[d].major
        : what == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR ? devices[d].minor
        : what == CU_DEVICE_ATTRIBUTE_WARP_SIZE ? 32 : 1024;
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice d)
{
    ENTER;
    ++devices[d].retained;
    *context = primary(d);
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice d)
{
    ENTER;
    if (d < (int)devices.size()) --devices[d].retained;
    return CUDA_SUCCESS;
}
CUresult cuCtxPushCurrent_v2(CUcontext context) { ENTER; stack.push_back(context); return CUDA_SUCCESS; }
CUresult cuCtxPopCurrent_v2(CUcontext *context)
{
    ENTER;
    if (stack.empty()) return CUDA_ERROR_INVALID_CONTEXT;
    if (context) *context = stack.back();
    stack.pop_back();
    return CUDA_SUCCESS;
}
CUresult cuCtxGetDevice(CUdevice *device)
{
    ENTER;
    if (stack.empty()) return CUDA_ERROR_INVALID_CONTEXT;
    *device = stack.back()->device;
    return CUDA_SUCCESS;
}
CUresult cuCtxSynchronize() { NEEDS_CONTEXT; return CUDA_SUCCESS; }

/* ---- modules and launches ---- */
CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned, CUjit_option *, void **)
{
    NEEDS_CONTEXT;
    const int id = load(image, image_size(image));
    if (id < 0) return CUDA_ERROR_INVALID_IMAGE;
    *module = new CUmod_st{id};
    return CUDA_SUCCESS;
}
CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
    return cuModuleLoadDataEx(module, image, 0, nullptr, nullptr);
}
CUresult cuModuleUnload(CUmodule module) { ENTER; delete module; return CUDA_SUCCESS; }
CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
    NEEDS_CONTEXT;
    if (find(module->id, name)) return CUDA_ERROR_NOT_FOUND;
    *function = new CUfunc_st{module->id, name};
    return CUDA_SUCCESS;
}
CUresult cuFuncSetBlockShape(CUfunction, int, int, int) { ENTER; return CUDA_SUCCESS; }
CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) { ENTER; return CUDA_SUCCESS; }
CUresult cuFuncGetAttribute(int *value, CUfunction_attribute, CUfunction) { ENTER; *value = 0; return CUDA_SUCCESS; }
CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                        unsigned shared, CUstream stream, void **parameters, void **extra)
{
    NEEDS_CONTEXT;
    if (parameters || !extra) return CUDA_ERROR_NOT_SUPPORTED;
    if (!gx || !gy || !gz || !bx || bx * by * bz > 1024 || shared > 227 * 1024) return CUDA_ERROR_INVALID_VALUE;
    const void *bytes = nullptr;
    size_t size = 0;
    for (; *extra != CU_LAUNCH_PARAM_END; extra += 2) {
        if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER) bytes = extra[1];
        if (*extra == CU_LAUNCH_PARAM_BUFFER_SIZE) size = *(size_t *)extra[1];
    }
    const Launch x{f, {gx, gy, gz, bx, by, bz}, shared, std::string((const char *)bytes, size)};
    if (stream && stream->graph) {
        stream->graph->launches.push_back(x);
        return CUDA_SUCCESS;
    }
    return run(x);
}

/* ---- memory ---- */
CUresult cuMemGetInfo_v2(size_t *available, size_t *total)
{
    NEEDS_CONTEXT;
    const Device &d = devices[stack.back()->device];
    *available = d.total - d.used, *total = d.total;
    return CUDA_SUCCESS;
}
CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t size)
{
    NEEDS_CONTEXT;
    Device &d = devices[stack.back()->device];
    if (!size) return CUDA_ERROR_INVALID_VALUE;
    if (size > d.total - d.used) return CUDA_ERROR_OUT_OF_MEMORY;
    char *bytes = (char *)aligned_alloc(256, (size + 511) / 256 * 256);
    memset(bytes, 0xFF, size); /* NaN, to be noticed */
    memory[bytes] = {(char *)calloc(size, 1), size, stack.back()->device};
    d.used += size;
    *address = (CUdeviceptr)bytes;
    return CUDA_SUCCESS;
}
CUresult cuMemFree_v2(CUdeviceptr address)
{
    ENTER;
    const auto place = memory.find((char *)address);
    if (place == memory.end()) return CUDA_ERROR_INVALID_VALUE;
    if (place->second.device < (int)devices.size()) devices[place->second.device].used -= place->second.size;
    free(place->second.written);
    free(place->first);
    memory.erase(place);
    return CUDA_SUCCESS;
}
CUresult cuMemHostAlloc(void **address, size_t size, unsigned)
{
    NEEDS_CONTEXT;
    *address = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
    pinned[(char *)*address] = size;
    return CUDA_SUCCESS;
}
CUresult cuMemFreeHost(void *address)
{
    ENTER;
    if (!pinned.erase((char *)address)) return CUDA_ERROR_INVALID_VALUE;
    free(address);
    return CUDA_SUCCESS;
}
CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t size)
{
    NEEDS_CONTEXT;
    if (const CUresult code = mark(to, size)) return code;
    memcpy((void *)to, from, size);
    return CUDA_SUCCESS;
}
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t size)
{
    NEEDS_CONTEXT;
    if (!within(from, size)) return CUDA_ERROR_INVALID_VALUE;
    memcpy(to, (void *)from, size);
    return CUDA_SUCCESS;
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t size, CUstream stream)
{
    ENTER;
    NOT_CAPTURING(stream);
    return cuMemcpyHtoD_v2(to, from, size);
}
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t size, CUstream stream)
{
    ENTER;
    NOT_CAPTURING(stream);
    return cuMemcpyDtoH_v2(to, from, size);
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t size, CUstream stream)
{
    NEEDS_CONTEXT;
    NOT_CAPTURING(stream);
    if (!within(from, size) || mark(to, size)) return CUDA_ERROR_INVALID_VALUE;
    memmove((void *)to, (void *)from, size);
    return CUDA_SUCCESS;
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream)
{
    NEEDS_CONTEXT;
    NOT_CAPTURING(stream);
    if (const CUresult code = mark(to, count)) return code;
    memset((void *)to, value, count);
    return CUDA_SUCCESS;
}

/* ---- streams, events, graphs ---- */
CUresult cuStreamCreate(CUstream *stream, unsigned) { NEEDS_CONTEXT; ++live; *stream = new CUstream_st{}; return CUDA_SUCCESS; }
CUresult cuStreamDestroy_v2(CUstream stream) { ENTER; --live; delete stream; return CUDA_SUCCESS; }
CUresult cuStreamSynchronize(CUstream stream) { NEEDS_CONTEXT; NOT_CAPTURING(stream); return CUDA_SUCCESS; }
CUresult cuStreamQuery(CUstream) { NEEDS_CONTEXT; return CUDA_SUCCESS; }
CUresult cuStreamWaitEvent(CUstream, CUevent, unsigned) { NEEDS_CONTEXT; return CUDA_SUCCESS; }
CUresult cuEventCreate(CUevent *event, unsigned) { NEEDS_CONTEXT; ++live; *event = new CUevent_st{}; return CUDA_SUCCESS; }
CUresult cuEventDestroy_v2(CUevent event) { ENTER; --live; delete event; return CUDA_SUCCESS; }
CUresult cuEventRecord(CUevent event, CUstream) { NEEDS_CONTEXT; event->time = now(); return CUDA_SUCCESS; }
CUresult cuEventQuery(CUevent) { NEEDS_CONTEXT; return CUDA_SUCCESS; }
CUresult cuEventSynchronize(CUevent) { NEEDS_CONTEXT; return CUDA_SUCCESS; }
CUresult cuEventElapsedTime_v2(float *ms, CUevent a, CUevent b) { ENTER; *ms = (float)(b->time - a->time); return CUDA_SUCCESS; }
CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode)
{
    NEEDS_CONTEXT;
    if (stream->graph) return CUDA_ERROR_ILLEGAL_STATE;
    stream->graph = new CUgraph_st{};
    return CUDA_SUCCESS;
}
CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph)
{
    NEEDS_CONTEXT;
    if (!stream->graph) return CUDA_ERROR_ILLEGAL_STATE;
    *graph = stream->graph;
    stream->graph = nullptr;
    return CUDA_SUCCESS;
}
CUresult cuGraphInstantiateWithFlags(CUgraphExec *made, CUgraph graph, unsigned long long)
{
    NEEDS_CONTEXT;
    ++live;
    *made = new CUgraphExec_st{graph->launches};
    return CUDA_SUCCESS;
}
CUresult cuGraphDestroy(CUgraph graph) { ENTER; delete graph; return CUDA_SUCCESS; }
CUresult cuGraphExecDestroy(CUgraphExec graph) { ENTER; --live; delete graph; return CUDA_SUCCESS; }
CUresult cuGraphLaunch(CUgraphExec graph, CUstream)
{
    NEEDS_CONTEXT;
    for (const Launch &x : graph->launches) run(x);
    return CUDA_SUCCESS;
}

/* NVRTC asks for tables that no header describes, where it finds a driver. */
CUresult cuGetExportTable(const void **table, const CUuuid *) { *table = nullptr; return CUDA_ERROR_NOT_FOUND; }

/* cuda-bindings looks everything up here. There is one version of each function. */
CUresult cuGetProcAddress_v2(const char *name, void **address, int, cuuint64_t, CUdriverProcAddressQueryResult *)
{
    Dl_info self;
    dladdr((void *)&stub_reset, &self);
    void *library = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    *address = nullptr;
    for (const char *version : {"", "_v2", "_v3", "_v4"})
        if (!*address) *address = dlsym(library, (std::string(name) + version).c_str());
    return *address ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
}
