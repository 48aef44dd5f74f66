// Resampling with a table of integer weights for each direction.
#include "data/pack/image_resize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WEIGHT_BITS = 22 }; // 8 bits of pixel and a sign and a bit for overshoot fit beside them

// out[i] = sum of in[first[i] + j] * weight[i * most + j] for j < count[i]
typedef struct {
    int32_t *first, *count;
    int32_t *weight;
    int64_t most;
} Weights;

static double filter_box(double x) {
    return x > -0.5 && x <= 0.5 ? 1 : 0;
}

static double filter_bicubic(double x) {
    const double a = -0.5;
    if (x < 0) x = -x;
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

static void weights_free(Weights *weights) {
    free(weights->first);
    free(weights->count);
    free(weights->weight);
}

// The weights of output pixel i, whose middle lies at `middle` of the input.
static void weights_fill(Weights *weights, int32_t i, int32_t from, ResizeFilter filter,
                         double middle, double widening, double *exact) {
    double reach = (filter == RESIZE_BOX ? 0.5 : 2.0) * widening, sum = 0;
    int32_t low = (int32_t)(middle - reach + 0.5), high = (int32_t)(middle + reach + 0.5);
    if (middle - reach + 0.5 < 0) low = 0;
    if (high > from) high = from;
    for (int32_t j = low; j < high; ++j) {
        double x = (j - middle + 0.5) * (1 / widening);
        exact[j - low] = filter == RESIZE_BOX ? filter_box(x) : filter_bicubic(x);
        sum += exact[j - low];
    }
    weights->first[i] = low;
    weights->count[i] = high - low;
    for (int32_t j = 0; j < high - low; ++j) {
        double scaled = (sum != 0 ? exact[j] / sum : exact[j]) * (1 << WEIGHT_BITS);
        weights->weight[i * weights->most + j] =
            (int32_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    }
}

static bool weights_make(int32_t from, int32_t to, ResizeFilter filter, Weights *out) {
    double scale = (double)from / to, widening = scale < 1 ? 1 : scale;
    double reach = (filter == RESIZE_BOX ? 0.5 : 2.0) * widening;
    *out = (Weights){.most = 2 * (int64_t)ceil(reach) + 1};
    out->first = calloc((size_t)to, sizeof *out->first);
    out->count = calloc((size_t)to, sizeof *out->count);
    out->weight = calloc((size_t)to * (size_t)out->most, sizeof *out->weight);
    double *exact = malloc((size_t)out->most * sizeof *exact);
    bool made = out->first != NULL && out->count != NULL && out->weight != NULL && exact != NULL;
    for (int32_t i = 0; i < to && made; ++i)
        weights_fill(out, i, from, filter, (i + 0.5) * scale, widening, exact);
    free(exact);
    if (!made) weights_free(out);
    return made;
}

static uint8_t to_pixel(int32_t sum) {
    int32_t value = sum >> WEIGHT_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

// Rows of `from` pixels to rows of `to`.
static void resize_rows(const uint8_t *in, int64_t rows, int32_t from, int32_t to,
                        const Weights *weights, uint8_t *out) {
    for (int64_t y = 0; y < rows; ++y)
        for (int32_t x = 0; x < to; ++x) {
            const uint8_t *pixel = in + y * from + weights->first[x];
            const int32_t *weight = weights->weight + x * weights->most;
            int32_t sum = 1 << (WEIGHT_BITS - 1);
            for (int32_t j = 0; j < weights->count[x]; ++j) sum += pixel[j] * weight[j];
            out[y * to + x] = to_pixel(sum);
        }
}

// One plane of rows of `width` pixels; sum[width].
static void resize_columns(const uint8_t *in, int32_t to, int32_t width, const Weights *weights,
                           int32_t *restrict sum, uint8_t *restrict out) {
    for (int32_t y = 0; y < to; ++y) {
        for (int32_t x = 0; x < width; ++x) sum[x] = 1 << (WEIGHT_BITS - 1);
        for (int32_t j = 0; j < weights->count[y]; ++j) {
            const uint8_t *row = in + (int64_t)(weights->first[y] + j) * width;
            int32_t weight = weights->weight[y * weights->most + j];
            for (int32_t x = 0; x < width; ++x) sum[x] += row[x] * weight;
        }
        for (int32_t x = 0; x < width; ++x) out[(int64_t)y * width + x] = to_pixel(sum[x]);
    }
}

static Status resize_width(Image *image, int32_t width, ResizeFilter filter) {
    Weights weights;
    if (width == image->width) return STATUS_OK;
    int64_t rows = (int64_t)image->channels * image->height;
    uint8_t *out = malloc((size_t)(rows * width));
    bool good = out != NULL && weights_make(image->width, width, filter, &weights);
    if (!good) free(out);
    FAIL_IF(!good, NO_MEMORY, "no memory to resize a picture");
    resize_rows(image->pixels, rows, image->width, width, &weights, out);
    weights_free(&weights);
    free(image->pixels);
    image->pixels = out;
    image->width = width;
    return STATUS_OK;
}

static Status resize_height(Image *image, int32_t height, ResizeFilter filter) {
    Weights weights;
    if (height == image->height) return STATUS_OK;
    int64_t plane = (int64_t)height * image->width;
    uint8_t *out = malloc((size_t)(image->channels * plane));
    int32_t *sum = malloc((size_t)image->width * sizeof *sum);
    bool good = out != NULL && sum != NULL && weights_make(image->height, height, filter, &weights);
    if (!good) {
        free(out);
        free(sum);
    }
    FAIL_IF(!good, NO_MEMORY, "no memory to resize a picture");
    for (int32_t c = 0; c < image->channels; ++c)
        resize_columns(image->pixels + (int64_t)c * image->height * image->width, height,
                       image->width, &weights, sum, out + c * plane);
    weights_free(&weights);
    free(sum);
    free(image->pixels);
    image->pixels = out;
    image->height = height;
    return STATUS_OK;
}

Status image_resize(Image *image, int32_t height, int32_t width, ResizeFilter filter) {
    REQUIRE(height >= 1 && width >= 1);
    TRY(resize_width(image, width, filter));
    return resize_height(image, height, filter);
}

static int32_t shorter_side(const Image *image) {
    return image->height < image->width ? image->height : image->width;
}

// Moves the rows of the square to the front: they only move towards it.
static void cut_square(Image *image, int32_t size) {
    int64_t top = (image->height - size) / 2, left = (image->width - size) / 2;
    uint8_t *to = image->pixels;
    for (int64_t c = 0; c < image->channels; ++c)
        for (int64_t y = 0; y < size; ++y, to += size)
            memmove(to, image->pixels + ((c * image->height + top + y) * image->width + left),
                    (size_t)size);
    image->height = image->width = size;
}

Status image_crop(Image *image, int32_t size) {
    REQUIRE(size >= 1);
    while (shorter_side(image) / 2 >= size)
        TRY(image_resize(image, image->height / 2, image->width / 2, RESIZE_BOX));
    double scale = (double)size / shorter_side(image);
    double height = rint(image->height * scale), width = rint(image->width * scale);
    FAIL_IF(height * width > IMAGE_PIXELS_MOST, BAD_DATA,
            "is %d x %d, too narrow to become a square of %d", image->width, image->height, size);
    TRY(image_resize(image, height < size ? size : (int32_t)height,
                     width < size ? size : (int32_t)width, RESIZE_BICUBIC));
    cut_square(image, size);
    return STATUS_OK;
}

void image_free(Image *image) {
    free(image->pixels);
    *image = (Image){0};
}
