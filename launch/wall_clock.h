// The time of day, and the start of this process.
#pragma once

double clock_wall(void);          // seconds since 1970
double clock_process_start(void); // clock_now() value at which this process was started
