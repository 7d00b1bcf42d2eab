// engines/cuda/preprocess.cu on the host.
#include "host_shim.h"

#include "../../../engines/cuda/preprocess.cu"

#include <cstddef>

using Sides = const unsigned *;

extern "C" {

void host_preprocess_uint8(Sides grid, Sides block, const Surface *s, const Target *t, u8 *out) {
    each_thread(grid, block, preprocess_uint8, s, t, out);
}

void host_preprocess_float16(Sides grid, Sides block, const Surface *s, const Target *t, u16 *out) {
    each_thread(grid, block, preprocess_float16, s, t, out);
}

void host_preprocess_float32(Sides grid, Sides block, const Surface *s, const Target *t, float *out) {
    each_thread(grid, block, preprocess_float32, s, t, out);
}

// Sizes and a few offsets, which the records of engines/cuda/surfaces.py must have, too.
extern const unsigned layout[7];
const unsigned layout[7] = {sizeof(Surface), offsetof(Surface, width), offsetof(Surface, to_8bit),
                           offsetof(Surface, blue_u), sizeof(Target), offsetof(Target, gain), offsetof(Target, pad)};
}
