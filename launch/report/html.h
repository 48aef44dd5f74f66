// Parts of an HTML page that stands alone: no file, and nothing of the network, is needed to see
// it.
#pragma once

#include <stddef.h>
#include <stdio.h>

// Text from outside, for content and for attributes in double quotes: what would be markup is
// escaped; bytes that are no UTF-8, and control characters, become U+FFFD.
void html_text(FILE *out, const char *text);
void html_text_bytes(FILE *out, const char *text, size_t bytes);
void html_base64(FILE *out, const void *data, size_t bytes);

// <html> and <head> with the style sheets (light, and dark where that is preferred) and a policy
// that refuses everything from elsewhere. More of <head> may follow; then html_open_body.
void html_open_page(FILE *out, const char *title);
void html_open_body(FILE *out);
void html_close_page(FILE *out); // with the script, which only adds to what is there
