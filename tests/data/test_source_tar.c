// WebDataset's tars as a source: pictures and latents, labels of two kinds, bad samples, ranks.
#include "base/file.h"
#include "data/dataset_index.h"
#include "data/pack/pack.h"
#include "tests/data/support_data.h"
#include "tests/test.h"

static char folder[512];

// A program that writes w-000000.tar and w-000001.tar.gz of 30 samples each: pictures 8 x 8 whose
// pixels are the sample's number, or latents, and a class of cls or of json.
static const char writer[] =
    "import io, json, struct, sys, tarfile, zlib\n"
    "folder, kind, label = sys.argv[1:4]\n"
    "def png(value):\n"
    "    def chunk(name, data):\n"
    "        body = name + data\n"
    "        return struct.pack('>I', len(data)) + body + struct.pack('>I', zlib.crc32(body))\n"
    "    rows = b''.join(b'\\0' + bytes([value]) * 8 for _ in range(8))\n"
    "    return (b'\\x89PNG\\r\\n\\x1a\\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 8, 8, 8, 0, 0, 0, 0))\n"
    "            + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))\n"
    "def npy(value):\n"
    "    head = \"{'descr': '<f2', 'fortran_order': False, 'shape': (2, 1, 2), }\"\n"
    "    head += ' ' * (63 - (10 + len(head)) % 64) + '\\n'\n"
    "    number = struct.pack('<e', value)\n"
    "    return b'\\x93NUMPY\\x01\\0' + struct.pack('<H', len(head)) + head.encode() + 4 * number\n"
    "for t in range(2):\n"
    "    name = f'{folder}/w-00000{t}.tar' + ('.gz' if t else '')\n"
    "    with tarfile.open(name, 'w:gz' if t else 'w') as tar:\n"
    "        def add(name, data):\n"
    "            info = tarfile.TarInfo(name)\n"
    "            info.size, info.mtime = len(data), 1700000000.25\n"
    "            tar.addfile(info, io.BytesIO(data))\n"
    "        for i in range(30 * t, 30 * t + 30):\n"
    "            if label == 'cls':\n"
    "                add(f'a/{i:06}.cls', b'x' if i == 41 and kind == 'bad' else b'%d' % (7 * i))\n"
    "            else:\n"
    "                add(f'a/{i:06}.json', json.dumps({'label': 7 * i, 'text': 'x'}).encode())\n"
    "            add(f'a/{i:06}.' + ('npy' if kind == 'npy' else 'png'),\n"
    "                npy(i) if kind == 'npy' else b'no' if i == 5 and kind == 'bad' else png(i))\n";

static const char *write_tars(const char *name, const char *kind, const char *label) {
    char command[2500];
    static char source[600];
    snprintf(source, sizeof source, "%s/%s", folder, name);
    EXPECT_OK(folder_make(source));
    const char *program = support_path(folder, "writer.py");
    support_write_file(program, writer, sizeof writer - 1);
    snprintf(command, sizeof command, "python3 '%s' '%s' %s %s", program, source, kind, label);
    EXPECT_EQ(system(command), 0);
    return source;
}

static PackConfig config_of(const PackInput *input, const char *out) {
    return (PackConfig){.input = input, .inputs = 1, .out = out, .name = "tars"};
}

// The labels tell the samples: 7 * i, so that there are more than 256 classes.
static void expect_pictures(const char *out, int missing_a, int missing_b) {
    size_t bytes;
    uint16_t *label = (uint16_t *)(void *)support_read_column(out, "train", "label", 0, &bytes);
    int64_t count = (int64_t)bytes / 2;
    uint8_t *pixel = support_read_column(out, "train", "image", 0, &bytes);
    EXPECT_EQ(bytes, count * 64);
    int wrong = 0;
    int64_t at = 0;
    for (int i = 0; i < 60 && at < count; ++i) {
        if (i == missing_a || i == missing_b) continue;
        wrong += label[at] != 7 * i || pixel[at * 64] != i || pixel[at * 64 + 63] != i;
        ++at;
    }
    EXPECT_EQ(at, count);
    EXPECT_EQ(wrong, 0);
    free(label);
    free(pixel);
}

static void test_pictures(void) {
    static const char *const labels[2] = {"cls", "json"};
    for (int k = 0; k < 2; ++k) {
        char out[600];
        snprintf(out, sizeof out, "%s/pictures-%s", folder, labels[k]);
        PackInput input = {write_tars(labels[k], "png", labels[k]), "train"};
        PackConfig config = config_of(&input, out);
        EXPECT_OK(pack(&config));
        EXPECT_OK(dataset_verify(out, 0, 1));
        expect_pictures(out, -1, -1);
        config.shuffle = SHUFFLE_ALWAYS;
        config.force = true;
        EXPECT_FAIL(pack(&config), BAD_USAGE, "in its own order only");
    }
}

// Read from a later place, then from an earlier one, by a rank that has not counted.
static void test_places(void) {
    Source lead, other;
    char stage[600];
    snprintf(stage, sizeof stage, "%s/stage", folder);
    EXPECT_OK(folder_make(stage));
    SourceOptions options = {.stage = stage, .lead = true};
    const char *source = support_path(folder, "cls");
    EXPECT_OK(source_open(source, &options, &lead));
    EXPECT_TEXT(lead.type->name, "tar");
    SourceOptions follower = {.stage = stage};
    EXPECT_OK(source_open(source, &follower, &other));
    EXPECT_EQ(other.info.classes, 7 * 59 + 1);
    EXPECT_EQ(other.split[0].samples, 60);
    static const int64_t places[] = {50, 3, 4, 31, 30, 59, 0};
    for (size_t i = 0; i < sizeof places / sizeof *places; ++i) {
        uint8_t pixel[64];
        uint16_t label;
        int64_t got;
        uint8_t *const out[DATASET_COLUMNS_MOST] = {pixel, (uint8_t *)&label};
        EXPECT_OK(source_read(&other, 0, places[i], 1, &got, out));
        EXPECT(pixel[9] == places[i] && label == 7 * places[i]);
    }
    source_close(&other);
    source_close(&lead);
}

static void test_bad_samples(void) {
    const char *out = support_path(folder, "bad-set");
    PackInput input = {write_tars("bad", "bad", "cls"), "train"};
    PackConfig config = config_of(&input, out);
    EXPECT_FAIL(pack(&config), BAD_DATA, "2 samples cannot be packed");
    config.skip_bad = true;
    EXPECT_OK(pack(&config));
    expect_pictures(out, 5, 41);
}

static void test_latents(void) {
    const char *out = support_path(folder, "latents");
    PackInput input = {write_tars("npy", "npy", "cls"), "train"};
    PackConfig config = config_of(&input, out);
    EXPECT_OK(pack(&config));
    DatasetIndex index;
    EXPECT_OK(dataset_index_load(out, &index));
    EXPECT(index.info.kind == KIND_LATENT && index.info.column[0].dtype == DTYPE_F16);
    dataset_index_close(&index);
    size_t bytes;
    uint16_t *half = (uint16_t *)(void *)support_read_column(out, "train", "latent", 0, &bytes);
    EXPECT_EQ(bytes, 60 * 8);
    EXPECT(half[4 * 1] == 0x3C00 && half[4 * 2 + 3] == 0x4000 && half[4 * 48] == 0x5200);
    free(half);
}

int main(void) {
    snprintf(folder, sizeof folder, "%s", test_folder("source-tar"));
    if (system("python3 -c 'import tarfile'") != 0) {
        printf("skip: python3 is missing\n");
        return 77;
    }
    RUN(test_pictures);
    RUN(test_places);
    RUN(test_bad_samples);
    RUN(test_latents);
    (void)!folder_remove(folder);
    return test_report();
}
