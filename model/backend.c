// The backends that this program knows, by name.
#include "model/backend.h"

#include <stdio.h>
#include <string.h>

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

static Status fail_unknown(const char *name) {
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
    if (backend == NULL) return fail_unknown(config->backend);
    FAIL_IF(config->streams < 1, BAD_CONFIG, "a device needs at least one stream, not %d",
            config->streams);
    TRY(backend->open(config, out));
    return STATUS_OK;
}

void device_close(Device *device) {
    if (device != NULL) device->backend->close(device);
}
