// Ending mpirun behind launch/launcher.h.
#include "launch/launcher.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int launcher_find(void) {
    static const char *const names[] = {"mpirun", "mpiexec", "orterun", "prterun", "prte"};
    char path[64], name[32] = "";
    int parent = getppid();
    snprintf(path, sizeof path, "/proc/%d/comm", parent);
    FILE *file = fopen(path, "re");
    if (file == NULL) return 0;
    if (fgets(name, sizeof name, file) == NULL) name[0] = '\0';
    fclose(file);
    name[strcspn(name, "\n")] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof *names; ++i)
        if (strcmp(name, names[i]) == 0) return parent;
    return 0;
}

// Only calls that are safe in a child of a process with threads.
void launcher_outlive(int launcher, int seconds) {
    static const char text[] =
        "mpirun does not end: it waits for a host that does not answer. It is"
        " ended now (SIGKILL)\n";
    int parent = getpid();
    if (launcher == 0 || fork() != 0) return;
    setsid(); // mpirun kills the group of the rank
    for (int tenth = 0; tenth < 10 * seconds; ++tenth) {
        usleep(100000);
        if (kill(launcher, 0) != 0) _exit(0);
    }
    // While it was there it was this launcher: its number can be another's only after it ended.
    if (getppid() != parent && write(STDERR_FILENO, text, sizeof text - 1) >= 0)
        kill(launcher, SIGKILL);
    _exit(0);
}
