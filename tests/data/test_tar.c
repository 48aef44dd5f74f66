// Samples of a tar against what Python's tarfile wrote: keys, extensions, pax and GNU headers,
// compression, truncation.
#include "data/pack/tar.h"

#include "tests/data/support_data.h"
#include "tests/test.h"

static void write_tar(const char *path, const char *mode, const char *format, const char *names) {
    char command[2048];
    snprintf(command, sizeof command,
             "python3 -c \"import tarfile,io\n"
             "with tarfile.open('%s','%s',format=tarfile.%s) as t:\n"
             "  for n in '%s'.split():\n"
             "    n=n.replace('LONG','d'*150)\n"
             "    i=tarfile.TarInfo(n); b=n.encode()*40; i.size=len(b); i.mtime=1.25\n"
             "    t.addfile(i,io.BytesIO(b))\"",
             path, mode, format, names);
    if (system(command) != 0) exit(1);
}

static void test_names(void) {
    static const char *const rows[][3] = {
        {"a/b/000.seg.png", "a/b/000", "seg.png"},
        {"a/0.1.JPG", "a/0", "1.jpg"},
        {"a.b/000.png", "a.b/000", "png"},
        {"./0001.cls", "./0001", "cls"},
        {"noext", NULL, NULL},
        {"__meta__/a.cls", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i) {
        char key[PATH_BYTES], extension[TAR_EXTENSION_BYTES];
        bool known = tar_split_name(rows[i][0], key, extension);
        EXPECT_EQ(known, rows[i][1] != NULL);
        if (!known || rows[i][1] == NULL) continue;
        EXPECT_TEXT(key, rows[i][1]);
        EXPECT_TEXT(extension, rows[i][2]);
    }
}

static void test_samples(void) {
    static const char *const formats[] = {"PAX_FORMAT", "GNU_FORMAT"};
    const char *folder = test_folder("tar");
    for (int c = 0; c < 2; ++c) {
        const char *path = support_path(folder, "a.tar");
        TarReader *reader = NULL;
        const TarSample *sample = NULL;
        write_tar(path, "w", formats[c], "__x__/q.cls a/0.cls a/0.npy noext LONG/1.cls a/0.cls");
        EXPECT_OK(tar_open(path, path, &reader));
        EXPECT_OK(tar_next(reader, true, &sample));
        EXPECT(sample != NULL && sample->members == 2 && strcmp(sample->key, "a/0") == 0);
        const TarMember *member = tar_member(sample, "npy");
        EXPECT(member != NULL && member->bytes == 280 && memcmp(member->data, "a/0.npya", 8) == 0);
        EXPECT(tar_member(sample, "jpg") == NULL);
        EXPECT_OK(tar_next(reader, false, &sample));
        EXPECT(sample != NULL && strlen(sample->key) == 152 && sample->member[0].data == NULL);
        EXPECT_OK(tar_next(reader, true, &sample)); // the same key later: another sample
        EXPECT(sample != NULL && sample->members == 1 && strcmp(sample->key, "a/0") == 0);
        EXPECT_OK(tar_next(reader, true, &sample));
        EXPECT(sample == NULL);
        tar_close(reader);
    }
}

static void test_faults(void) {
    const char *folder = test_folder("tar"), *path = support_path(folder, "b.tar");
    TarReader *reader = NULL;
    const TarSample *sample = NULL;
    EXPECT_FAIL(tar_open(path, path, &reader), NOT_FOUND, "b.tar");
    write_tar(path, "w", "GNU_FORMAT", "a.cls a.CLS");
    EXPECT_OK(tar_open(path, path, &reader));
    EXPECT_FAIL(tar_next(reader, true, &sample), BAD_DATA, "sample 'a' has two files '.cls'");
    tar_close(reader);
    write_tar(path, "w", "GNU_FORMAT", "a.cls b.cls");
    if (truncate(path, 1024 + 512 + 50) != 0) exit(1);
    EXPECT_OK(tar_open(path, path, &reader));
    EXPECT_OK(tar_next(reader, true, &sample));
    EXPECT_FAIL(tar_next(reader, true, &sample), BAD_DATA, "damaged in 'b.cls'");
    tar_close(reader);
}

int main(void) {
    RUN(test_names);
    RUN(test_samples);
    RUN(test_faults);
    return test_report();
}
