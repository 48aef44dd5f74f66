// Token files behind launch/doctor/folder_probe.h.
#include "launch/doctor/folder_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "trainer/checkpoint.h"

enum { PATIENCE_SECONDS = 3, TOKEN_BYTES = 16 };

// "runs/x" becomes "runs" or "." where it is not there yet.
static void climb(const char *run_dir, char path[PATH_BYTES]) {
    snprintf(path, PATH_BYTES, "%s", run_dir);
    while (!file_exists(path) && strcmp(path, ".") != 0 && strcmp(path, "/") != 0) {
        char *slash = strrchr(path, '/');
        if (slash == NULL)
            strcpy(path, ".");
        else if (slash == path)
            path[1] = '\0';
        else
            *slash = '\0';
    }
}

// rank -1: the file that rank 0 lays out for all.
static void name_file(const FolderOffer *offer, int rank, char out[PATH_BYTES + 64]) {
    int used = snprintf(out, PATH_BYTES + 64, "%s/.dye-probe-%016llx", offer->path,
                        (unsigned long long)offer->token);
    if (rank >= 0) snprintf(out + used, 64, "-%d", rank);
}

static int write_token(const char *path, uint64_t token) {
    char text[TOKEN_BYTES + 1];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)token);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) return errno;
    ssize_t n = write(fd, text, TOKEN_BYTES);
    int error = n == TOKEN_BYTES ? 0 : n < 0 ? errno : ENOSPC;
    if (close(fd) != 0 && error == 0) error = errno;
    if (error != 0) unlink(path);
    return error;
}

static int count_checkpoints(const char *run_dir) {
    char **names;
    int count;
    if (checkpoint_list(run_dir, &names, &count) != STATUS_OK) {
        error_clear();
        return 0;
    }
    folder_names_free(names, count);
    return count;
}

Status folder_offer(Comm *comm, const char *run_dir, FolderOffer *out) {
    *out = (FolderOffer){0};
    if (comm_rank(comm) == 0) {
        char path[PATH_BYTES + 64];
        climb(run_dir, out->path);
        out->checkpoints = count_checkpoints(run_dir);
        if (getrandom(&out->token, sizeof out->token, 0) != sizeof out->token)
            out->token = (uint64_t)getpid();
        name_file(out, -1, path);
        out->error = write_token(path, out->token);
    }
    return comm_broadcast(comm, out, sizeof *out, 0);
}

static bool read_token(const char *path, uint64_t token) {
    char text[TOKEN_BYTES + 1] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, text, TOKEN_BYTES);
    close(fd);
    return n == TOKEN_BYTES && strtoull(text, NULL, 16) == token;
}

void folder_try(const FolderOffer *offer, int rank, FolderFacts *out) {
    char path[PATH_BYTES + 64];
    double until = clock_now() + PATIENCE_SECONDS;
    *out = (FolderFacts){0};
    if (offer->error != 0) return;
    name_file(offer, -1, path);
    while (!(out->seen = read_token(path, offer->token)) && clock_now() < until)
        nanosleep(&(struct timespec){0, 50000000}, NULL);
    if (!out->seen) return;
    name_file(offer, rank, path);
    out->write_error = write_token(path, offer->token);
    if (out->write_error == 0) unlink(path);
    if (folder_free_bytes(offer->path, &out->free_bytes) != STATUS_OK) error_clear();
}

void folder_withdraw(const FolderOffer *offer) {
    char path[PATH_BYTES + 64];
    name_file(offer, -1, path);
    if (offer->error == 0) unlink(path);
}
