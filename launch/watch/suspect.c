// Reading /proc behind launch/watch/suspect.h. Only files that never wait for the process's memory:
// a process in the kernel would block its reader too.
#include "launch/watch/suspect.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// The beginning of a small file, without its newline; false: not there.
static bool read_line(const char *path, char *out, size_t bytes) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, bytes - 1);
    if (fd >= 0) close(fd);
    out[n > 0 ? n : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return n > 0;
}

char process_state(int pid) {
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (!read_line(path, line, sizeof line)) return 0;
    const char *behind_name = strrchr(line, ')');
    char state = behind_name != NULL && behind_name[1] == ' ' ? behind_name[2] : 0;
    return state == 'Z' || state == 'X' ? 0 : state;
}

static const char *state_text(char state) {
    switch (state) {
    case 0: return "is not there any more";
    case 'R': return "runs";
    case 'S': return "sleeps";
    case 'D': return "waits in the kernel for a disk or a network file system";
    case 'T': return "is stopped by a signal";
    case 't': return "is stopped by a debugger";
    default: return "is in an unknown state";
    }
}

// The file behind the first argument of the system call that it is in, for those that take one.
static void describe_call(int pid, char *out, size_t bytes) {
    static const struct {
        long number;
        const char *name;
    } calls[] = {{SYS_read, "read"},      {SYS_pread64, "read"},      {SYS_write, "write"},
                 {SYS_pwrite64, "write"}, {SYS_fsync, "fsync"},       {SYS_fdatasync, "fsync"},
                 {SYS_fstat, "stat"},     {SYS_ftruncate, "truncate"}};
    char path[96], line[256], file[512];
    long number;
    unsigned long first;
    out[0] = '\0';
    snprintf(path, sizeof path, "/proc/%d/syscall", pid);
    if (!read_line(path, line, sizeof line)) return;
    if (sscanf(line, "%ld %lx", &number, &first) != 2) return;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; ++i) {
        if (calls[i].number != number) continue;
        snprintf(path, sizeof path, "/proc/%d/fd/%lu", pid, first);
        ssize_t n = readlink(path, file, sizeof file - 1);
        if (n > 0) snprintf(out, bytes, ", in %s of %.*s", calls[i].name, (int)n, file);
    }
}

const char *process_describe(int pid, char *out, int bytes) {
    char path[64], place[64] = "", call[600];
    char state = process_state(pid);
    snprintf(path, sizeof path, "/proc/%d/wchan", pid);
    if (state == 0 || !read_line(path, place, sizeof place) || strcmp(place, "0") == 0)
        place[0] = '\0';
    describe_call(pid, call, sizeof call);
    snprintf(out, (size_t)bytes, "%s (state %c%s%s)%s", state_text(state), state ? state : '-',
             place[0] ? ", " : "", place, call);
    return out;
}

double process_io_bytes(void) {
    double bytes = 0, value;
    char line[64];
    FILE *file = fopen("/proc/self/io", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "rchar: %lf", &value) == 1 || sscanf(line, "wchar: %lf", &value) == 1)
            bytes += value;
    if (file != NULL) fclose(file);
    return bytes;
}
