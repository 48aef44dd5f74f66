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

// What keeps libdye_NAME.so from being used, if it is there; "" where it is not.
static char library_failure[256];

static const Backend *library_open(const char *folder, const char *below, const char *name) {
    char path[1024];
    int length = snprintf(path, sizeof path, "%s%s/libdye_%s.so", folder, below, name);
    if (length >= (int)sizeof path || access(path, R_OK) != 0) return NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL); // stays: streams may live to the very end
    const Backend *backend = library != NULL ? dlsym(library, "dye_backend") : NULL;
    if (backend == NULL) snprintf(library_failure, sizeof library_failure, "%s", dlerror());
    return backend;
}

static const Backend *library_find(const char *name) {
    const char *given = getenv("DYE_BACKENDS");
    char program[1024];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    library_failure[0] = 0;
    if (strchr(name, '/') != NULL) return NULL;
    if (given != NULL) return library_open(given, "", name);
    if (length < 0) return NULL;
    program[length] = 0;
    *strrchr(program, '/') = 0;
    const Backend *backend = library_open(program, "", name);
    return backend != NULL ? backend : library_open(program, "/../lib/dye", name);
}

static Status fail_unknown(const char *name) {
    FAIL_IF(library_failure[0] != 0, NOT_FOUND, "the backend \"%s\" cannot be used here: %s", name,
            library_failure);
    FAIL_IF(
        strcmp(name, "cuda") == 0, BAD_CONFIG,
        "libdye_cuda.so is not installed: it is built where CMake finds the CUDA toolkit (nvcc)");
    char names[128] = "";
    size_t used = 0;
    for (int i = 0; i < known_count && used < sizeof names; ++i)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "",
                                 known[i]->name);
    FAIL(BAD_CONFIG, "there is no backend \"%s\" in this build; choose one of: %s", name, names);
}

Status device_open(const DeviceConfig *config, Device **out) {
    *out = NULL;
    const Backend *backend = backend_find(config->backend);
    if (backend == NULL) {
        backend = library_find(config->backend);
        if (backend == NULL) return fail_unknown(config->backend);
        backend_register(backend);
    }
    FAIL_IF(config->streams < 1, BAD_CONFIG, "a device needs at least one stream, not %d",
            config->streams);
    TRY(backend->open(config, out));
    return STATUS_OK;
}

void device_close(Device *device) {
    if (device != NULL) device->backend->close(device);
}
