/* A stub of libcuda.so.1 for `jitlogreg.targets.cuda.driver`: one device whose memory is the host's. Python does the
 * allocations and the launches. A call without a current context fails, as it does in NVIDIA's driver. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_VALUE = 1, INVALID_CONTEXT = 201, NOT_FOUND = 500 };

static uint64_t (*on_allocate)(uint64_t);
static void (*on_free)(uint64_t);
static int (*on_launch)(const char *, unsigned, unsigned, unsigned, void **, int);

void stub_connect(void *allocate, void *release, void *launch) {
    on_allocate = allocate;
    on_free = release;
    on_launch = launch;
}

static int contexts[16], depth, initialised;
static char names[64][256];
static int libraries, max_dynamic_shared[64];

int stub_depth(void) { return depth; }

int cuInit(unsigned flags) { return initialised = 1, flags ? INVALID_VALUE : SUCCESS; }
int cuDeviceGetCount(int *count) { return *count = 1, SUCCESS; }
int cuDeviceGet(int *device, int ordinal) { return *device = ordinal, SUCCESS; }
int cuDeviceGetName(char *name, int size, int device) { return strncpy(name, "Stub GPU", size), device; }
int cuGetErrorString(int status, const char **text) {
    return *text = status == INVALID_CONTEXT ? "invalid device context" : "some error", SUCCESS;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    switch (attribute) {
    case 75: *value = 9; break;              /* COMPUTE_CAPABILITY_MAJOR */
    case 76: *value = 0; break;              /* COMPUTE_CAPABILITY_MINOR */
    case 16: *value = 2; break;              /* MULTIPROCESSOR_COUNT */
    case 97: *value = 227 << 10; break;      /* MAX_SHARED_MEMORY_PER_BLOCK_OPTIN */
    case 81: *value = 228 << 10; break;      /* MAX_SHARED_MEMORY_PER_MULTIPROCESSOR */
    case 38: *value = 1 << 14; break;        /* L2_CACHE_SIZE */
    default: return INVALID_VALUE;
    }
    return device;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { return *context = &contexts[device + 1], initialised ? SUCCESS : 3; }
int cuCtxPushCurrent(void *context) { return contexts[++depth] = context != 0, SUCCESS; }
int cuCtxPopCurrent(void **context) { return *context = &contexts[1], depth-- > 0 ? SUCCESS : INVALID_CONTEXT; }
int cuCtxSynchronize(void) { return depth ? SUCCESS : INVALID_CONTEXT; }
int cuStreamSynchronize(void *stream) { return depth ? SUCCESS : INVALID_CONTEXT; }

int cuMemAlloc(uint64_t *address, size_t size) {
    if (!depth || !size) return depth ? INVALID_VALUE : INVALID_CONTEXT;
    return *address = on_allocate(size), SUCCESS;
}
int cuMemFree(uint64_t address) { return on_free(address), depth ? SUCCESS : INVALID_CONTEXT; }
int cuMemsetD8Async(uint64_t address, unsigned char value, size_t size, void *stream) {
    return memset((void *)address, value, size), depth ? SUCCESS : INVALID_CONTEXT;
}
int cuMemcpyHtoDAsync(uint64_t to, const void *from, size_t size, void *stream) {
    return memcpy((void *)to, from, size), depth ? SUCCESS : INVALID_CONTEXT;
}
int cuMemcpyDtoHAsync(void *to, uint64_t from, size_t size, void *stream) {
    return memcpy(to, (void *)from, size), depth ? SUCCESS : INVALID_CONTEXT;
}
int cuMemcpyDtoDAsync(uint64_t to, uint64_t from, size_t size, void *stream) {
    return memcpy((void *)to, (void *)from, size), depth ? SUCCESS : INVALID_CONTEXT;
}

int cuLibraryLoadData(void **library, const void *code, void *a, void *b, unsigned c, void *d, void *e, unsigned f) {
    if (memcmp(code, "\177ELF", 4)) return INVALID_VALUE;
    return *library = names[libraries], names[libraries++][0] = 0, SUCCESS;
}
int cuLibraryGetKernel(void **kernel, void *library, const char *name) {
    return *kernel = strncpy(library, name, 255), SUCCESS;
}
int cuKernelGetFunction(void **function, void *kernel) { return *function = kernel, depth ? SUCCESS : INVALID_CONTEXT; }
int cuFuncSetAttribute(void *function, int attribute, int value) {
    if (attribute != 8) return INVALID_VALUE; /* MAX_DYNAMIC_SHARED_SIZE_BYTES */
    return max_dynamic_shared[((char *)function - names[0]) / 256] = value, SUCCESS;
}

static int launch(void *f, unsigned blocks, unsigned threads, unsigned shared, void **arguments, int cooperative) {
    int allowed = max_dynamic_shared[((char *)f - names[0]) / 256];
    if (!depth) return INVALID_CONTEXT;
    if (shared > (allowed ? allowed : 48 << 10) || threads > 1024) return INVALID_VALUE;
    return on_launch(f, blocks, threads, shared, arguments, cooperative);
}
int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   void *stream, void **arguments, void **extra) {
    return launch(f, gx, bx, shared, arguments, 0);
}
int cuLaunchCooperativeKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                              unsigned shared, void *stream, void **arguments) {
    return launch(f, gx, bx, shared, arguments, 1);
}

int cuDriverGetVersion(int *version) { return *version = 13000, SUCCESS; }
int cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags, int *status) {
    *function = dlsym(RTLD_DEFAULT, symbol);
    if (!*function) {
        Dl_info self;
        dladdr((void *)cuInit, &self);
        *function = dlsym(dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD), symbol);
    }
    if (status) *status = *function ? 0 : 1;
    return *function ? SUCCESS : NOT_FOUND;
}
int cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags) {
    return cuGetProcAddress_v2(symbol, function, version, flags, 0);
}
