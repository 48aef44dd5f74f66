// Frames and messages behind launch/event_file.h; numbers of fields are those of TensorBoard's
// event.proto, summary.proto and tensor.proto.
#include "launch/event_file.h"

#include <stdlib.h>
#include <string.h>

enum { VARINT, FIXED_64, BYTES, FIXED_32 = 5 }; // kinds on the wire
enum { EVENT_WALL = 1, EVENT_STEP, EVENT_VERSION, EVENT_SUMMARY = 5, EVENT_SESSION = 7 };
enum { VALUE_TAG = 1, VALUE_SIMPLE, VALUE_IMAGE = 4, VALUE_TENSOR = 8, VALUE_METADATA };

uint32_t event_crc(const void *data, size_t bytes) {
    const unsigned char *at = data;
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes; ++i) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82F63B78u : 0);
    }
    return ~crc;
}

// ---- messages ---------------------------------------------------------------------------------

// A message under way, in memory; without memory it stays empty, and is not written.
typedef struct {
    char *data;
    size_t bytes;
    FILE *file;
} Message;

static void message_open(Message *message) {
    *message = (Message){0};
    message->file = open_memstream(&message->data, &message->bytes);
}

static void message_close(Message *message) {
    if (message->file != NULL) fclose(message->file);
    message->file = NULL;
}

static void put_little(FILE *file, uint64_t value, int bytes) {
    for (int i = 0; i < bytes && file != NULL; ++i) fputc((int)(value >> 8 * i & 255), file);
}

static void put_varint(FILE *file, uint64_t value) {
    for (; value >= 128 && file != NULL; value >>= 7) fputc((int)(value & 127) | 128, file);
    if (file != NULL) fputc((int)value, file);
}

static void put_key(FILE *file, int field, int kind) {
    put_varint(file, (uint64_t)(field << 3 | kind));
}

static void put_number(FILE *file, int field, uint64_t value) {
    put_key(file, field, VARINT);
    put_varint(file, value);
}

static void put_bytes(FILE *file, int field, const void *data, size_t bytes) {
    put_key(file, field, BYTES);
    put_varint(file, bytes);
    if (file != NULL && bytes > 0) fwrite(data, 1, bytes, file);
}

static void put_text(FILE *file, int field, const char *text) {
    put_bytes(file, field, text, strlen(text));
}

static void put_float(FILE *file, int field, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(file, field, FIXED_32);
    put_little(file, bits, 4);
}

static void put_double(FILE *file, int field, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(file, field, FIXED_64);
    put_little(file, bits, 8);
}

// A message that is done becomes a field of the one around it.
static void put_message(FILE *file, int field, Message *inner) {
    message_close(inner);
    put_bytes(file, field, inner->data, inner->bytes);
    free(inner->data);
}

// ---- records ----------------------------------------------------------------------------------

static void event_open(Message *event, double wall, int64_t step) {
    message_open(event);
    put_double(event->file, EVENT_WALL, wall);
    if (step != 0) put_number(event->file, EVENT_STEP, (uint64_t)step);
}

static uint32_t masked(const void *data, size_t bytes) {
    uint32_t crc = event_crc(data, bytes);
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

static void event_close(FILE *file, Message *event) {
    unsigned char length[8];
    message_close(event);
    for (int i = 0; i < 8; ++i) length[i] = (unsigned char)((uint64_t)event->bytes >> 8 * i);
    if (event->data != NULL && event->bytes > 0) {
        fwrite(length, 1, sizeof length, file);
        put_little(file, masked(length, sizeof length), 4);
        fwrite(event->data, 1, event->bytes, file);
        put_little(file, masked(event->data, event->bytes), 4);
    }
    free(event->data);
}

// An event of one value, which `value` holds.
static void summary_close(FILE *file, Message *event, Message *value) {
    Message summary;
    message_open(&summary);
    put_message(summary.file, 1, value);
    put_message(event->file, EVENT_SUMMARY, &summary);
    event_close(file, event);
}

void event_version(FILE *file, double wall, int64_t step) {
    Message event;
    event_open(&event, wall, step);
    put_text(event.file, EVENT_VERSION, "brain.Event:2");
    event_close(file, &event);
}

void event_start(FILE *file, double wall, int64_t step) {
    Message event, session;
    event_open(&event, wall, step);
    message_open(&session);
    put_number(session.file, 1, 1); // status START
    put_message(event.file, EVENT_SESSION, &session);
    event_close(file, &event);
}

void event_scalar(FILE *file, double wall, int64_t step, const char *tag, double value) {
    Message event, inner;
    event_open(&event, wall, step);
    message_open(&inner);
    put_text(inner.file, VALUE_TAG, tag);
    put_float(inner.file, VALUE_SIMPLE, (float)value);
    summary_close(file, &event, &inner);
}

void event_text(FILE *file, double wall, int64_t step, const char *tag, const char *markdown) {
    Message event, inner, tensor, shape, dim, metadata, plugin;
    event_open(&event, wall, step);
    message_open(&inner);
    put_text(inner.file, VALUE_TAG, tag);
    message_open(&tensor);
    put_number(tensor.file, 1, 7); // of strings, [1]
    message_open(&shape);
    message_open(&dim);
    put_number(dim.file, 1, 1);
    put_message(shape.file, 2, &dim);
    put_message(tensor.file, 2, &shape);
    put_text(tensor.file, 8, markdown);
    put_message(inner.file, VALUE_TENSOR, &tensor);
    message_open(&metadata);
    message_open(&plugin);
    put_text(plugin.file, 1, "text");
    put_message(metadata.file, 1, &plugin);
    put_number(metadata.file, 4, 2); // tensors
    put_message(inner.file, VALUE_METADATA, &metadata);
    summary_close(file, &event, &inner);
}

// A value that is all metadata: its tensor is empty, the plugin's own message stands in its
// description.
static void parameters_close(FILE *file, double wall, const char *tag, int field,
                             Message *content) {
    Message event, inner, tensor, shape, metadata, plugin, data;
    event_open(&event, wall, 0);
    message_open(&inner);
    put_text(inner.file, VALUE_TAG, tag);
    message_open(&tensor);
    put_number(tensor.file, 1, 1); // of floats, [0]
    message_open(&shape);
    put_bytes(shape.file, 2, "", 0);
    put_message(tensor.file, 2, &shape);
    put_message(inner.file, VALUE_TENSOR, &tensor);
    message_open(&metadata);
    message_open(&plugin);
    put_text(plugin.file, 1, "hparams");
    message_open(&data);
    put_message(data.file, field, content);
    put_message(plugin.file, 2, &data);
    put_message(metadata.file, 1, &plugin);
    put_message(inner.file, VALUE_METADATA, &metadata);
    summary_close(file, &event, &inner);
}

void event_parameters(FILE *file, double wall, const EventParameter *list, int count) {
    Message info, entry, value;
    message_open(&info);
    for (int i = 0; i < count; ++i) {
        message_open(&entry);
        put_text(entry.file, 1, list[i].name);
        message_open(&value);
        if (list[i].text != NULL)
            put_text(value.file, 3, list[i].text);
        else
            put_double(value.file, 2, list[i].number);
        put_message(entry.file, 2, &value);
        put_message(info.file, 1, &entry);
    }
    put_double(info.file, 5, wall);
    parameters_close(file, wall, "_hparams_/session_start_info", 3, &info);
}

void event_success(FILE *file, double wall) {
    Message info;
    message_open(&info);
    put_number(info.file, 1, 1); // SUCCESS
    put_double(info.file, 2, wall);
    parameters_close(file, wall, "_hparams_/session_end_info", 4, &info);
}

static uint32_t big_endian(const unsigned char *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

void event_image(FILE *file, double wall, int64_t step, const char *tag, const void *png,
                 size_t bytes) {
    const unsigned char *header = png; // signature, then IHDR: width, height, depth, colours
    if (bytes < 33 || memcmp(header + 12, "IHDR", 4) != 0) return;
    Message event, inner, image;
    event_open(&event, wall, step);
    message_open(&inner);
    put_text(inner.file, VALUE_TAG, tag);
    message_open(&image);
    put_number(image.file, 1, big_endian(header + 20));
    put_number(image.file, 2, big_endian(header + 16));
    put_number(image.file, 3, header[25] == 2 ? 3 : 1); // RGB, or grey
    put_bytes(image.file, 4, png, bytes);
    put_message(inner.file, VALUE_IMAGE, &image);
    summary_close(file, &event, &inner);
}
