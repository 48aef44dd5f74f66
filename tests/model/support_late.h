// The backend "late", for tests: the kernels of "cpu" behind the promises of a device far away.
//
// - An address of device memory cannot be read or written by the host: that is a segmentation
// fault.
//   Worker threads see the same memory at another address.
// - Everything queued, uploads and downloads too, is executed late: the newest call never before
// the
//   host queues more or waits, older ones at random moments. A host that changes the source of an
//   upload, or reads a download, without stream_wait gets wrong numbers.
// - A pointer argument of an operation, or the device side of a copy, that is not device memory
// ends
//   the program (REQUIRE), and so does host memory's side that is.
// - Device memory is at most LATE_ARENA_BYTES; it is used again only after all of it was released.
//
// The backend "ahead" is the same with rounds: uploads are taken at once, downloads come when their
// round, or the stream, is waited for.
//
//   late_register();
//   DeviceConfig config = {.backend = "late", .streams = 2, .scratch_bytes = ...};
#pragma once

#include "model/backend.h"

enum { LATE_ARENA_BYTES = 1 << 30 }; // of address space; pages exist once they are touched

void late_register(void); // any number of times
