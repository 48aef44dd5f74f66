// IDX files from strangers: any bytes give a Status, within bounded memory.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "data/idx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// The first byte chooses labels (even) or images (odd); the rest is the file.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t buffer[4096];
    char path[64];
    if (size < 1) return 0;
    int fd = memfd_create("idx", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data + 1, size - 1) != (ssize_t)(size - 1)) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    IdxFile *file;
    if (idx_open(path, data[0] % 2 == 0 ? 1 : 3, &file) == STATUS_OK) {
        int64_t read = 0, bytes = idx_bytes(file);
        size_t got;
        Status status;
        do {
            status = idx_read(file, buffer, sizeof buffer, &got);
            if (status == STATUS_OK) read += (int64_t)got;
        } while (status == STATUS_OK && got > 0);
        // The end is reached exactly, or there is a failure.
        if (status == STATUS_OK ? read != bytes : read > bytes) abort();
        idx_close(file);
    }
    close(fd);
    return 0;
}
