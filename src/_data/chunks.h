// Chunks of an HDF5 dataset, read from its file and checked: each is its bytes, then their checksum.
#pragma once

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
static int64_t pread(int file, void *out, size_t bytes, int64_t place) {
    (void)file, (void)out, (void)bytes, (void)place;
    return -1;
}
#else
#include <unistd.h>
#endif

enum { CHECKSUM = 4, LANES = 8, BLOCK = 256 };
typedef uint32_t lanes_t __attribute__((vector_size(4 * LANES)));

// Fletcher's checksum as HDF5's filter has it: of 16-bit words in big-endian order, the sum of them and the sum of all
// partial sums, modulo 65535. There a swap of a word's bytes is a multiplication by 256, so words are added as they
// stand in memory of a little-endian machine, two of them to a lane.
static uint32_t chunk_checksum(const unsigned char *data, int64_t bytes) {
    const uint64_t modulus = 65535;
    uint64_t sum = 0, sums = 0, any = 0;
    int64_t left = bytes / 2;
    while (left >= 2 * LANES) {
        // Of BLOCK vectors no lane overflows: their partial sums are at most 256 * 255 / 2 * 2 * 65535.
        const int64_t count = left / (2 * LANES) < BLOCK ? left / (2 * LANES) : BLOCK;
        lanes_t words = {0}, partial = {0}, first = {0};
        for (int64_t v = 0; v < count; v++) {
            lanes_t two;
            memcpy(&two, data + v * (int64_t)sizeof two, sizeof two);
            partial += words;
            first += two & 0xffff;
            words += (two & 0xffff) + (two >> 16);
        }
        // A word counts once for itself and once for each word behind it in the block.
        uint64_t block = 0, weighted = 0;
        for (int64_t lane = 0; lane < LANES; lane++) {
            block += words[lane];
            weighted += 2 * LANES * (uint64_t)partial[lane] + (uint64_t)(2 * (LANES - lane) - 1) * words[lane] + first[lane];
        }
        any |= block;
        sums = (sums + (uint64_t)(2 * LANES * count) * sum + weighted) % modulus;
        sum = (sum + block) % modulus;
        data += count * (int64_t)sizeof(lanes_t);
        left -= 2 * LANES * count;
    }
    for (; left > 0; left--, data += 2) {
        const uint64_t word = data[0] | (uint64_t)data[1] << 8;
        any |= word;
        sum += word;
        sums += sum;
    }
    if (bytes & 1) {
        any |= data[0];
        sum += data[0];
        sums += sum;
    }
    sum = sum % modulus * 256 % modulus;
    sums = sums % modulus * 256 % modulus;
    // HDF5's way of taking the remainder gives 0 for nothing but zeros.
    if (any && !sum) sum = modulus;
    if (any && !sums) sums = modulus;
    return (uint32_t)(sums << 16 | sum);
}

// All of so many bytes of a file, or -1.
static int chunk_bytes(int file, unsigned char *out, int64_t bytes, int64_t place) {
    while (bytes > 0) {
        const int64_t got = pread(file, out, (size_t)bytes, place);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return -1;
        out += got, place += got, bytes -= got;
    }
    return 0;
}

// Bytes start ... stop - 1 of a dataset, whose chunks are of so many bytes each, at these places of the file. Returns 0,
// or -1 if a chunk can't be read or isn't what its checksum says.
static int chunk_read(
    int file, const int64_t *places, int64_t size, int64_t start, int64_t stop, unsigned char *out) {
    unsigned char *chunk = malloc((size_t)size + CHECKSUM);
    if (!chunk) return -1;
    int failed = 0;
    while (start < stop) {
        const int64_t number = start / size, from = start % size;
        const int64_t to = stop - number * size < size ? stop - number * size : size;
        failed = chunk_bytes(file, chunk, size + CHECKSUM, places[number]);
        if (failed) break;
        const unsigned char *end = chunk + size;
        const uint32_t said = end[0] | (uint32_t)end[1] << 8 | (uint32_t)end[2] << 16 | (uint32_t)end[3] << 24;
        failed = chunk_checksum(chunk, size) == said ? 0 : -1;
        if (failed) break;
        memcpy(out, chunk + from, (size_t)(to - from));
        out += to - from, start += to - from;
    }
    free(chunk);
    return failed;
}
