// A classifier as a system of one step without noise: the network sees the data, is told neither
// time nor label, and the mean of its answer over the places is what it says of the classes. The
// loss is the cross entropy of the label. Nothing can be drawn, and there is no likelihood; it
// serves distances between pictures (`dye distance --features`).
#include "model/process/process_impl.h"

static Status check(const ProcessSystem *system, const ProcessConfig *config, NetworkShape *shape) {
    FAIL_IF(
        config->steps != 1 || config->label_drop != 0, BAD_CONFIG,
        "process.steps is %d and label_drop is %g; a %s has one step and learns from each label:"
        " set them to 1 and 0, and sampler.steps to 0",
        config->steps, (double)config->label_drop, system->name);
    FAIL_IF(shape->classes < 2 || shape->classes > CATEGORICAL_CLASSES_MOST, BAD_CONFIG,
            "the data have %d classes; a %s takes 2 to %d: choose data with labels", shape->classes,
            system->name, (int)CATEGORICAL_CLASSES_MOST);
    shape->out_channels = shape->classes;
    return STATUS_OK;
}

// A row is the label that the network is told.
static void level(const Process *process, UNUSED double t, UNUSED double scale, void *row) {
    *(int32_t *)row = process->null_label;
}

static void corrupt(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                    UNUSED RngKey key) {
    axpby(stream,
          (Elementwise){.x = pass->x_0, .y = pass->x_t, .n = samples * process->items, .a = 1});
}

static void loss(const Process *process, Stream *stream, Pass *pass, int64_t samples,
                 bool gradient) {
    class_loss(stream, (ClassLoss){.out = pass->out,
                                   .label = pass->label,
                                   .dout = gradient ? pass->dout : NULL,
                                   .loss = pass->loss,
                                   .wrong = pass->error,
                                   .samples = samples,
                                   .places = process->out_item / process->null_label,
                                   .classes = process->null_label});
}

static const ProcessFamily family_classifier = {
    .level_bytes = sizeof(int32_t),
    .check = check,
    .level = level,
    .corrupt = corrupt,
    .loss = loss,
};

const ProcessSystem system_classifier = {
    .name = "classifier", .family = &family_classifier, .timeless = true, .classifier = true};
