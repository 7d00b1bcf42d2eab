// The words of CUDA that engines/cuda/*.cu use, for a C++ compiler of the host: blocks and threads in a loop.
//
// A kernel whose threads wait for each other says so by EACH_THREAD, which is the loop itself: such a kernel is called
// once a block. All others are called once a thread.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __shared__ static thread_local
#define READ(place) (place)
#define NOT_UNROLLED

struct Dim3 {
    unsigned int x, y, z;
};

static thread_local Dim3 gridDim, blockDim, blockIdx, threadIdx;

#define EACH_THREAD(thread) for (int thread = 0; thread < (int)blockDim.x; ++thread)

// Nobody else is there to come in between.
template <typename Value>
Value atomicAdd(Value *place, Value value) {
    Value before = *place;
    *place += value;
    return before;
}

template <typename Value>
void atomicMax(Value *place, Value value) {
    if (value > *place) { *place = value; }
}

template <typename Value>
void atomicOr(Value *place, Value value) {
    *place |= value;
}

// Rounded each by itself: the library is compiled with -ffp-contract=off.
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dsub_rn(double a, double b) { return a - b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __ddiv_rn(double a, double b) { return a / b; }

static inline uint32_t __float_as_uint(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float __uint_as_float(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// IEEE 754 binary16, round to nearest, ties to even: what cvt.rn.f16.f32 does.
static inline uint16_t half_bits(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) { return uint16_t(sign | 0x7fffu); }
    if (size >= 0x477ff000u) { return uint16_t(sign | 0x7c00u); }  // 65520 and above
    if (size < 0x38800000u) {  // subnormal: so many steps of 2^-24
        float magnitude;
        std::memcpy(&magnitude, &size, sizeof magnitude);
        return uint16_t(sign | uint32_t(std::nearbyint(magnitude * 16777216.0f)));
    }
    uint32_t rounded = size + 0xfffu + (size >> 13 & 1u);
    return uint16_t(sign | (rounded - 0x38000000u) >> 13);
}

static inline float half_value(uint16_t bits) {
    uint32_t sign = uint32_t(bits & 0x8000u) << 16, size = bits & 0x7fffu;
    if (size < 0x400u) {
        float magnitude = float(size) * (1.0f / 16777216.0f);
        return sign ? -magnitude : magnitude;
    }
    return __uint_as_float(sign | (size >= 0x7c00u ? 0x7f800000u | (size & 0x3ffu) << 13 : (size << 13) + 0x38000000u));
}

// All blocks, one after the other, of a kernel whose threads are loops of its own.
template <typename Kernel, typename... Arguments>
void each_block(const unsigned int *grid, const unsigned int *block, Kernel kernel, Arguments... arguments) {
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    for (blockIdx.z = 0; blockIdx.z < gridDim.z; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) kernel(arguments...);
}

// All threads of all blocks, one after the other.
template <typename Kernel, typename... Arguments>
void each_thread(const unsigned int *grid, const unsigned int *block, Kernel kernel, Arguments... arguments) {
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    for (blockIdx.z = 0; blockIdx.z < gridDim.z; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x)
                for (threadIdx.z = 0; threadIdx.z < blockDim.z; ++threadIdx.z)
                    for (threadIdx.y = 0; threadIdx.y < blockDim.y; ++threadIdx.y)
                        for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x) kernel(arguments...);
}
