// JPEG through libjpeg and PNG through libpng, which both report errors by longjmp: whatever they
// need is in a Decoder, so that no local variable has to survive a jump.
#include "data/pack/image_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

enum { REASON_BYTES = JMSG_LENGTH_MAX, DEFLATE_RATIO_MOST = 1032, SAMPLES_MOST = 4 };

typedef struct {
    const uint8_t *data;
    size_t bytes, at;
    bool header_only;
    Image image; // what is decoded; channels as asked for
    int32_t
        stored; // samples of a decoded pixel: 1 grey, 2 and alpha, 3 colour, 4 and alpha or CMYK
    bool inks;  // of 4: CMYK, inverted
    uint8_t *lines; // decoded, not yet planar
    char reason[REASON_BYTES];
    bool no_memory;

    jmp_buf jump;
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr jpeg_errors;
    png_structp png;
    png_infop info;
} Decoder;

ImageType image_type(const void *data, size_t bytes) {
    static const uint8_t jpeg[3] = {0xff, 0xd8, 0xff};
    static const uint8_t png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    if (bytes >= sizeof jpeg && memcmp(data, jpeg, sizeof jpeg) == 0) return IMAGE_JPEG;
    if (bytes >= sizeof png && memcmp(data, png, sizeof png) == 0) return IMAGE_PNG;
    return IMAGE_NONE;
}

// ---- what both share ----------------------------------------------------------------------------

__attribute__((format(printf, 2, 3))) _Noreturn static void give_up(Decoder *decoder,
                                                                    const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(decoder->reason, sizeof decoder->reason, format, arguments);
    va_end(arguments);
    longjmp(decoder->jump, 1);
}

static void *take_memory(Decoder *decoder, int64_t bytes) {
    void *memory = malloc((size_t)bytes);
    decoder->no_memory = memory == NULL;
    if (memory == NULL) give_up(decoder, "no memory for %lld bytes", (long long)bytes);
    return memory;
}

static void take_size(Decoder *decoder, int64_t height, int64_t width) {
    if (height < 1 || width < 1 || height > IMAGE_SIDE_MOST || width > IMAGE_SIDE_MOST)
        give_up(decoder, "it claims %lld x %lld pixels; a side has 1 to %d", (long long)width,
                (long long)height, IMAGE_SIDE_MOST);
    if (height * width > IMAGE_PIXELS_MOST)
        give_up(decoder, "it claims %lld x %lld pixels, more than %d in all", (long long)width,
                (long long)height, IMAGE_PIXELS_MOST);
    decoder->image.height = (int32_t)height;
    decoder->image.width = (int32_t)width;
}

// A product of two fractions of 255, rounded.
static int32_t times(int32_t a, int32_t b) {
    return (a * b + 127) / 255;
}

// Red, green and blue of a decoded pixel.
static void pixel_colours(const Decoder *decoder, const uint8_t *pixel, uint8_t rgb[3]) {
    int32_t stored = decoder->stored, black = pixel[stored - 1];
    for (int c = 0; c < 3; ++c) {
        int32_t value = pixel[stored >= 3 ? c : 0];
        if (decoder->inks)
            value = black - times(255 - value, black);
        else if (stored % 2 == 0)
            value = (value * black + 255 * (255 - black) + 127) / 255; // black: alpha
        rgb[c] = (uint8_t)value;
    }
}

// Line y of the picture from interleaved samples to its planes.
static void put_line(Decoder *decoder, int64_t y, const uint8_t *line) {
    const Image *image = &decoder->image;
    int64_t plane = (int64_t)image->height * image->width;
    uint8_t *to = image->pixels + y * image->width, rgb[3];
    for (int64_t x = 0; x < image->width; ++x, line += decoder->stored) {
        pixel_colours(decoder, line, rgb);
        if (image->channels == 3)
            for (int c = 0; c < 3; ++c) to[c * plane + x] = rgb[c];
        else if (decoder->stored <= 2)
            to[x] = rgb[0];
        else
            to[x] = (uint8_t)((19595 * rgb[0] + 38470 * rgb[1] + 7471 * rgb[2] + 32768) >> 16);
    }
}

static void take_pixels(Decoder *decoder) {
    Image *image = &decoder->image;
    image->pixels = take_memory(decoder, (int64_t)image->channels * image->height * image->width);
}

// ---- JPEG ---------------------------------------------------------------------------------------

_Noreturn static void jpeg_refuse(j_common_ptr jpeg) {
    Decoder *decoder = jpeg->client_data;
    char reason[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, reason);
    give_up(decoder, "%s", reason);
}

// Level -1: the data are damaged, and libjpeg would invent some.
static void jpeg_warn(j_common_ptr jpeg, int level) {
    if (level < 0) jpeg_refuse(jpeg);
}

static void jpeg_keep_quiet(j_common_ptr jpeg) {
    (void)jpeg;
}

// Each block of 8 x 8 samples takes a bit at least.
static void jpeg_check_bytes(Decoder *decoder) {
    const struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
    int64_t blocks = 0;
    for (int c = 0; c < jpeg->num_components; ++c)
        blocks += (int64_t)jpeg->comp_info[c].width_in_blocks * jpeg->comp_info[c].height_in_blocks;
    if (blocks > 8 * (int64_t)decoder->bytes)
        give_up(decoder, "it claims %d x %d pixels, more than %zu bytes can hold",
                decoder->image.width, decoder->image.height, decoder->bytes);
    if (jpeg->arith_code) give_up(decoder, "it has arithmetic coding, which few programs read");
}

static void jpeg_head(Decoder *decoder) {
    struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
    jpeg->err = jpeg_std_error(&decoder->jpeg_errors);
    jpeg->err->error_exit = jpeg_refuse;
    jpeg->err->emit_message = jpeg_warn;
    jpeg->err->output_message = jpeg_keep_quiet;
    jpeg->client_data = decoder;
    jpeg_create_decompress(jpeg);
    jpeg_mem_src(jpeg, decoder->data, (unsigned long)decoder->bytes);
    jpeg_read_header(jpeg, TRUE);
    take_size(decoder, jpeg->image_height, jpeg->image_width);
    jpeg_check_bytes(decoder);
    if (decoder->header_only)
        decoder->image.channels = jpeg->jpeg_color_space == JCS_GRAYSCALE ? 1 : 3;
}

static void jpeg_body(Decoder *decoder) {
    struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
    decoder->inks = jpeg->num_components == 4;
    decoder->stored = decoder->inks ? 4 : jpeg->jpeg_color_space == JCS_GRAYSCALE ? 1 : 3;
    jpeg->out_color_space = decoder->inks          ? JCS_CMYK
                            : decoder->stored == 1 ? JCS_GRAYSCALE
                                                   : JCS_RGB;
    jpeg->dct_method = JDCT_ISLOW;
    take_pixels(decoder);
    decoder->lines = take_memory(decoder, (int64_t)decoder->image.width * SAMPLES_MOST);
    jpeg_start_decompress(jpeg);
    while (jpeg->output_scanline < jpeg->output_height) {
        JSAMPROW row = decoder->lines;
        int64_t y = jpeg->output_scanline;
        if (jpeg_read_scanlines(jpeg, &row, 1) == 1) put_line(decoder, y, decoder->lines);
    }
    jpeg_finish_decompress(jpeg);
}

// ---- PNG ----------------------------------------------------------------------------------------

_Noreturn static void png_refuse(png_structp png, png_const_charp reason) {
    give_up(png_get_error_ptr(png), "%s", reason);
}

static void png_ignore(png_structp png, png_const_charp reason) {
    (void)png;
    (void)reason; // odd profiles and times: damaged data have a wrong sum, which is an error
}

static void png_give(png_structp png, png_bytep out, size_t bytes) {
    Decoder *decoder = png_get_io_ptr(png);
    if (bytes > decoder->bytes - decoder->at) give_up(decoder, "it ends too early");
    memcpy(out, decoder->data + decoder->at, bytes);
    decoder->at += bytes;
}

static void png_head(Decoder *decoder) {
    decoder->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, decoder, png_refuse, png_ignore);
    if (decoder->png != NULL) decoder->info = png_create_info_struct(decoder->png);
    decoder->no_memory = decoder->info == NULL;
    if (decoder->no_memory) give_up(decoder, "no memory for libpng");
    png_structp png = decoder->png;
    png_set_read_fn(png, decoder, png_give);
    png_set_user_limits(png, IMAGE_SIDE_MOST, IMAGE_SIDE_MOST);
    png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_read_info(png, decoder->info);
    int64_t height = png_get_image_height(png, decoder->info);
    take_size(decoder, height, png_get_image_width(png, decoder->info));
    if ((int64_t)png_get_rowbytes(png, decoder->info) * height / DEFLATE_RATIO_MOST >
        (int64_t)decoder->bytes)
        give_up(decoder, "it claims %d x %d pixels, more than %zu bytes can hold",
                decoder->image.width, decoder->image.height, decoder->bytes);
    bool colour = (png_get_color_type(png, decoder->info) & PNG_COLOR_MASK_COLOR) != 0;
    if (decoder->header_only) decoder->image.channels = colour ? 3 : 1;
}

static void png_body(Decoder *decoder) {
    png_structp png = decoder->png;
    png_set_expand(png); // palette to colour, fewer bits to 8, transparency to alpha
    png_set_scale_16(png);
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, decoder->info);
    decoder->stored = png_get_channels(png, decoder->info);
    int64_t row = (int64_t)png_get_rowbytes(png, decoder->info), height = decoder->image.height;
    if (row != (int64_t)decoder->image.width * decoder->stored)
        give_up(decoder, "libpng gives rows of %lld bytes", (long long)row);
    take_pixels(decoder);
    // What is interlaced comes in several passes over the whole picture.
    decoder->lines = take_memory(decoder, passes == 1 ? row : row * height);
    for (int64_t y = 0; passes > 1 && y < (passes - 1) * height; ++y)
        png_read_row(png, decoder->lines + y % height * row, NULL);
    for (int64_t y = 0; y < height; ++y) {
        uint8_t *line = decoder->lines + (passes == 1 ? 0 : y * row);
        png_read_row(png, line, NULL);
        put_line(decoder, y, line);
    }
    png_read_end(png, NULL);
}

// ---- both ---------------------------------------------------------------------------------------

static bool decode(Decoder *decoder, ImageType type) {
    if (setjmp(decoder->jump) != 0) return false;
    if (type == IMAGE_JPEG) {
        jpeg_head(decoder);
        if (!decoder->header_only) jpeg_body(decoder);
    } else {
        png_head(decoder);
        if (!decoder->header_only) png_body(decoder);
    }
    return true;
}

static Status decode_or_tell(const char *name, const void *data, size_t bytes, Decoder *decoder,
                             Image *out) {
    ImageType type = image_type(data, bytes);
    FAIL_IF(type == IMAGE_NONE, BAD_DATA, "%s: is neither a JPEG nor a PNG", name);
    decoder->data = data;
    decoder->bytes = bytes;
    bool good = decode(decoder, type);
    if (type == IMAGE_JPEG)
        jpeg_destroy_decompress(&decoder->jpeg);
    else
        png_destroy_read_struct(&decoder->png, &decoder->info, NULL);
    free(decoder->lines);
    if (!good) image_free(&decoder->image);
    FAIL_IF(!good && decoder->no_memory, NO_MEMORY, "%s: %s", name, decoder->reason);
    FAIL_IF(!good, BAD_DATA, "%s: is not a whole %s: %s", name, type == IMAGE_JPEG ? "JPEG" : "PNG",
            decoder->reason);
    *out = decoder->image;
    return STATUS_OK;
}

Status image_header(const char *name, const void *data, size_t bytes, Image *out) {
    Decoder decoder = {.header_only = true};
    return decode_or_tell(name, data, bytes, &decoder, out);
}

Status image_decode(const char *name, const void *data, size_t bytes, int32_t channels,
                    int32_t size, Image *out) {
    REQUIRE((channels == 1 || channels == 3) && size >= 0);
    Decoder decoder = {.image.channels = channels};
    *out = (Image){0};
    TRY(decode_or_tell(name, data, bytes, &decoder, out));
    if (size == 0) return STATUS_OK;
    Status status = image_crop(out, size);
    if (status == STATUS_OK) return STATUS_OK;
    image_free(out);
    ErrorRecord error = error_take();
    FAIL_IF(status == STATUS_BAD_DATA, BAD_DATA, "%s: %s", name, error.text);
    return error_restore(&error);
}

#define TEXT_OF(x)    #x
#define VERSION_OF(x) TEXT_OF(x)

const char *image_version(void) {
    return VERSION_OF(LIBJPEG_TURBO_VERSION);
}
