// The only place that prints for people: lines, the live progress line, errors with their trail.
#pragma once

#include <stdio.h>

#include "comm/comm.h"

// Who is speaking; before it is called messages carry no rank. comm may be NULL.
void console_open(const Comm *comm);
// Seconds between progress lines where stderr is no terminal.
void console_set_plain_seconds(double seconds);

void console_say(const char *line);      // stdout, a plain line
void console_warn(const char *line);     // stderr, with this rank's name
void console_progress(const char *line); // a live line on a terminal; else a line now and then
// What a command is busy with, and the share of it that is done, for rank 0: a bar on a terminal,
// elsewhere a line now and then once it takes long. Another name for a task that has begun keeps
// its clock; NULL ends it and leaves nothing on the terminal. Without a task console_done says
// nothing.
void console_task(const char *what);
void console_done(double fraction);
void console_task_progress(void *unused, double fraction, const char *what); // both, for packing

// What turns a stream's text bold, red or yellow, and back: empty where it is no terminal, or the
// user does not want it (NO_COLOR, TERM=dumb).
typedef enum { STYLE_PLAIN, STYLE_BOLD, STYLE_RED, STYLE_YELLOW } ConsoleStyle;
const char *console_style(FILE *stream, ConsoleStyle style);
int console_width(FILE *stream); // columns of the terminal; 80 where there is none

// The calling thread's error record: "[rank 1/4 host] error BAD_DATA: text (what it means)", and,
// unless the input is to blame, the trail.
void console_error(void);
