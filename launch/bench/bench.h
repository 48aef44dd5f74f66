// dye bench: what its phases share. A phase measures one part of a training run against the limit
// of that part, in the same run: it gives ratios, and figures that hold for this machine and
// moment.
//
// All ranks take part in every phase; rank 0 prints. A Bench trains into a temporary folder beside
// the run's own, so that files are written to the disk that the run would use.
#pragma once

#include "launch/cores.h"
#include "trainer/engine.h"
#include "trainer/trainer.h"

typedef struct {
    const char *name;
    int digits;
} BenchColumn;

// One phase's output, rank 0 only.
typedef struct {
    FILE *json;                // NULL: not wanted
    json_t *machine;           // what every record begins with
    json_t *record;            // of the phase that is under way
    double stat[3];            // /proc/stat when it began: busy, stolen and all ticks
    double used;               // processor seconds of the ranks of this host by then
    const BenchColumn *column; // of the table that is being printed
    int columns;
} BenchReport;

// Seconds at start, until the first step was done.
typedef struct {
    double process, mpi, open, first_step; // process: what precedes the trainer, without MPI_Init
} BenchStart;

typedef struct {
    RunSettings settings; // of the trainer
    Comm *comm;
    Cores cores;
    double started; // of the process
    Trainer *trainer;
    const Engine *engine; // the trainer's
    const Plan *plan;
    BenchStart start;
    size_t resident_before;      // bytes, before the trainer was opened
    struct Recording *recording; // of one grain: launch/bench/bench_replay.h
    double seconds;              // that a phase should take
    bool timed;                  // the device fills Stream.seconds (bench_time_operations)
    double step_seconds;         // median of the quiet steps so far
    double peak[2];              // fp32 and bf16: FLOP/s of a stream, all at once
    double bandwidth;            // bytes/s of a stream that copies, all at once
    bool interrupted;            // somebody asked to stop: the same on all ranks
    BenchReport report;
    char parent[512]; // made for the temporary folder; empty: it was there
} Bench;

typedef struct {
    const char *name;
    Status (*run)(Bench *bench);
    bool timed; // wants the times of operations
    const char *help;
} BenchPhase;

Status bench_step(Bench *bench);
Status bench_products(Bench *bench);
Status bench_loader(Bench *bench);
Status bench_checkpoint(Bench *bench);
Status bench_reduce(Bench *bench);
Status bench_startup(Bench *bench);
Status bench_memory(Bench *bench);

// ---- a trainer to measure (bench_run.c) ---------------------------------------------------------

// Opens the trainer; bench->settings, comm, cores and started are set.
Status bench_open(Bench *bench);
Status bench_warm(Bench *bench); // the first steps, one of them recorded
// Whether the device tells how long each operation takes. A GPU's steps are slower then: the
// trainer is opened anew where this changes, and warmed. Elsewhere nothing is done.
Status bench_time_operations(Bench *bench, bool timed);
void bench_close(Bench *bench);       // removes the temporary folder; fine after a failure
void bench_clean(const Bench *bench); // that alone

typedef struct {
    double seconds;              // train for so long,
    int64_t steps;               // but at least so many steps
    int64_t save_every;          // steps between checkpoints; 0: none
    struct Recording *recording; // of what is queued from the first step to the second; or NULL
} StretchRequest;
typedef struct {
    int64_t steps;
    double seconds; // all of it
    double step;    // median period of the steps, on rank 0
    double step_p10, step_p90;
    int saves;
    double busy_step;    // median period of further steps while a save is under way; 0: none
    double save_step;    // median period of the steps that save
    double save_seconds; // median time from there until the checkpoint was told to be good
    // From the point of the first step at which grains are done and nothing is updated yet to that
    // of the last: so many whole steps and their seconds, those of this rank's main thread in waits
    // for data and for other ranks, and those of operations on all of its streams.
    int64_t whole;
    double whole_seconds, data, exchange, ops[OPS];
} Stretch;
Status bench_train(Bench *bench, const StretchRequest *request, Stretch *out);

// Waits for all ranks, and sets bench->interrupted if a rank was asked to stop. A phase that finds
// it set returns without a word.
Status bench_meet(Bench *bench);
bool bench_asked(void); // this rank was asked to stop

Status bench_sum(Bench *bench, double *values, int count); // over ranks, at most 64 values
double bench_median(double *values, int64_t count);        // sorts them; 0 values: 0

// Seconds that all streams have spent in an operation so far; read at rest.
double bench_op_seconds(const Engine *engine, int op);

// ---- the machine's peak (bench_peak.c) ----------------------------------------------------------

// Raises bench->peak[half] to the best rate of large square products through linear_forward, on all
// streams of all ranks at once: the mean of this rank's streams.
Status bench_peak(Bench *bench, bool half, double seconds);
// Raises bench->bandwidth to the best rate of copies by axpby, larger than caches, likewise: bytes
// that are read and bytes that are written.
Status bench_bandwidth(Bench *bench, double seconds);
// A loop of fused multiply-adds in registers: FLOP/s of one thread with `threads` of them running,
// on the first cores of this rank; 0: unknown on this processor.
double bench_fma_peak(const Cores *cores, int threads, double seconds);

// ---- output (bench_report.c): rank 0 prints and keeps for --json, the others do nothing
// ----------

Status report_open(Bench *bench, const char *json_path);
void report_close(Bench *bench);
Status report_begin(Bench *bench, const BenchPhase *phase);
Status report_end(Bench *bench);
void report_line(const Bench *bench, const char *format, ...) __attribute__((format(printf, 2, 3)));
void report_ratio(Bench *bench, const char *name, double value, const char *meaning);
void report_figure(Bench *bench, const char *name, double value, const char *unit);

void report_table(Bench *bench, const char *title, const BenchColumn *columns, int count);
void report_row(Bench *bench, const char *name, const double *values); // NAN: nothing to say
