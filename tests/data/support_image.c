// Pictures as files.
#include "tests/data/support_image.h"

#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>
#include <png.h>

void support_write_png(const char *path, const PngRecipe *recipe) {
    FILE *file = fopen(path, "we");
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_color colour[256];
    png_byte alpha[256];
    int entries = 1 << (recipe->depth < 8 ? recipe->depth : 8);
    if (file == NULL) abort();
    png_init_io(png, file);
    png_set_IHDR(png, info, (png_uint_32)recipe->width, (png_uint_32)recipe->height, recipe->depth,
                 recipe->colour, recipe->interlace, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    for (int i = 0; recipe->palette != NULL && i < entries; ++i) {
        const uint8_t *entry = recipe->palette + 4 * (size_t)i;
        colour[i] = (png_color){entry[0], entry[1], entry[2]};
        alpha[i] = entry[3];
    }
    if (recipe->palette != NULL) {
        png_set_PLTE(png, info, colour, entries);
        png_set_tRNS(png, info, alpha, entries, NULL);
    }
    if (recipe->clear >= 0) {
        png_uint_16 value = (png_uint_16)recipe->clear;
        png_color_16 clear = {0, value, value, value, value};
        png_set_tRNS(png, info, NULL, 0, &clear);
    }
    png_write_info(png, info);
    png_bytep *row = malloc((size_t)recipe->height * sizeof *row);
    for (int32_t y = 0; y < recipe->height; ++y)
        row[y] = (png_bytep)(uintptr_t)(recipe->rows + (size_t)y * recipe->row_bytes);
    png_write_image(png, row);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    free(row);
    fclose(file);
}

void support_write_jpeg(const char *path, const uint8_t *pixels, int32_t width, int32_t height,
                        int channels, bool progressive) {
    struct jpeg_compress_struct jpeg = {0};
    struct jpeg_error_mgr errors;
    FILE *file = fopen(path, "we");
    if (file == NULL) abort();
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_stdio_dest(&jpeg, file);
    jpeg.image_width = (JDIMENSION)width;
    jpeg.image_height = (JDIMENSION)height;
    jpeg.input_components = channels;
    jpeg.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 95, TRUE);
    if (progressive) jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    while (jpeg.next_scanline < jpeg.image_height) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(pixels + (size_t)jpeg.next_scanline * (size_t)width *
                                                          (size_t)channels);
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    fclose(file);
}
