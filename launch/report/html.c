// HTML behind launch/report/html.h.
#include "launch/report/html.h"

#include <stdint.h>
#include <string.h>

#include "launch/templates.h"

// Bytes of the well-formed UTF-8 character at `at`; 0: there is none.
static size_t utf8_bytes(const unsigned char *at, size_t left) {
    size_t bytes = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    if (at[0] > 0xf4 || bytes > left) return 0;
    for (size_t i = 1; i < bytes; ++i)
        if ((at[i] & 0xc0) != 0x80) return 0;
    if (at[0] == 0xe0 && at[1] < 0xa0) return 0; // longer than needed, surrogates, too large
    if (at[0] == 0xed && at[1] > 0x9f) return 0;
    if (at[0] == 0xf0 && at[1] < 0x90) return 0;
    if (at[0] == 0xf4 && at[1] > 0x8f) return 0;
    return bytes;
}

static const char *escape_of(unsigned char letter) {
    switch (letter) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    default:
        return (letter < 0x20 && letter != '\n' && letter != '\t') || letter == 0x7f
                   ? "\xef\xbf\xbd"
                   : NULL;
    }
}

void html_text_bytes(FILE *out, const char *text, size_t bytes) {
    const unsigned char *at = (const unsigned char *)text;
    for (size_t i = 0, length; i<bytes; i += length> 0 ? length : 1) {
        length = utf8_bytes(at + i, bytes - i);
        const char *escape = length == 0 ? "\xef\xbf\xbd" : escape_of(at[i]);
        if (escape != NULL)
            fputs(escape, out);
        else
            fwrite(at + i, 1, length, out);
    }
}

void html_text(FILE *out, const char *text) {
    html_text_bytes(out, text, strlen(text));
}

void html_base64(FILE *out, const void *data, size_t bytes) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *at = data;
    for (size_t i = 0; i < bytes; i += 3) {
        size_t left = bytes - i;
        uint32_t three = (uint32_t)at[i] << 16 | (left > 1 ? (uint32_t)at[i + 1] << 8 : 0) |
                         (left > 2 ? at[i + 2] : 0);
        fputc(digits[three >> 18], out);
        fputc(digits[three >> 12 & 63], out);
        fputc(left > 1 ? digits[three >> 6 & 63] : '=', out);
        fputc(left > 2 ? digits[three & 63] : '=', out);
    }
}

void html_open_page(FILE *out, const char *title) {
    fputs(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
        "<meta name=\"color-scheme\" content=\"light dark\">\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:;"
        " style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n<title>",
        out);
    html_text(out, title);
    fprintf(out,
            "</title>\n<style>\n%s</style>\n"
            "<style id=\"dark\" media=\"(prefers-color-scheme: dark)\">\n%s</style>\n",
            page_style, page_dark_style);
}

void html_open_body(FILE *out) {
    fputs("</head>\n<body>\n", out);
}

void html_close_page(FILE *out) {
    fprintf(out, "<script>\n%s</script>\n</body>\n</html>\n", page_script);
}
