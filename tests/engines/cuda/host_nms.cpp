// engines/cuda/nms.cu on the host.
#include "host_shim.h"

#include "../../../engines/cuda/nms.cu"

#include <cstddef>

using Sides = const unsigned *;

extern "C" {

void host_nms_reset(Sides grid, Sides block, const int *pictures, int *counts) {
    each_thread(grid, block, nms_reset, pictures, counts);
}

void host_nms_filter_float32(Sides grid, Sides block, const Rules *rules, const Placed *placed, const float *boxes,
                             const float *scores, int *counts, u64 *keys, Candidate *candidates) {
    each_block(grid, block, nms_filter_float32, rules, placed, boxes, scores, counts, keys, candidates);
}

void host_nms_filter_float16(Sides grid, Sides block, const Rules *rules, const Placed *placed, const u16 *boxes,
                             const u16 *scores, int *counts, u64 *keys, Candidate *candidates) {
    each_block(grid, block, nms_filter_float16, rules, placed, boxes, scores, counts, keys, candidates);
}

void host_nms_rank(Sides grid, Sides block, const Rules *rules, const int *counts, const u64 *keys,
                   const Candidate *candidates, Candidate *sorted) {
    each_thread(grid, block, nms_rank, rules, counts, keys, candidates, sorted);
}

void host_nms_suppress(Sides grid, Sides block, const Rules *rules, const Placed *placed, const int *counts,
                       const Candidate *sorted, int *kept, u8 *out) {
    each_block(grid, block, nms_suppress, rules, placed, counts, sorted, kept, out);
}

// Sizes and a few offsets, which the records of engines/cuda/suppression.py must have, too.
extern const unsigned layout[7];
const unsigned layout[7] = {sizeof(Rules), offsetof(Rules, wanted), offsetof(Rules, score), sizeof(Placed),
                            offsetof(Placed, limit), sizeof(Found), offsetof(Found, label)};
}
