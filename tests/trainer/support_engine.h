// Weights for an engine, for tests.
#pragma once

#include "trainer/engine.h"

// The initial weights plus uniform noise of this width, in device memory that the caller releases.
// Ends the program on failure.
void *engine_draw(Engine *engine, float noise);
