/*
 * The vector program of `npm run bench -- cpu`: a copy, a checksum and a product of matrices, each with SSE2 and with AVX2 (the
 * last with FMA). Its sums do not depend on SCALE. Like integer.c it knows nothing of where it runs, but switches vectors on where it is its own kernel.
 */
#define _MM_MALLOC_H_INCLUDED
#include <immintrin.h>
#include <stdint.h>

#ifndef SCALE
#define SCALE 1
#endif

void put(const char *text);

enum { BYTES = 64 * 1024, SIDE = 64 };
static uint8_t from[BYTES] __attribute__((aligned(32)));
static uint8_t to[BYTES] __attribute__((aligned(32)));
static float left[SIDE][SIDE] __attribute__((aligned(32)));
static float right[SIDE][SIDE] __attribute__((aligned(32)));
static float product[SIDE][SIDE] __attribute__((aligned(32)));

#define SSE2 __attribute__((noinline, target("sse2")))
#define AVX2 __attribute__((noinline, target("avx2")))
#define FMA __attribute__((noinline, target("avx2,fma")))

/* Sums of a few bytes are enough to tell that a copy was made. */
static uint32_t sample(void) {
  uint32_t sum = 0;
  for (uint32_t i = 0; i < BYTES; i += 61) sum = sum * 31 + to[i];
  return sum;
}

SSE2 static uint32_t copy_sse2(void) {
  for (int round = 0; round < 256 * SCALE; round++)
    for (uint32_t i = 0; i < BYTES; i += 32) {
      __m128i a = _mm_load_si128((const __m128i *)(from + i)), b = _mm_load_si128((const __m128i *)(from + i + 16));
      _mm_store_si128((__m128i *)(to + i), a);
      _mm_store_si128((__m128i *)(to + i + 16), b);
      __asm__ volatile("" ::: "memory");
    }
  return sample();
}

AVX2 static uint32_t copy_avx2(void) {
  for (int round = 0; round < 256 * SCALE; round++)
    for (uint32_t i = 0; i < BYTES; i += 32) {
      _mm256_store_si256((__m256i *)(to + i), _mm256_load_si256((const __m256i *)(from + i)));
      __asm__ volatile("" ::: "memory");
    }
  return sample();
}

SSE2 static uint32_t sum_sse2(void) {
  __m128i sum = _mm_setzero_si128(), mixed = sum;
  for (int round = 0; round < 256 * SCALE; round++) {
    if (round % 256 == 0) sum = mixed = _mm_setzero_si128();
    for (uint32_t i = 0; i < BYTES; i += 16) {
      __m128i a = _mm_load_si128((const __m128i *)(from + i));
      sum = _mm_add_epi32(sum, a);
      mixed = _mm_xor_si128(_mm_add_epi32(mixed, sum), _mm_srli_epi32(mixed, 7));
      __asm__ volatile("" ::: "memory");
    }
  }
  return (uint32_t)_mm_cvtsi128_si32(mixed);
}

AVX2 static uint32_t sum_avx2(void) {
  __m256i sum = _mm256_setzero_si256(), mixed = sum;
  for (int round = 0; round < 256 * SCALE; round++) {
    if (round % 256 == 0) sum = mixed = _mm256_setzero_si256();
    for (uint32_t i = 0; i < BYTES; i += 32) {
      __m256i a = _mm256_load_si256((const __m256i *)(from + i));
      sum = _mm256_add_epi32(sum, a);
      mixed = _mm256_xor_si256(_mm256_add_epi32(mixed, sum), _mm256_srli_epi32(mixed, 7));
      __asm__ volatile("" ::: "memory");
    }
  }
  return (uint32_t)_mm_cvtsi128_si32(_mm256_castsi256_si128(mixed));
}

/* Small whole numbers: every order of additions has the same sum. */
static uint32_t total(void) {
  uint32_t sum = 0;
  for (int i = 0; i < SIDE; i++)
    for (int j = 0; j < SIDE; j++) sum = sum * 31 + (uint32_t)(int32_t)product[i][j];
  return sum;
}

SSE2 static uint32_t matrix_sse2(void) {
  for (int round = 0; round < 4 * SCALE; round++)
    for (int i = 0; i < SIDE; i++)
      for (int j = 0; j < SIDE; j += 4) {
        __m128 sum = _mm_setzero_ps();
        for (int k = 0; k < SIDE; k++) sum = _mm_add_ps(sum, _mm_mul_ps(_mm_set1_ps(left[i][k]), _mm_load_ps(&right[k][j])));
        _mm_store_ps(&product[i][j], sum);
        __asm__ volatile("" ::: "memory");
      }
  return total();
}

AVX2 static uint32_t matrix_avx2(void) {
  for (int round = 0; round < 4 * SCALE; round++)
    for (int i = 0; i < SIDE; i++)
      for (int j = 0; j < SIDE; j += 8) {
        __m256 sum = _mm256_setzero_ps();
        for (int k = 0; k < SIDE; k++) sum = _mm256_add_ps(sum, _mm256_mul_ps(_mm256_set1_ps(left[i][k]), _mm256_load_ps(&right[k][j])));
        _mm256_store_ps(&product[i][j], sum);
        __asm__ volatile("" ::: "memory");
      }
  return total();
}

FMA static uint32_t matrix_fma(void) {
  for (int round = 0; round < 4 * SCALE; round++)
    for (int i = 0; i < SIDE; i++)
      for (int j = 0; j < SIDE; j += 8) {
        __m256 sum = _mm256_setzero_ps();
        for (int k = 0; k < SIDE; k++) sum = _mm256_fmadd_ps(_mm256_set1_ps(left[i][k]), _mm256_load_ps(&right[k][j]), sum);
        _mm256_store_ps(&product[i][j], sum);
        __asm__ volatile("" ::: "memory");
      }
  return total();
}

__attribute__((target("general-regs-only"))) static void switch_on(void) {
#ifdef KERNEL
  unsigned long word;
  __asm__ volatile("mov %%cr0, %0" : "=r"(word));
  word = (word & ~12ul) | 2;
  __asm__ volatile("mov %0, %%cr0" ::"r"(word));
  __asm__ volatile("mov %%cr4, %0" : "=r"(word));
  word |= 1ul << 9 | 1ul << 10 | 1ul << 18;
  __asm__ volatile("mov %0, %%cr4" ::"r"(word));
  __asm__ volatile("xsetbv" ::"a"(7), "c"(0), "d"(0));
#endif
}

static void fill(void) {
  uint32_t state = 0x2545f491u;
  for (uint32_t i = 0; i < BYTES; i++) {
    state = state * 1664525u + 1013904223u;
    from[i] = (uint8_t)(state >> 24);
  }
  for (int i = 0; i < SIDE; i++)
    for (int j = 0; j < SIDE; j++) {
      left[i][j] = (float)(from[i * SIDE + j] & 15);
      right[i][j] = (float)(from[i * SIDE + j] >> 4);
    }
}

static void run(const char *name, uint32_t (*phase)(void)) {
  static const char digits[] = "0123456789abcdef";
  char text[10];
  put(name);
  put(" begin\n");
  uint32_t sum = phase();
  for (int i = 0; i < 8; i++) text[i] = digits[(sum >> (28 - 4 * i)) & 15];
  text[8] = '\n';
  text[9] = 0;
  put(name);
  put(" ");
  put(text);
}

void program(void) {
  switch_on();
  fill();
  run("copy-sse2", copy_sse2);
  run("copy-avx2", copy_avx2);
  run("sum-sse2", sum_sse2);
  run("sum-avx2", sum_avx2);
  run("matrix-sse2", matrix_sse2);
  run("matrix-avx2", matrix_avx2);
  run("matrix-fma", matrix_fma);
  put("done\n");
}
