// A device for tests of comm/: copies and axpby only, executed as late as the contract allows, in
// stream_wait, so that a forgotten wait is seen.
#pragma once

#include "model/backend.h"

// Close with device_release-ing callers first: fake_device_close fails the process if memory is
// left.
Status fake_device_open(int streams, Device **out);
void fake_device_close(Device *device);
