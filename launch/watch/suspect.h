// What the kernel tells of a process that does not speak for itself.
#pragma once

#include <stdbool.h>

// 'R', 'S', 'D', 'T', 't', 'Z' of /proc/PID/stat; 0: there is no such process (a zombie is none).
char process_state(int pid);
// "sleeps in the kernel (D, nfs_wait_bit_killable), in read of /data/train-00003.zst": of the main
// thread. Never blocks. Returns `out`.
const char *process_describe(int pid, char *out, int bytes);
// Bytes that this process has read and written so far; 0 if that cannot be told.
double process_io_bytes(void);
