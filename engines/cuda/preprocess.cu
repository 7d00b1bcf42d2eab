// A batch of decoded pictures into a network's input: what engines/picture.py defines, in one launch.
//
// In:  one Surface a picture (NV12, P010 or grey, any size and pitch) and one Target for the whole batch.
// Out: slots of `out` (n, 3, H, W), uint8, FP16 or FP32, border included; other slots stay as they are.
// Grid: x, y: blocks of 2 x 2 pixels of the input; z: the pictures. See engines/cuda/surfaces.py.
//
// A thread makes 2 x 2 pixels: they share one sample of chroma, and since offsets and sizes are even they lie wholly in
// the picture or wholly in the border. Where a sample lies is computed in whole numbers, exactly; its value in float,
// rounded a hair above the half, so that a half that float just misses is still a half (see TIE).
//
// Nothing is included, since NVRTC has no headers. CUDA's own words are __global__, __device__, blockIdx, blockDim,
// threadIdx and what stands under __CUDACC__: the tests define these and compile the rest for the host as it is.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned long long u64;

#ifdef __CUDACC__
// Of the device's global memory, through the cache for what nobody writes.
#define READ(place) __ldg(&(place))
#define NOT_UNROLLED _Pragma("unroll 1")

// The bits of the nearest half, ties to even.
__device__ inline u16 half_bits(float value) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#endif

// One picture. Filled by engines/cuda/surfaces.py (SURFACE): keep both alike.
struct Surface {
    u64 luma, chroma;  // addresses; chroma 0: a grey picture
    int luma_pitch, chroma_pitch;  // bytes from row to row
    int width, height;  // of luma; chroma has half, rounded up
    int inner_width, inner_height, x, y;  // where the picture lies in the input, all even
    int slot;  // which picture of the batch it becomes
    int wide;  // 0: samples of 8 bits, 1: of 16
    float to_8bit;  // a sample times this is a level of 8 bits
    // R = gain (Y - black) + red_v (V - 128), and so on; Y is at least black.
    float black, gain, red_v, green_u, green_v, blue_u;
};

// What all pictures of a batch become; numbers by channel of the input. Filled likewise (TARGET).
struct Target {
    int width, height;
    int bgr;
    int area;  // 0: bilinear; 1: the mean of what a pixel covers, on a side that shrinks
    float gain[3], shift[3];  // value = level * gain + shift
    float pad;  // a level
};

// Bilinear values in float are up to 6e-5 off (255 * 2^-24, a few roundings). Without this, 4:3 alone would round
// every 36th sample by chance; with it, every 10000th that is nearly a half is rounded up.
#define TIE 1e-4f

__device__ inline int at_most(int a, int b) { return a < b ? a : b; }
__device__ inline int at_least(int a, int b) { return a > b ? a : b; }

// A level rounded half up and clipped to 8 bits, kept as float.
__device__ inline float rounded(float level) {
    return (float)at_least(0, at_most((int)(level + 0.5f), 255));
}

// Two neighbours and how much of the second.
struct Between {
    int first, second;
    float part;
};

// Where pixel `index` of `target` lies among `source` samples: centre (index + 1/2) source / target - 1/2.
__device__ inline Between between(int index, int source, int target) {
    // In units of 1 / (2 target), below 2^29. The float quotient is at most one off.
    int position = (2 * index + 1) * source - target, unit = 2 * target;
    float inverse = 1.0f / (float)unit;
    int first = (int)((float)position * inverse), rest = position - first * unit;
    if (rest < 0) { first -= 1; rest += unit; }
    if (rest >= unit) { first += 1; rest -= unit; }
    Between found;
    found.first = at_least(0, at_most(first, source - 1));
    // A neighbour without weight is not read: of 1080 rows that become 360, each third one is.
    found.second = at_least(0, at_most(first + (rest != 0), source - 1));
    found.part = (float)rest * inverse;
    return found;
}

template <typename Sample>
__device__ inline const Sample *row_of(u64 plane, int pitch, int row) {
    return (const Sample *)((const u8 *)plane + (long long)row * pitch);
}

__device__ inline float mixed(float a, float b, float part) { return a + (b - a) * part; }

// The sample of `channel` of `channels` interleaved ones at a place between four.
template <typename Sample, int channels>
__device__ inline float bilinear(u64 plane, int pitch, const Between &x, const Between &y, int channel) {
    const Sample *above = row_of<Sample>(plane, pitch, y.first), *below = row_of<Sample>(plane, pitch, y.second);
    int left = x.first * channels + channel, right = x.second * channels + channel;
    float top = mixed(READ(above[left]), READ(above[right]), x.part);
    float bottom = mixed(READ(below[left]), READ(below[right]), x.part);
    return mixed(top, bottom, y.part);
}

// The samples that a pixel covers: `first` to `last`, each with a whole weight; `total` is their sum.
struct Cover {
    int first, last;
    int first_weight, weight, last_weight;
    int total;
};

// Of pixel `index`: the mean of what it covers where the side shrinks, else what lies between two, as in `between`.
__device__ inline Cover cover(int index, int source, int target) {
    Cover found;
    if (source <= target) {
        int position = (2 * index + 1) * source - target, unit = 2 * target;
        int rest = position < 0 ? position + unit : position % unit;  // at least -target
        int first = position < 0 ? -1 : position / unit;
        found.first = at_least(0, at_most(first, source - 1));
        found.last = at_least(0, at_most(first + 1, source - 1));
        found.first_weight = unit - rest;
        found.last_weight = rest;
        found.weight = 0;
        found.total = unit;
        if (found.first == found.last) { found.first_weight = unit; }
        return found;
    }
    // Sample i covers [i target, (i + 1) target), the pixel [index source, (index + 1) source).
    int from = index * source, to = from + source;
    found.first = from / target;
    found.last = (to - 1) / target;
    found.first_weight = at_most(to, (found.first + 1) * target) - from;
    found.weight = target;
    found.last_weight = to - found.last * target;
    found.total = source;
    return found;
}

__device__ inline int weight_of(const Cover &cover, int index) {
    return index == cover.first ? cover.first_weight : index == cover.last ? cover.last_weight : cover.weight;
}

// The weighted mean of all covered samples, as the level of 8 bits that it rounds to: exact, in whole numbers.
template <typename Sample, int channels>
__device__ inline float covered(u64 plane, int pitch, const Cover &x, const Cover &y, int channel, float to_8bit) {
    u64 sum = 0;
    NOT_UNROLLED for (int row = y.first; row <= y.last; ++row) {
        const Sample *samples = row_of<Sample>(plane, pitch, row);
        unsigned int line = 0;  // at most 16384 * 65535
        NOT_UNROLLED for (int column = x.first; column <= x.last; ++column) {
            line += (unsigned int)weight_of(x, column) * READ(samples[column * channels + channel]);
        }
        sum += (u64)line * (unsigned int)weight_of(y, row);
    }
    // A power of two, so exact: how many steps of the samples a level has.
    u64 level = (u64)x.total * (unsigned int)y.total * (unsigned int)(1.0f / to_8bit + 0.5f);
    u64 rounded_up = (2 * sum + level) / (2 * level);
    return (float)(rounded_up > 255 ? 255 : rounded_up);
}

struct Yuv {
    float y[4];  // left above, right above, left below, right below
    float u, v;
};

// The levels of the 2 x 2 pixels whose first is (column, row) of the picture.
template <typename Sample>
__device__ inline Yuv levels_of(const Surface &surface, int column, int row, bool area) {
    Yuv levels;
    int half_width = (surface.width + 1) / 2, half_height = (surface.height + 1) / 2;
    if (area) {
        NOT_UNROLLED for (int down = 0; down < 2; ++down) {
            Cover y = cover(row + down, surface.height, surface.inner_height);
            NOT_UNROLLED for (int right = 0; right < 2; ++right) {
                Cover x = cover(column + right, surface.width, surface.inner_width);
                levels.y[2 * down + right] =
                    covered<Sample, 1>(surface.luma, surface.luma_pitch, x, y, 0, surface.to_8bit);
            }
        }
        if (surface.chroma != 0) {
            Cover x = cover(column / 2, half_width, surface.inner_width / 2);
            Cover y = cover(row / 2, half_height, surface.inner_height / 2);
            levels.u = covered<Sample, 2>(surface.chroma, surface.chroma_pitch, x, y, 0, surface.to_8bit);
            levels.v = covered<Sample, 2>(surface.chroma, surface.chroma_pitch, x, y, 1, surface.to_8bit);
        }
    } else {
        Between x[2], y[2];
        for (int one = 0; one < 2; ++one) {
            x[one] = between(column + one, surface.width, surface.inner_width);
            y[one] = between(row + one, surface.height, surface.inner_height);
        }
        for (int one = 0; one < 4; ++one) {
            float sample = bilinear<Sample, 1>(surface.luma, surface.luma_pitch, x[one % 2], y[one / 2], 0);
            levels.y[one] = rounded(sample * surface.to_8bit + TIE);
        }
        if (surface.chroma != 0) {
            Between cx = between(column / 2, half_width, surface.inner_width / 2);
            Between cy = between(row / 2, half_height, surface.inner_height / 2);
            float u = bilinear<Sample, 2>(surface.chroma, surface.chroma_pitch, cx, cy, 0);
            float v = bilinear<Sample, 2>(surface.chroma, surface.chroma_pitch, cx, cy, 1);
            levels.u = rounded(u * surface.to_8bit + TIE);
            levels.v = rounded(v * surface.to_8bit + TIE);
        }
    }
    if (surface.chroma == 0) { levels.u = levels.v = 128.0f; }
    return levels;
}

// Two neighbours of a row, stored at once where they are aligned.
template <typename Value>
struct alignas(2 * sizeof(Value)) Pair {
    Value left, right;
};

__device__ inline void to_value(float value, float *out) { *out = value; }
__device__ inline void to_value(float value, u8 *out) { *out = (u8)value; }
__device__ inline void to_value(float value, u16 *out) { *out = half_bits(value); }

template <typename Value>
__device__ inline void store(Value *out, float left, float right, bool both) {
    Pair<Value> pair;
    to_value(left, &pair.left);
    to_value(right, &pair.right);
    if (both && (u64)out % sizeof(pair) == 0) {
        *(Pair<Value> *)out = pair;
        return;
    }
    out[0] = pair.left;
    if (both) { out[1] = pair.right; }
}

template <typename Value>
__device__ inline void preprocess(const Surface *surfaces, const Target *target_, Value *out) {
    const Surface &surface = surfaces[blockIdx.z];
    const Target &target = *target_;
    int column = 2 * (int)(blockIdx.x * blockDim.x + threadIdx.x);
    int row = 2 * (int)(blockIdx.y * blockDim.y + threadIdx.y);
    if (column >= target.width || row >= target.height) { return; }
    int inner_column = column - surface.x, inner_row = row - surface.y;
    bool inside = inner_column >= 0 && inner_column < surface.inner_width && inner_row >= 0 &&
                  inner_row < surface.inner_height;
    float rgb[3][4];
    if (inside) {
        Yuv levels = surface.wide ? levels_of<u16>(surface, inner_column, inner_row, target.area != 0)
                                  : levels_of<u8>(surface, inner_column, inner_row, target.area != 0);
        float u = levels.u - 128.0f, v = levels.v - 128.0f;
        for (int one = 0; one < 4; ++one) {
            float luma = levels.y[one] < surface.black ? 0.0f : surface.gain * (levels.y[one] - surface.black);
            rgb[0][one] = rounded(luma + surface.red_v * v);
            rgb[1][one] = rounded(luma + surface.green_u * u + surface.green_v * v);
            rgb[2][one] = rounded(luma + surface.blue_u * u);
        }
    }
    long long plane = (long long)target.width * target.height;
    Value *slot = out + 3 * plane * surface.slot;
    bool both = column + 1 < target.width, below = row + 1 < target.height;
    for (int channel = 0; channel < 3; ++channel) {
        float values[4];
        for (int one = 0; one < 4; ++one) {
            float level = !inside ? target.pad : target.bgr ? rgb[2 - channel][one] : rgb[channel][one];
            values[one] = level * target.gain[channel] + target.shift[channel];
        }
        Value *place = slot + channel * plane + (long long)row * target.width + column;
        store(place, values[0], values[1], both);
        if (below) { store(place + target.width, values[2], values[3], both); }
    }
}

extern "C" {

__global__ void preprocess_uint8(const Surface *surfaces, const Target *target, u8 *out) {
    preprocess(surfaces, target, out);
}

__global__ void preprocess_float16(const Surface *surfaces, const Target *target, u16 *out) {
    preprocess(surfaces, target, out);
}

__global__ void preprocess_float32(const Surface *surfaces, const Target *target, float *out) {
    preprocess(surfaces, target, out);
}

}
