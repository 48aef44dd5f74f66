// Memory of this process as the kernel counts it.
#pragma once

#include <stddef.h>

size_t resident_now(void);  // VmRSS in bytes; 0 where /proc does not tell
size_t resident_most(void); // VmHWM: the most since the process began, or since:
void resident_forget(void); // the most is now
