// Block files: round trips, other people's zstd, and every way to be damaged.
#include <signal.h>
#include <sys/resource.h>

#include "data/codec.h"
#include "base/file.h"
#include "base/rng.h"
#include "tests/test.h"

static const char *folder;

static char *place(const char *name) {
    static char path[4][PATH_BYTES];
    static int turn;
    char *out = path[turn++ % 4];
    snprintf(out, PATH_BYTES, "%s/%s", folder, name);
    return out;
}

// Half noise, half text: content that compresses, but not to nothing.
static void fill(uint8_t *out, size_t bytes, uint64_t seed) {
    RngKey key = rng_key(seed, RNG_DATA, 0);
    for (size_t i = 0; i < bytes; ++i) {
        uint32_t r[4];
        rng_block(key, i, 0, r);
        out[i] = (uint8_t)(r[0] & 1 ? r[1] : 'a' + i % 7);
    }
}

static BlockFileInfo write_file(const char *path, const size_t *sizes, int blocks) {
    BlockWriter *writer;
    BlockFileInfo info = {0};
    EXPECT_OK(block_writer_open(path, 3, &writer));
    for (int i = 0; i < blocks; ++i) {
        uint8_t *raw = malloc(sizes[i] + 1);
        fill(raw, sizes[i], (uint64_t)i);
        EXPECT_OK(block_writer_add(writer, raw, sizes[i]));
        free(raw);
    }
    EXPECT_OK(block_writer_finish(writer, &info));
    return info;
}

static void write_bytes(const char *path, const void *data, size_t bytes) {
    FILE *file = fopen(path, "wb");
    EXPECT(file != NULL && fwrite(data, 1, bytes, file) == bytes);
    if (file != NULL) fclose(file);
}

static void test_round_trip(void) {
    const size_t sizes[] = {1, 0, 100000, 3, 1 << 20};
    char *path = place("round.zst");
    BlockFileInfo info = write_file(path, sizes, 5);
    uint64_t bytes = 0;
    EXPECT_OK(file_size(path, &bytes));
    EXPECT_EQ(info.bytes, bytes);
    EXPECT_EQ(info.blocks, 5);
    EXPECT_EQ(info.raw, 1 + 100000 + 3 + (1 << 20));
    BlockReader *reader;
    EXPECT_OK(block_reader_open(path, &reader));
    EXPECT_EQ(block_reader_count(reader), 5);
    const int order[] = {4, 0, 2, 1, 3, 2}; // one reader reads in any order
    for (int i = 0; i < 6; ++i) {
        int block = order[i];
        size_t n = sizes[block];
        uint8_t *raw = malloc(n + 1), *wanted = malloc(n + 1);
        EXPECT_EQ(block_reader_raw_bytes(reader, block), n);
        EXPECT_OK(block_reader_read(reader, block, raw));
        fill(wanted, n, (uint64_t)block);
        EXPECT(memcmp(raw, wanted, n) == 0);
        free(raw);
        free(wanted);
    }
    block_reader_close(reader);
    EXPECT_OK(block_file_verify(path, &info));
    EXPECT_OK(block_file_verify(path, NULL));
}

static void test_file_without_blocks(void) {
    char *path = place("empty.zst");
    BlockFileInfo info = write_file(path, NULL, 0);
    EXPECT_EQ(info.bytes, 28);
    EXPECT_OK(block_file_verify(path, &info));
}

static void test_same_content_gives_same_bytes(void) {
    const size_t sizes[] = {5000, 70000};
    BlockFileInfo a = write_file(place("same-a.zst"), sizes, 2);
    BlockFileInfo b = write_file(place("same-b.zst"), sizes, 2);
    EXPECT_EQ(a.hash, b.hash);
}

// The layout by hand, from the comment in data/codec.h alone.
static void test_layout(void) {
    char *path = place("layout.zst"), *text;
    BlockWriter *writer;
    BlockFileInfo info;
    size_t bytes;
    EXPECT_OK(block_writer_open(path, 3, &writer));
    EXPECT_OK(block_writer_add(writer, "hello\n", 6));
    EXPECT_OK(block_writer_finish(writer, &info));
    EXPECT_OK(file_read(path, 1000, &text, &bytes));
    // The frame of "hello\n" with size and checksum as the zstd program writes it.
    const uint8_t frame[19] = {0x28, 0xb5, 0x2f, 0xfd, 0x24, 0x06, 0x31, 0x00, 0x00, 0x68,
                               0x65, 0x6c, 0x6c, 0x6f, 0x0a, 0x53, 0x88, 0xbd, 0x91};
    const uint8_t head[16] = {0x5d, 0x2a, 0x4d, 0x18, 36, 0, 0, 0, 'D', 'Y', 'E', 'B', 1, 0, 0, 0};
    uint64_t hash = codec_hash(frame, 19);
    EXPECT_EQ(bytes, 19 + 44);
    EXPECT_EQ(info.bytes, bytes);
    EXPECT_EQ(info.hash, codec_hash(text, bytes));
    EXPECT(memcmp(text, frame, 19) == 0);
    EXPECT(memcmp(text + 19, head, 16) == 0);
    EXPECT(memcmp(text + 35, "\x13\0\0\0\x06\0\0\0", 8) == 0);
    EXPECT(memcmp(text + 43, &hash, 8) == 0);
    EXPECT(memcmp(text + 51, "\1\0\0\0", 4) == 0);
    hash = codec_hash(text + 27, 28);
    EXPECT(memcmp(text + 55, &hash, 4) == 0);
    EXPECT(memcmp(text + 59, "DYEI", 4) == 0);
    free(text);
}

static void test_zstd_program_reads_it(void) {
    if (system("zstd --version > /dev/null 2>&1") != 0) SKIP("no zstd program");
    const size_t sizes[] = {50000, 123, 70000};
    char *path = place("cli.zst"), *plain = place("cli.raw"), *text, command[3 * PATH_BYTES];
    write_file(path, sizes, 3);
    snprintf(command, sizeof command, "zstd -q -d '%s' -o '%s'", path, plain);
    EXPECT_EQ(system(command), 0);
    size_t bytes, at = 0;
    EXPECT_OK(file_read(plain, 1 << 20, &text, &bytes));
    EXPECT_EQ(bytes, 50000 + 123 + 70000);
    for (int i = 0; i < 3; ++i) {
        uint8_t *wanted = malloc(sizes[i]);
        fill(wanted, sizes[i], (uint64_t)i);
        EXPECT(memcmp(text + at, wanted, sizes[i]) == 0);
        at += sizes[i];
        free(wanted);
    }
    free(text);
}

static void test_every_flipped_byte_is_found(void) {
    const size_t sizes[] = {90, 40, 1};
    char *path = place("flip.zst"), *text;
    write_file(path, sizes, 3);
    size_t bytes;
    EXPECT_OK(file_read(path, 10000, &text, &bytes));
    int missed = 0;
    for (size_t i = 0; i < bytes; ++i)
        for (int bit = 0; bit <= 8; ++bit) {
            uint8_t flip = bit < 8 ? (uint8_t)(1 << bit) : 0xff;
            text[i] ^= (char)flip;
            write_bytes(path, text, bytes);
            missed += block_file_verify(path, NULL) != STATUS_BAD_DATA;
            missed += block_file_compare(path, NULL) != STATUS_BAD_DATA;
            text[i] ^= (char)flip;
        }
    EXPECT_EQ(missed, 0);
    write_bytes(path, text, bytes);
    EXPECT_OK(block_file_verify(path, NULL));
    free(text);
}

static void test_wrong_length_is_found(void) {
    const size_t sizes[] = {300, 20};
    char *path = place("length.zst"), *text;
    write_file(path, sizes, 2);
    size_t bytes;
    EXPECT_OK(file_read(path, 10000, &text, &bytes));
    char *longer = calloc(1, 2 * bytes);
    memcpy(longer, text, bytes);
    int missed = 0;
    for (size_t n = 0; n < bytes; ++n) {
        write_bytes(path, text, n);
        if (block_file_verify(path, NULL) != STATUS_BAD_DATA) ++missed;
    }
    EXPECT_EQ(missed, 0);
    write_bytes(path, text, 10);
    EXPECT_FAIL(block_file_verify(path, NULL), BAD_DATA, "10 bytes are less than an empty one has");
    write_bytes(path, text, bytes - 1);
    EXPECT_FAIL(block_file_verify(path, NULL), BAD_DATA, "cut short");
    write_bytes(path, longer, bytes + 1);
    EXPECT_FAIL(block_file_verify(path, NULL), BAD_DATA, "does not end with a block index");
    // The file twice: the last index is whole, but its blocks do not fill the file.
    memcpy(longer + bytes, text, bytes);
    write_bytes(path, longer, 2 * bytes);
    EXPECT_FAIL(block_file_verify(path, NULL), BAD_DATA, "but its index begins at byte");
    free(longer);
    free(text);
}

// An index whose hash is right and whose numbers are absurd.
static void forge(const char *path, uint32_t stored, uint32_t raw, uint32_t version) {
    uint8_t file[19 + 44] = {0x28, 0xb5, 0x2f, 0xfd, 0x24, 0x06, 0x31, 0x00, 0x00, 0x68, 0x65,
                             0x6c, 0x6c, 0x6f, 0x0a, 0x53, 0x88, 0xbd, 0x91, 0x5d, 0x2a, 0x4d,
                             0x18, 36,   0,    0,    0,    'D',  'Y',  'E',  'B'};
    uint64_t hash = codec_hash(file, 19);
    memcpy(file + 31, &version, 4);
    memcpy(file + 35, &stored, 4);
    memcpy(file + 39, &raw, 4);
    memcpy(file + 43, &hash, 8);
    file[51] = 1;
    hash = codec_hash(file + 27, 28);
    memcpy(file + 55, &hash, 4);
    memcpy(file + 59, "DYEI", 4);
    write_bytes(path, file, sizeof file);
}

static void test_absurd_indexes(void) {
    char *path = place("forged.zst");
    forge(path, 19, 6, 1);
    EXPECT_OK(block_file_verify(path, NULL));
    forge(path, 19, 6, 2);
    EXPECT_FAIL(block_file_verify(path, NULL), BAD_DATA, "block file version 2");
    forge(path, 19, BLOCK_RAW_MOST + 1, 1);
    EXPECT_FAIL(block_file_verify(path, NULL), BAD_DATA, "claims 67108865 decoded bytes");
    forge(path, 0xFFFFFFFF, BLOCK_RAW_MOST, 1);
    EXPECT_FAIL(block_file_verify(path, NULL), BAD_DATA, "claims 4294967295 stored bytes");
    forge(path, 0, 6, 1);
    EXPECT_FAIL(block_file_verify(path, NULL), BAD_DATA, "claims 0 stored bytes");
    forge(path, 20, 6, 1);
    EXPECT_FAIL(block_file_verify(path, NULL), BAD_DATA, "claims 20 stored bytes");
    forge(path, 18, 6, 1);
    EXPECT_FAIL(block_file_verify(path, NULL), BAD_DATA, "its blocks end at byte 18");
    forge(path, 19, 7, 1);
    EXPECT_FAIL(block_file_verify(path, NULL), BAD_DATA, "decodes to 6 bytes, its index says 7");
    forge(path, 19, 5, 1);
    EXPECT_FAIL(block_file_verify(path, NULL), BAD_DATA, "block 0 (bytes 0 to 19) does not decode");
    uint8_t many[28] = {0};
    memcpy(many + 16, "\xff\xff\xff\xff\0\0\0\0DYEI", 12);
    write_bytes(path, many, sizeof many);
    EXPECT_FAIL(block_file_verify(path, NULL), BAD_DATA, "claims 4294967295 blocks");
}

static void test_damaged_block_is_named(void) {
    const size_t sizes[] = {64, 64, 64};
    char *path = place("named.zst"), *text, part[96];
    write_file(path, sizes, 3);
    size_t bytes;
    EXPECT_OK(file_read(path, 10000, &text, &bytes));
    uint32_t first, second;
    memcpy(&first, text + bytes - 12 - 48, 4);
    memcpy(&second, text + bytes - 12 - 32, 4);
    text[first + 10] ^= 4;
    write_bytes(path, text, bytes);
    free(text);
    BlockReader *reader;
    uint8_t raw[64];
    EXPECT_OK(block_reader_open(path, &reader));
    EXPECT_OK(block_reader_read(reader, 0, raw));
    snprintf(part, sizeof part, "named.zst: block 1 (bytes %u to %u) is damaged: wrong hash", first,
             first + second);
    EXPECT_FAIL(block_reader_read(reader, 1, raw), BAD_DATA, part);
    EXPECT_FAIL(block_file_compare(path, NULL), BAD_DATA, part);
    EXPECT_OK(block_reader_read(reader, 2, raw));
    block_reader_close(reader);
}

static void test_expected_info_is_compared(void) {
    const size_t sizes[] = {64, 7};
    char *path = place("expected.zst");
    BlockFileInfo info = write_file(path, sizes, 2), wrong = info;
    wrong.bytes = 5;
    EXPECT_FAIL(block_file_verify(path, &wrong), BAD_DATA, "5 are expected");
    wrong = info, wrong.blocks = 3;
    EXPECT_FAIL(block_file_verify(path, &wrong), BAD_DATA, "has 2 blocks, 3 are expected");
    wrong = info, wrong.raw = 70;
    EXPECT_FAIL(block_file_verify(path, &wrong), BAD_DATA, "decodes to 71 bytes, 70 are expected");
    wrong = info, wrong.hash ^= 1;
    EXPECT_FAIL(block_file_verify(path, &wrong), BAD_DATA, "has hash");
    EXPECT_FAIL(block_file_compare(path, &wrong), BAD_DATA, "has hash");
    EXPECT_OK(block_file_compare(path, &info));
}

static void test_open_errors(void) {
    BlockReader *reader;
    BlockWriter *writer;
    EXPECT_FAIL(block_reader_open(place("absent.zst"), &reader), NOT_FOUND, "absent.zst");
    EXPECT_FAIL(block_reader_open(folder, &reader), BAD_DATA, "is not a regular file");
    EXPECT_FAIL(block_writer_open(place("no/such/place"), 3, &writer), IO, "cannot create");
    char *path = place("taken.zst");
    write_bytes(path, "mine", 4);
    EXPECT_FAIL(block_writer_open(path, 3, &writer), IO, "File exists");
    EXPECT(file_exists(path));
}

static void test_discard_removes_the_file(void) {
    char *path = place("discard.zst");
    BlockWriter *writer;
    EXPECT_OK(block_writer_open(path, 1, &writer));
    EXPECT_OK(block_writer_add(writer, "abc", 3));
    EXPECT(file_exists(path));
    block_writer_discard(writer);
    EXPECT(!file_exists(path));
    block_writer_discard(NULL);
    block_reader_close(NULL);
}

static void test_failed_write(void) {
    const size_t bytes = 100000;
    char *path = place("full.zst");
    uint8_t *noise = malloc(bytes);
    for (size_t i = 0; i < bytes; ++i) noise[i] = (uint8_t)(mix64(i) >> 8);
    BlockWriter *writer;
    BlockFileInfo info;
    EXPECT_OK(block_writer_open(path, 1, &writer));
    // A limit on the size of files stands for a full disk.
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = old, small.rlim_cur = 50000;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    EXPECT_FAIL(block_writer_add(writer, noise, bytes), IO, "cannot write");
    setrlimit(RLIMIT_FSIZE, &old);
    EXPECT_FAIL(block_writer_finish(writer, &info), IO, "an earlier write failed");
    EXPECT(!file_exists(path));
    free(noise);
}

static void test_block_too_large(void) {
    BlockWriter *writer;
    EXPECT_OK(block_writer_open(place("big.zst"), 1, &writer));
    EXPECT_FAIL(block_writer_add(writer, "", (size_t)BLOCK_RAW_MOST + 1), BAD_USAGE,
                "at most 67108864 are allowed");
    block_writer_discard(writer);
}

static void test_planes(void) {
    const size_t counts[] = {0, 1, 3, 15, 16, 17, 4095, 4096, 4097, 10001};
    for (int c = 0; c < 10; ++c) {
        size_t n = counts[c], bytes = 4 * n, wrong = 0;
        uint8_t *in = malloc(bytes + 1), *planes = malloc(bytes + 1), *back = malloc(bytes + 1);
        fill(in, bytes, 7);
        codec_split_planes(in, n, 4, planes);
        for (size_t i = 0; i < bytes; ++i) wrong += planes[i] != in[i % n * 4 + i / n];
        codec_join_planes(planes, n, 4, back);
        EXPECT_EQ(wrong, 0);
        EXPECT(memcmp(in, back, bytes) == 0);
        free(in);
        free(planes);
        free(back);
    }
}

static void test_hash_known_answers(void) {
    EXPECT_EQ(codec_hash("123456789", 9), 0x72dcb18b67a17dff);
    EXPECT_EQ(codec_hash("", 0), 0x2d06800538d394c2);
}

int main(void) {
    folder = test_folder("codec");
    RUN(test_round_trip);
    RUN(test_file_without_blocks);
    RUN(test_same_content_gives_same_bytes);
    RUN(test_layout);
    RUN(test_zstd_program_reads_it);
    RUN(test_every_flipped_byte_is_found);
    RUN(test_wrong_length_is_found);
    RUN(test_absurd_indexes);
    RUN(test_damaged_block_is_named);
    RUN(test_expected_info_is_compared);
    RUN(test_open_errors);
    RUN(test_discard_removes_the_file);
    RUN(test_failed_write);
    RUN(test_block_too_large);
    RUN(test_planes);
    RUN(test_hash_known_answers);
    return test_report();
}
