/* A CUDA driver without a GPU: device memory is host memory, and launches go to whoever `stub_connect` names.
 *
 * What PyCUDA and cuda-bindings call for one program is here and in streams.cpp, the rest of the driver in absent.c.
 * Failures of launches show as a GPU's do: at the next call that waits, and at all after that. */
#include "state.h"

#include <dlfcn.h>

namespace stub {

typedef int (*Loader)(const void *image, size_t size);
typedef int (*Finder)(int module, const char *name);
typedef int (*Launcher)(int module, const char *name, const unsigned *shape, unsigned shared, const void *, size_t);
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

CUcontext primary(int device)
{
    static std::map<int, CUctx_st> all;
    return &(all[device] = CUctx_st{device});
}

CUresult enter(const char *api)
{
    ++calls[api];
    const auto failure = failures.find(api);
    if (failure == failures.end() || --failure->second.calls_left > 0) return CUDA_SUCCESS;
    const int code = failure->second.code;
    if (--failure->second.times == 0) failures.erase(failure);
    return (CUresult)code;
}

void run(const Launch &x)
{
    const CUfunction f = x.function;
    const int code = launcher(f->module, f->name.c_str(), x.shape, x.shared, x.arguments.data(), x.arguments.size());
    if (code) sticky = (CUresult)code;
}

CUresult mark(CUdeviceptr address, size_t size, bool write)
{
    auto place = memory.upper_bound((char *)address);
    if (place == memory.begin()) return CUDA_ERROR_INVALID_VALUE;
    --place;
    const size_t offset = (char *)address - place->first;
    if (offset + size > place->second.size) return CUDA_ERROR_INVALID_VALUE;
    if (write) memset(place->second.written + offset, 1, size);
    return CUDA_SUCCESS;
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

} // namespace stub

using namespace stub;

extern "C" {

/* ---- what tests set and ask ---- */
void stub_connect(Loader l, Finder f, Launcher x) { load = l; find = f; launcher = x; }
void stub_reset()
{
    drain_all();
    failures.clear(), calls.clear(), devices.clear();
    for (auto &x : memory) x.second.device = -1; /* of a device that is gone */
    sticky = CUDA_SUCCESS, lazy = streams_made = 0;
}
void stub_device(const char *name, int major, int minor, size_t total)
{
    devices.push_back({name, major, minor, total, 0, 0});
}
void stub_fail(const char *api, int code, long call, long times) { failures[api] = {call, times, code}; }
long stub_calls(const char *api) { return calls[api]; }
int stub_pushed() { return (int)stack.size(); }
int stub_retained(int device) { return devices[device].retained; }
size_t stub_allocations() { return memory.size(); }
/* See `lazy`. */
void stub_lazy(unsigned which) { lazy = which; }
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
CUresult cuCtxSynchronize() { NEEDS_CONTEXT; drain_all(); return sticky; }

/* ---- modules and launches ---- */
CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned count, CUjit_option *options, void **values)
{
    for (unsigned i = 0; i < count; ++i) /* the logs of what is loaded are empty */
        if (options[i] == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES || options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
            values[i] = nullptr;
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
CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value)
{
    ENTER;
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return CUDA_SUCCESS;
    if (value < 0 || value > 227 * 1024) return CUDA_ERROR_INVALID_VALUE;
    function->most_dynamic = value;
    return CUDA_SUCCESS;
}
CUresult cuFuncGetAttribute(int *value, CUfunction_attribute, CUfunction) { ENTER; *value = 0; return CUDA_SUCCESS; }
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
    drain_all();
    const auto place = memory.find((char *)address);
    if (place == memory.end()) return CUDA_ERROR_INVALID_VALUE;
    if (place->second.device >= 0) devices[place->second.device].used -= place->second.size;
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
    drain_all();
    if (!pinned.erase((char *)address)) return CUDA_ERROR_INVALID_VALUE;
    free(address);
    return CUDA_SUCCESS;
}
CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t size)
{
    NEEDS_CONTEXT;
    drain_all();
    if (const CUresult code = mark(to, size, true)) return code;
    memcpy((void *)to, from, size);
    return sticky;
}
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t size)
{
    NEEDS_CONTEXT;
    drain_all();
    if (const CUresult code = mark(from, size, false)) return code;
    memcpy(to, (void *)from, size);
    return sticky;
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
