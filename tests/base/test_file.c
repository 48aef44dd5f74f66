// Files and folders: what is written is read, failures leave the old state and name the path.
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/file.h"
#include "tests/test.h"

static const char *folder;

static char *place(const char *name) {
    static char path[4][PATH_BYTES];
    static int turn;
    char *out = path[turn++ % 4];
    snprintf(out, PATH_BYTES, "%s/%s", folder, name);
    return out;
}

static int entries_of(const char *path) {
    char **names;
    int count = -1;
    EXPECT_OK(folder_names(path, &names, &count));
    folder_names_free(names, count);
    return count;
}

static void test_path_format(void) {
    char out[PATH_BYTES], part[PATH_BYTES];
    EXPECT_OK(path_format(out, "%s/step-%09d", "run", 500));
    EXPECT_TEXT(out, "run/step-000000500");
    memset(part, 'x', sizeof part);
    part[PATH_BYTES - 1] = 0;
    EXPECT_OK(path_format(out, "%s", part));
    EXPECT_FAIL(path_format(out, "%s/", part), BAD_USAGE, "path is longer than 1023 bytes: xxx");
}

static void test_write_and_read(void) {
    char *path = place("a.bin"), *text = NULL;
    size_t bytes = 0;
    EXPECT_OK(file_write_atomic(path, "one\0two", 7));
    EXPECT_OK(file_read(path, 7, &text, &bytes));
    EXPECT_EQ(bytes, 7);
    EXPECT(memcmp(text, "one\0two", 8) == 0); // a zero byte behind the data
    free(text);
    EXPECT_OK(file_write_atomic(path, "", 0));
    EXPECT_OK(file_read(path, 0, &text, &bytes));
    EXPECT_EQ(bytes, 0);
    EXPECT_TEXT(text, "");
    free(text);
    EXPECT_OK(file_write_atomic(path, "12345", 5));
    EXPECT_FAIL(file_read(path, 4, &text, &bytes), BAD_DATA, "a.bin is 5 bytes long, at most 4");
    EXPECT_FAIL(file_read(place("none"), 4, &text, &bytes), NOT_FOUND, "none: No such file");
    EXPECT_FAIL(file_read(folder, 4, &text, &bytes), BAD_DATA, "is a folder");
    struct stat info;
    mode_t mask = umask(0);
    umask(mask);
    EXPECT(stat(path, &info) == 0);
    EXPECT_EQ(info.st_mode & 0777, 0666 & ~mask);
}

static void test_pipe_is_read(void) {
    char *path = place("pipe"), command[2 * PATH_BYTES], *text = NULL;
    size_t bytes = 0;
    EXPECT_EQ(mkfifo(path, 0600), 0);
    snprintf(command, sizeof command, "head -c 100000 /dev/zero > '%s' &", path);
    EXPECT_EQ(system(command), 0);
    EXPECT_OK(file_read(path, 1 << 20, &text, &bytes));
    EXPECT_EQ(bytes, 100000);
    free(text);
    EXPECT_EQ(system(command), 0);
    EXPECT_FAIL(file_read(path, 1000, &text, &bytes), BAD_DATA, "is longer than the 1000 bytes");
    unlink(path);
}

static void test_failed_write_leaves_the_old_file(void) {
    char *path = place("old/file"), *text;
    size_t bytes;
    EXPECT_OK(folder_make(place("old")));
    EXPECT_OK(file_write_atomic(path, "old", 3));
    char *large = calloc(1, 100000);
    // A limit on the size of files stands for a full disk.
    struct rlimit before, small;
    getrlimit(RLIMIT_FSIZE, &before);
    small = before, small.rlim_cur = 5000;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    EXPECT_FAIL(file_write_atomic(path, large, 100000), IO, "cannot write ");
    setrlimit(RLIMIT_FSIZE, &before);
    free(large);
    EXPECT_OK(file_read(path, 100, &text, &bytes));
    EXPECT_TEXT(text, "old");
    free(text);
    EXPECT_EQ(entries_of(place("old")), 1);
    EXPECT_OK(folder_make(place("old/sub")));
    EXPECT_FAIL(file_write_atomic(place("old/sub"), "x", 1), IO, "cannot rename");
    EXPECT_EQ(entries_of(place("old")), 2);
    EXPECT_FAIL(file_write_atomic(place("no/such/file"), "x", 1), NOT_FOUND, "no/such/file");
}

static void test_size_and_existence(void) {
    uint64_t bytes = 0;
    EXPECT_OK(file_write_atomic(place("sized"), "12345", 5));
    EXPECT_OK(file_size(place("sized"), &bytes));
    EXPECT_EQ(bytes, 5);
    EXPECT(file_exists(place("sized")) && file_exists(folder) && !file_exists(place("nowhere")));
    EXPECT_FAIL(file_size(place("nowhere"), &bytes), NOT_FOUND, "nowhere");
    EXPECT_FAIL(file_size(folder, &bytes), BAD_DATA, "is not a regular file");
    EXPECT_OK(folder_free_bytes(folder, &bytes));
    EXPECT(bytes > 0);
    EXPECT_FAIL(folder_free_bytes(place("nowhere"), &bytes), NOT_FOUND, "nowhere");
}

static void test_make_folders(void) {
    EXPECT_OK(folder_make(place("m/a/b//c/")));
    EXPECT(file_exists(place("m/a/b/c")));
    EXPECT_OK(folder_make(place("m/a/b/c")));
    EXPECT_OK(folder_make("/"));
    EXPECT_OK(folder_make("."));
    EXPECT_OK(folder_sync(place("m")));
    EXPECT_FAIL(folder_sync(place("n")), NOT_FOUND, "cannot open folder");
    EXPECT_OK(file_write_atomic(place("m/file"), "", 0));
    EXPECT_FAIL(folder_make(place("m/file/x")), IO, "m/file: a file of that name is in the way");
    EXPECT_FAIL(folder_make(place("m/file")), IO, "a file of that name is in the way");
    EXPECT_FAIL(folder_make(""), BAD_USAGE, "empty name");
}

static void test_rename(void) {
    EXPECT_OK(folder_make(place("r/from")));
    EXPECT_OK(file_write_atomic(place("r/from/x"), "x", 1));
    EXPECT_OK(file_rename(place("r/from"), place("r/to")));
    EXPECT(file_exists(place("r/to/x")) && !file_exists(place("r/from")));
    EXPECT_FAIL(file_rename(place("r/from"), place("r/to")), NOT_FOUND, "cannot rename");
    EXPECT_OK(folder_make(place("r/other")));
    EXPECT_FAIL(file_rename(place("r/other"), place("r/to")), IO, "not empty");
    EXPECT_EQ(chdir(place("r")), 0);
    EXPECT_OK(file_rename("other", "moved")); // a name without a folder
    EXPECT(file_exists("moved"));
}

static void test_names_are_sorted(void) {
    char **names = NULL;
    int count = -1;
    EXPECT_OK(folder_make(place("s")));
    EXPECT_OK(folder_names(place("s"), &names, &count));
    EXPECT_EQ(count, 0);
    folder_names_free(names, count);
    char name[32];
    for (int i = 0; i < 40; ++i) {
        snprintf(name, sizeof name, "s/%02d", i * 7 % 40);
        EXPECT_OK(file_write_atomic(place(name), "", 0));
    }
    EXPECT_OK(folder_names(place("s"), &names, &count));
    EXPECT_EQ(count, 40);
    for (int i = 0; i < count; ++i) {
        snprintf(name, sizeof name, "%02d", i);
        EXPECT_TEXT(names[i], name);
    }
    folder_names_free(names, count);
    EXPECT_FAIL(folder_names(place("t"), &names, &count), NOT_FOUND, "cannot open folder");
}

static void test_remove(void) {
    EXPECT_OK(folder_make(place("d/a/b")));
    EXPECT_OK(folder_make(place("kept")));
    EXPECT_OK(file_write_atomic(place("kept/file"), "", 0));
    EXPECT_OK(file_write_atomic(place("d/a/file"), "", 0));
    EXPECT_EQ(symlink(place("kept"), place("d/a/link")), 0);
    EXPECT_EQ(symlink("nowhere", place("d/broken")), 0);
    EXPECT_OK(folder_remove(place("d")));
    EXPECT(!file_exists(place("d")));
    EXPECT(file_exists(place("kept/file"))); // links are not followed
    EXPECT_OK(folder_remove(place("d")));
    EXPECT_FAIL(folder_remove(place("kept/file")), IO, "it is not a folder");
    EXPECT_EQ(symlink(place("kept"), place("link")), 0);
    EXPECT_FAIL(folder_remove(place("link")), IO, "it is not a folder");
    EXPECT(file_exists(place("kept/file")));
}

int main(void) {
    folder = test_folder("file");
    RUN(test_path_format);
    RUN(test_write_and_read);
    RUN(test_pipe_is_read);
    RUN(test_failed_write_leaves_the_old_file);
    RUN(test_size_and_existence);
    RUN(test_make_folders);
    RUN(test_rename);
    RUN(test_names_are_sorted);
    RUN(test_remove);
    return test_report();
}
