// Byte planes of several vectors in one file: what is read back, and files that are not this one.
#include "data/plane_file.h"
#include "base/file.h"
#include "tests/test.h"

enum { N = PLANE_BLOCK_BYTES + 77, VECTORS = 3 }; // two blocks of a plane

static const char *const names[VECTORS] = {"one", "two", "three"};
static float numbers[VECTORS][N], back[N];
static uint8_t room[PLANES * N];

static PlaneFile file_of(int64_t first) {
    return (PlaneFile){names, VECTORS, 4, first, N};
}

static void write_file(const char *path) {
    PlaneFile file = file_of(1000);
    BlockWriter *writer;
    BlockFileInfo info;
    for (int v = 0; v < VECTORS; ++v)
        for (int64_t i = 0; i < N; ++i) numbers[v][i] = (float)(i * (v + 1)) - 0.3f;
    EXPECT_OK(block_writer_open(path, 1, &writer));
    EXPECT_OK(plane_file_begin(writer, &file));
    for (int v = 0; v < VECTORS; ++v) EXPECT_OK(plane_file_add(writer, &file, numbers[v], room));
    EXPECT_OK(block_writer_finish(writer, &info));
    EXPECT(info.blocks == 1 + VECTORS * PLANES * 2);
}

static void test_each_vector_is_read_alone(void) {
    PlaneFile file = file_of(1000);
    BlockReader *reader;
    write_file("planes.zst");
    EXPECT_OK(plane_file_open("planes.zst", &file, &reader));
    for (int v = VECTORS - 1; v >= 0; --v) {
        EXPECT_OK(plane_file_read(reader, &file, v, room, back));
        EXPECT(memcmp(back, numbers[v], sizeof back) == 0);
    }
    block_reader_close(reader);
}

static void test_other_files_are_refused(void) {
    PlaneFile other = file_of(2000), shorter = file_of(1000), fewer = file_of(1000);
    BlockReader *reader;
    shorter.n = N - 1;
    fewer.vectors = VECTORS - 1;
    EXPECT_FAIL(plane_file_open("planes.zst", &other, &reader), BAD_DATA,
                "its header is not that of part 4 (elements 2000 to 1050653)");
    EXPECT_FAIL(plane_file_open("planes.zst", &shorter, &reader), BAD_DATA,
                "block 2 holds 77 bytes, 76 are expected");
    EXPECT_FAIL(plane_file_open("planes.zst", &fewer, &reader), BAD_DATA, "has 25 blocks");
    EXPECT_FAIL(plane_file_open("absent.zst", &other, &reader), NOT_FOUND, "absent.zst");
}

int main(void) {
    char folder[] = "/tmp/dye-planes-XXXXXX";
    EXPECT(mkdtemp(folder) != NULL && chdir(folder) == 0);
    RUN(test_each_vector_is_read_alone);
    RUN(test_other_files_are_refused);
    EXPECT(chdir("/") == 0);
    EXPECT_OK(folder_remove(folder));
    return test_report();
}
