// Weights as other programs name and cut them. One list of pieces serves export and import.
#pragma once

#include "trainer/engine.h"
#include "trainer/trainer.h"

typedef enum {
    LAYOUT_DYE,      // the names and numbers of a checkpoint
    LAYOUT_DIT,      // the original DiT: the same names, its positions among the weights
    LAYOUT_DIFFUSERS // diffusers' DiTTransformer2DModel: each block has its own embedders, q, k, v
} Layout;
const char *layout_name(Layout layout); // "safetensors", "dit", "diffusers"
// Errors: BAD_USAGE names the choices.
Status layout_read(const char *name, Layout *out);

// A tensor of the layout: `size` numbers that lie one behind the other from `offset` on in the
// engine's flat vector of parameters; LAYOUT_POSITIONS: in its table of positions, which is not
// trained. Several pieces may be copies of the same numbers.
typedef struct {
    char name[128];
    int dims;
    int64_t dim[4], offset, size;
} LayoutPiece;
enum { LAYOUT_POSITIONS = -1 };

typedef struct {
    LayoutPiece *list;
    int count;
} LayoutPieces;

// All pieces. Errors: BAD_CONFIG (the layout has no place for such a model or process, with the key
// that would have to be another), NO_MEMORY.
Status layout_open(Layout layout, const RunSettings *settings, const Engine *engine,
                   LayoutPieces *out);
void layout_close(LayoutPieces *pieces); // fine on a zeroed one

// Dye tells the network of steps 1..T, the others of 0..T-1. Of an angle a = t f, which the network
// sees as cos a and sin a, one step is a rotation by f: it goes into the weights behind them, in
// place. `towards`: LAYOUT_DYE, or one of the others. Nothing where time is continuous.
void layout_turn_time(Layout towards, const RunSettings *settings, const Engine *engine,
                      float *weights);
