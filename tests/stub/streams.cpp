/* Streams of the stub driver: what is enqueued, when it runs, and what waits for what.
 *
 * By default work runs as it is enqueued. A lazy stream's runs only when somebody waits for it: then an order that no
 * event asks for does not come about by chance, and memory that was to be read is read late. */
#include "state.h"

#include <set>
#include <time.h>

namespace stub {

unsigned lazy, streams_made;
static std::set<CUstream> streams;

static void step(CUstream stream)
{
    const auto work = stream->work.front();
    stream->work.pop_front();
    work();
}

static void drain(CUstream stream)
{
    while (!stream->work.empty()) step(stream);
}

static void wait(CUevent event, unsigned record)
{
    while (event->completed < record && !event->stream->work.empty()) step(event->stream);
}

void drain_all()
{
    for (CUstream stream : streams) drain(stream);
}

void enqueue(CUstream stream, std::function<void()> work)
{
    if (!stream) {
        drain_all();
        work();
        return;
    }
    stream->work.push_back(work);
    if (!(lazy & (stream->number ? 2 : 1))) drain(stream);
}

static bool is_pinned(const void *address)
{
    auto place = pinned.upper_bound((char *)address);
    return place != pinned.begin() && (char *)address < (--place)->first + place->second;
}

static double now()
{
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

} // namespace stub

using namespace stub;

extern "C" {

CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                        unsigned shared, CUstream stream, void **parameters, void **extra)
{
    NEEDS_CONTEXT;
    if (parameters || !extra) return CUDA_ERROR_NOT_SUPPORTED;
    if (!gx || !gy || !gz || !bx || bx * by * bz > 1024 || shared > f->most_dynamic) return CUDA_ERROR_INVALID_VALUE;
    const void *bytes = nullptr;
    size_t size = 0;
    for (; *extra != CU_LAUNCH_PARAM_END; extra += 2) {
        if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER) bytes = extra[1];
        if (*extra == CU_LAUNCH_PARAM_BUFFER_SIZE) size = *(size_t *)extra[1];
    }
    const Launch x{f, {gx, gy, gz, bx, by, bz}, shared, std::string((const char *)bytes, size)};
    if (stream && stream->graph)
        stream->graph->launches.push_back(x);
    else
        enqueue(stream, [x] { run(x); });
    return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t size, CUstream stream)
{
    NEEDS_CONTEXT;
    NOT_CAPTURING(stream);
    if (const CUresult code = mark(to, size, false)) return code;
    if (is_pinned(from)) {
        enqueue(stream, [=] { mark(to, size, true), memcpy((void *)to, from, size); });
        return CUDA_SUCCESS;
    }
    const std::string taken((const char *)from, size); /* of other memory the driver makes a copy at once */
    enqueue(stream, [=] { mark(to, size, true), memcpy((void *)to, taken.data(), size); });
    return CUDA_SUCCESS;
}
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t size, CUstream stream)
{
    NEEDS_CONTEXT;
    NOT_CAPTURING(stream);
    if (const CUresult code = mark(from, size, false)) return code;
    enqueue(stream, [=] { memcpy(to, (void *)from, size); });
    return CUDA_SUCCESS;
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t size, CUstream stream)
{
    NEEDS_CONTEXT;
    NOT_CAPTURING(stream);
    if (mark(from, size, false) || mark(to, size, false)) return CUDA_ERROR_INVALID_VALUE;
    enqueue(stream, [=] { mark(to, size, true), memmove((void *)to, (void *)from, size); });
    return CUDA_SUCCESS;
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream)
{
    NEEDS_CONTEXT;
    NOT_CAPTURING(stream);
    if (const CUresult code = mark(to, count, false)) return code;
    enqueue(stream, [=] { mark(to, count, true), memset((void *)to, value, count); });
    return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream *stream, unsigned)
{
    NEEDS_CONTEXT;
    *stream = new CUstream_st{streams_made++, nullptr, {}};
    streams.insert(*stream);
    return CUDA_SUCCESS;
}
CUresult cuStreamDestroy_v2(CUstream stream)
{
    ENTER;
    drain(stream);
    streams.erase(stream);
    return CUDA_SUCCESS; /* kept: events may name it */
}
CUresult cuStreamSynchronize(CUstream stream)
{
    NEEDS_CONTEXT;
    NOT_CAPTURING(stream);
    stream ? drain(stream) : drain_all();
    return sticky;
}
CUresult cuStreamQuery(CUstream stream) { NEEDS_CONTEXT; return stream->work.empty() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY; }
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned)
{
    NEEDS_CONTEXT;
    const unsigned record = event->recorded;
    enqueue(stream, [=] { wait(event, record); });
    return CUDA_SUCCESS;
}

CUresult cuEventCreate(CUevent *event, unsigned) { NEEDS_CONTEXT; *event = new CUevent_st{}; return CUDA_SUCCESS; }
CUresult cuEventDestroy_v2(CUevent event) { ENTER; drain_all(); delete event; return CUDA_SUCCESS; }
CUresult cuEventRecord(CUevent event, CUstream stream)
{
    NEEDS_CONTEXT;
    const unsigned record = ++event->recorded;
    event->stream = stream;
    enqueue(stream, [=] { event->completed = record, event->time = now(); });
    return CUDA_SUCCESS;
}
CUresult cuEventQuery(CUevent event)
{
    NEEDS_CONTEXT;
    return event->completed == event->recorded ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}
CUresult cuEventSynchronize(CUevent event) { NEEDS_CONTEXT; wait(event, event->recorded); return sticky; }
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
    *graph = stream->graph; /* an injected error ends the capture, too */
    stream->graph = nullptr;
    NEEDS_CONTEXT;
    return *graph ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_STATE;
}
CUresult cuGraphInstantiateWithFlags(CUgraphExec *made, CUgraph graph, unsigned long long)
{
    NEEDS_CONTEXT;
    *made = new CUgraphExec_st{graph->launches};
    return CUDA_SUCCESS;
}
CUresult cuGraphDestroy(CUgraph graph) { ENTER; delete graph; return CUDA_SUCCESS; }
CUresult cuGraphExecDestroy(CUgraphExec graph) { ENTER; drain_all(); delete graph; return CUDA_SUCCESS; }
CUresult cuGraphLaunch(CUgraphExec graph, CUstream stream)
{
    NEEDS_CONTEXT;
    enqueue(stream, [=] {
        for (const Launch &x : graph->launches) run(x);
    });
    return CUDA_SUCCESS;
}
}
