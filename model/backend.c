// The backends that this program knows, by name: its own, and libraries beside it.
#include "model/backend.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/cpu/cpu.h"

enum { BACKENDS_MOST = 8 };

static const Backend *known[BACKENDS_MOST] = {&cpu_backend};
static int known_count = 1;

static const Backend *backend_find(const char *name) {
    for (int i = 0; i < known_count; ++i)
        if (strcmp(known[i]->name, name) == 0) return known[i];
    return NULL;
}

void backend_register(const Backend *backend) {
    if (backend_find(backend->name) == backend) return;
    REQUIRE(backend_find(backend->name) == NULL && known_count < BACKENDS_MOST);
    known[known_count++] = backend;
}

// ---- libraries ----------------------------------------------------------------------------------

// NULL: there is none in this folder, or (`failure`) none that can be used here.
static void *library_symbol(const char *folder, const char *name, const char *symbol,
                            char failure[256]) {
    char path[1024];
    int length = snprintf(path, sizeof path, "%s/libdye_%s.so", folder, name);
    if (length >= (int)sizeof path || access(path, R_OK) != 0) return NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL); // stays: streams may live to the very end
    void *found = library != NULL ? dlsym(library, symbol) : NULL;
    if (found == NULL) snprintf(failure, 256, "%s", dlerror());
    return found;
}

Status library_find(const char *name, const char *symbol, const void **out) {
    const char *given = getenv("DYE_BACKENDS");
    char program[1000], failure[256] = "";
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 16);
    program[length > 0 ? length : 0] = 0;
    *(length > 0 ? strrchr(program, '/') : program) = 0;
    *out = library_symbol(given != NULL ? given : program, name, symbol, failure);
    strcat(program, "/../lib/dye");
    if (*out == NULL && given == NULL) *out = library_symbol(program, name, symbol, failure);
    FAIL_IF(failure[0] != 0, NOT_FOUND, "libdye_%s.so cannot be used here: %s", name, failure);
    FAIL_IF(*out == NULL, BAD_CONFIG,
            "libdye_%s.so is not installed: it is built where CMake finds the CUDA toolkit (nvcc,"
            " cuBLASLt, NCCL)",
            name);
    return STATUS_OK;
}

Status device_open(const DeviceConfig *config, Device **out) {
    *out = NULL;
    const Backend *backend = backend_find(config->backend);
    if (backend == NULL) {
        FAIL_IF(strcmp(config->backend, "cuda") != 0, BAD_CONFIG,
                "there is no backend \"%s\" in this build; choose one of: cpu, cuda",
                config->backend);
        const void *found;
        TRY(library_find("cuda", "dye_backend", &found));
        backend_register(backend = found);
    }
    FAIL_IF(config->streams < 1, BAD_CONFIG, "a device needs at least one stream, not %d",
            config->streams);
    TRY(backend->open(config, out));
    return STATUS_OK;
}

void device_close(Device *device) {
    if (device != NULL) device->backend->close(device);
}
