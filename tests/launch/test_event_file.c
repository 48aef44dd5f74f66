// TensorBoard's event files, byte for byte against what its own protobuf and CRC code give.
#include "launch/event_file.h"

#include <stdlib.h>
#include <string.h>

#include "tests/test.h"

typedef void Writer(FILE *file);

// The bytes that a writer gives; `skip` and `cut` are those of the frame that are left away.
static void expect_bytes(Writer *writer, const char *hex, size_t skip, size_t cut) {
    char *data = NULL, text[1024] = "";
    size_t bytes = 0;
    FILE *file = open_memstream(&data, &bytes);
    writer(file);
    fclose(file);
    REQUIRE(bytes >= skip + cut && 2 * bytes < sizeof text);
    for (size_t i = skip; i < bytes - cut; ++i)
        snprintf(text + 2 * (i - skip), 3, "%02x", (unsigned char)data[i]);
    EXPECT(strcmp(text, hex) == 0);
    if (strcmp(text, hex) != 0) printf("  %s\n  %s\n", text, hex);
    free(data);
}

static void version(FILE *file) {
    event_version(file, 1700000000.0, 0);
}
static void loss(FILE *file) {
    event_scalar(file, 1700000001.5, 10, "loss", 0.25);
}
static void start(FILE *file) {
    event_start(file, 1700000002.0, 5);
}
static void text(FILE *file) {
    event_text(file, 1700000002.0, 0, "config", "hi");
}

static void parameters(FILE *file) {
    event_parameters(file, 1700000000.0, &(EventParameter){"lr", NULL, 0.5}, 1);
}
static void success(FILE *file) {
    event_success(file, 1700000100.0);
}

static void test_framed_records(void) {
    expect_bytes(version,
                 "1800000000000000a37f4b22"
                 "0900000040fc54d9411a0d627261696e2e4576656e743a32"
                 "eced8f9d",
                 0, 0);
    expect_bytes(loss,
                 "1a00000000000000129bd82d"
                 "0900006040fc54d941100a2a0d0a0b0a046c6f7373150000803e"
                 "14c974a3",
                 0, 0);
}

static void test_bodies(void) {
    expect_bytes(start, "0900008040fc54d94110053a020801", 12, 4);
    expect_bytes(text,
                 "0900008040fc54d9412a240a220a06636f6e666967420c0807120412020801420268694a0a0a060a"
                 "04746578742002",
                 12, 4);
}

static void test_parameters(void) {
    expect_bytes(parameters,
                 "0900000040fc54d9412a530a510a1c5f68706172616d735f2f73657373696f6e5f7374617274"
                 "5f696e666f42060801120212004a290a270a0768706172616d73121c1a1a0a0f0a026c721209"
                 "11000000000000e03f2900000040fc54d941",
                 12, 4);
    expect_bytes(success,
                 "0900000059fc54d9412a420a400a1a5f68706172616d735f2f73657373696f6e5f656e645f69"
                 "6e666f42060801120212004a1a0a180a0768706172616d73120d220b08011100000059fc54d9"
                 "41",
                 12, 4);
}

// A PNG of 3 x 2 grey points, as far as its header.
static const unsigned char header[] = {0x89, 'P', 'N', 'G', 13,  10, 26, 10, 0, 0, 0,
                                       13,   'I', 'H', 'D', 'R', 0,  0,  0,  3, 0, 0,
                                       0,    2,   8,   0,   0,   0,  0,  1,  2, 3, 4};

static void image(FILE *file) {
    event_image(file, 1700000002.0, 10, "samples", header, sizeof header);
}
static void no_image(FILE *file) {
    event_image(file, 1700000002.0, 10, "samples", header, 20);
}

static void test_image(void) {
    expect_bytes(image,
                 "0900008040fc54d941100a2a360a340a0773616d706c65732229080210031801"
                 "2221"
                 "89504e470d0a1a0a0000000d4948445200000003000000020800000000"
                 "01020304",
                 12, 4);
    expect_bytes(no_image, "", 0, 0);
}

static void test_crc(void) {
    static const unsigned char zeros[32], nothing[1];
    unsigned char ones[32], rising[32];
    memset(ones, 255, sizeof ones);
    for (int i = 0; i < 32; ++i) rising[i] = (unsigned char)i;
    EXPECT_EQ(event_crc(nothing, 0), 0);
    EXPECT_EQ(event_crc(nothing, 1), 0x527d5351);
    EXPECT_EQ(event_crc("a", 1), 0xc1d04330);
    EXPECT_EQ(event_crc("123456789", 9), 0xe3069283);
    EXPECT_EQ(event_crc(zeros, 32), 0x8a9136aa);
    EXPECT_EQ(event_crc(ones, 32), 0x62a8ab43);
    EXPECT_EQ(event_crc(rising, 32), 0x46dd794e);
}

int main(void) {
    RUN(test_framed_records);
    RUN(test_bodies);
    RUN(test_parameters);
    RUN(test_image);
    RUN(test_crc);
    return test_report();
}
