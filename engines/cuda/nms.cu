// From a network's outputs to the boxes that stay, for a batch: what heads/yolo_nas.py, suppression.py and nms.py do.
//
// In:  boxes (n, anchors, 4), input pixels, and scores (n, anchors, classes), float32 or float16, as the network left
//      them; Rules for the batch, and where each picture lies in the input.
// Out: per picture one int32 and `most` Found, in one piece of memory for one copy to the host.
// Four launches, see engines/cuda/suppression.py: nms_reset, nms_filter_*, nms_rank, nms_suppress.
//
// The result is that of the CPU to the last bit. Order: score, then anchor, by keys that are all different, so atomics
// may come in any order. Areas and overlaps in double, by intrinsics that are never fused into a multiply-add; the
// compiler is told so, too (-fmad=false). No candidate is left out before suppression: it goes on, tile by tile,
// until `most` are kept or all are seen.
//
// Nothing is included, since NVRTC has no headers. A kernel whose threads wait for each other consists of EACH_THREAD
// blocks: on the device each ends with a barrier, on the host each is a loop over the threads.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifdef __CUDACC__
#define READ(place) __ldg(&(place))
#define EACH_THREAD(thread) \
    for (int thread = (int)threadIdx.x, once = 1; once; once = 0, __syncthreads())

__device__ inline float half_value(u16 bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
#endif

#define TILE 64  // anchors that a block filters, candidates that are looked at together: the bits of a word

// For the whole batch. Filled by engines/cuda/suppression.py (RULES): keep both alike.
struct Rules {
    double iou;  // infinite: nothing suppresses anything
    u64 wanted;  // address of one byte a class, 0: not wanted; no address: all are wanted
    int anchors, classes;
    int most;
    float score;
};

// Where a picture lies in the input (PLACED): source = (input - offset) / scale, from 0 to limit.
struct Placed {
    double scale[2], offset[2], limit[2];
};

struct Candidate {
    float box[4];  // input pixels
    float score;
    int label, anchor;
};

// FOUND; the box in source pixels.
struct Found {
    float box[4];
    float score;
    int label, anchor;
};

__device__ inline float number(float value) { return value; }
__device__ inline float number(u16 bits) { return half_value(bits); }
__device__ inline bool is_finite(float value) { return value - value == 0.0f; }

__device__ inline float to_source(const Placed &placed, float value, int axis) {
    double source = __ddiv_rn(__dsub_rn((double)value, placed.offset[axis]), placed.scale[axis]);
    if (source < 0.0) { source = 0.0; }
    return (float)(source < placed.limit[axis] ? source : placed.limit[axis]);
}

// As bits, scores of at least 0 are ordered as they are as numbers; the sum makes -0 a 0.
__device__ inline u64 key_of(float score, int index) {
    return (u64)__float_as_uint(score + 0.0f) << 32 | (u32)~index;
}

// The best class of each anchor, if it reaches the score, has numbers, lies in the picture and is wanted.
// Grid: x: tiles of anchors; y: pictures.
template <typename Value>
__device__ inline void filter(const Rules *rules_, const Placed *placed_, const Value *boxes, const Value *scores,
                              int *counts, u64 *keys, Candidate *candidates) {
    __shared__ u64 best[TILE];
    const Rules &rules = *rules_;
    const Placed &placed = placed_[blockIdx.y];
    long long picture = (long long)blockIdx.y * rules.anchors;
    int first = (int)blockIdx.x * TILE;
    int here = rules.anchors - first < TILE ? rules.anchors - first : TILE;
    EACH_THREAD(thread) {
        for (int one = thread; one < TILE; one += (int)blockDim.x) { best[one] = 0; }
    }
    EACH_THREAD(thread) {
        // Over the memory as it lies; few pass. 0 is no key: of class c the low word is ~c.
        const Value *tile = scores + (picture + first) * rules.classes;
        for (int one = thread; one < here * rules.classes; one += (int)blockDim.x) {
            float score = number(READ(tile[one]));
            if (score >= rules.score) { atomicMax(&best[one / rules.classes], key_of(score, one % rules.classes)); }
        }
    }
    EACH_THREAD(thread) {
        for (int one = thread; one < here; one += (int)blockDim.x) {
            if (best[one] == 0) { continue; }
            Candidate candidate;
            candidate.anchor = first + one;
            candidate.label = (int)~(u32)best[one];
            candidate.score = __uint_as_float((u32)(best[one] >> 32));
            bool stays = is_finite(candidate.score);
            for (int side = 0; side < 4; ++side) {
                candidate.box[side] = number(READ(boxes[(picture + candidate.anchor) * 4 + side]));
                stays = stays && is_finite(candidate.box[side]);
            }
            for (int axis = 0; axis < 2; ++axis) {
                stays = stays && to_source(placed, candidate.box[axis + 2], axis) >
                                     to_source(placed, candidate.box[axis], axis);
            }
            if (!stays || (rules.wanted != 0 && READ(((const u8 *)rules.wanted)[candidate.label]) == 0)) { continue; }
            if (candidate.score > 1.0f) { candidate.score = 1.0f; }  // a rounding of the network's
            long long place = picture + atomicAdd(&counts[blockIdx.y], 1);
            keys[place] = key_of(candidate.score, candidate.anchor);
            candidates[place] = candidate;
        }
    }
}

// Whether two boxes are of one class and overlap by more than `iou`.
__device__ inline bool overlap(const Candidate &a, const Candidate &b, double iou) {
    if (a.label != b.label) { return false; }
    float sides[2], corner[2];
    for (int axis = 0; axis < 2; ++axis) {
        corner[axis] = a.box[axis] > b.box[axis] ? a.box[axis] : b.box[axis];
        sides[axis] = a.box[axis + 2] < b.box[axis + 2] ? a.box[axis + 2] : b.box[axis + 2];
        // Most pairs end here. Without an intersection nothing is more than the union's share, which is at least 0.
        if (!(corner[axis] < sides[axis])) { return false; }
    }
    double intersection = __dmul_rn(__dsub_rn(sides[0], corner[0]), __dsub_rn(sides[1], corner[1]));
    // Both have a width and a height, or they would not intersect.
    double area = __dmul_rn(__dsub_rn(a.box[2], a.box[0]), __dsub_rn(a.box[3], a.box[1]));
    double other = __dmul_rn(__dsub_rn(b.box[2], b.box[0]), __dsub_rn(b.box[3], b.box[1]));
    return intersection > __dmul_rn(__dsub_rn(__dadd_rn(area, other), intersection), iou);
}

extern "C" {

// Grid: x: pictures, a thread each.
__global__ void nms_reset(const int *pictures, int *counts) {
    int picture = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (picture < *pictures) { counts[picture] = 0; }
}

__global__ void nms_filter_float32(const Rules *rules, const Placed *placed, const float *boxes, const float *scores,
                                   int *counts, u64 *keys, Candidate *candidates) {
    filter(rules, placed, boxes, scores, counts, keys, candidates);
}

__global__ void nms_filter_float16(const Rules *rules, const Placed *placed, const u16 *boxes, const u16 *scores,
                                   int *counts, u64 *keys, Candidate *candidates) {
    filter(rules, placed, boxes, scores, counts, keys, candidates);
}

// Each candidate to where it stands in the order. Grid: x: candidates, a thread each; y: pictures. Quadratic, without
// a barrier: 300 candidates are 300 steps, all anchors of 640 x 640 are 8400.
__global__ void nms_rank(const Rules *rules, const int *counts, const u64 *keys, const Candidate *candidates,
                         Candidate *sorted) {
    int index = (int)(blockIdx.x * blockDim.x + threadIdx.x), count = counts[blockIdx.y];
    if (index >= count) { return; }
    long long picture = (long long)blockIdx.y * rules->anchors;
    u64 key = keys[picture + index];
    int rank = 0;
    for (int other = 0; other < count; ++other) { rank += keys[picture + other] > key; }
    sorted[picture + rank] = candidates[picture + index];
}

// A block a picture, best first: a tile's candidates against all kept ones and against each other, then one thread
// goes through the tile's bits. `kept` (n, most) has their ranks.
__global__ void nms_suppress(const Rules *rules_, const Placed *placed_, const int *counts, const Candidate *sorted_,
                             int *kept_, u8 *out) {
    __shared__ u64 gone, over[TILE];
    __shared__ int kept_count;
    const Rules &rules = *rules_;
    const Placed &placed = placed_[blockIdx.x];
    const Candidate *sorted = sorted_ + (long long)blockIdx.x * rules.anchors;
    int *kept = kept_ + (long long)blockIdx.x * rules.most;
    int count = counts[blockIdx.x];
    EACH_THREAD(thread) {
        if (thread == 0) { kept_count = 0; }
    }
    for (int start = 0; start < count && kept_count < rules.most; start += TILE) {
        int here = count - start < TILE ? count - start : TILE;
        EACH_THREAD(thread) {
            if (thread == 0) { gone = 0; }
            for (int one = thread; one < TILE; one += (int)blockDim.x) { over[one] = 0; }
        }
        EACH_THREAD(thread) {
            for (int pair = thread; pair < kept_count * TILE; pair += (int)blockDim.x) {
                int one = pair % TILE;
                if (one < here && overlap(sorted[kept[pair / TILE]], sorted[start + one], rules.iou)) {
                    atomicOr(&gone, 1ull << one);
                }
            }
            for (int pair = thread; pair < here * TILE; pair += (int)blockDim.x) {
                int better = pair / TILE, one = pair % TILE;
                if (better < one && one < here && overlap(sorted[start + better], sorted[start + one], rules.iou)) {
                    atomicOr(&over[better], 1ull << one);
                }
            }
        }
        EACH_THREAD(thread) {
            if (thread == 0) {
                for (int one = 0; one < here && kept_count < rules.most; ++one) {
                    if (gone >> one & 1) { continue; }
                    kept[kept_count++] = start + one;
                    gone |= over[one];
                }
            }
        }
    }
    EACH_THREAD(thread) {
        u8 *mine = out + (long long)blockIdx.x * (sizeof(int) + rules.most * sizeof(Found));
        if (thread == 0) { *(int *)mine = kept_count; }
        Found *found = (Found *)(mine + sizeof(int));
        for (int one = thread; one < kept_count; one += (int)blockDim.x) {
            const Candidate &candidate = sorted[kept[one]];
            for (int side = 0; side < 4; ++side) {
                found[one].box[side] = to_source(placed, candidate.box[side], side % 2);
            }
            found[one].score = candidate.score;
            found[one].label = candidate.label;
            found[one].anchor = candidate.anchor;
        }
    }
}

}
