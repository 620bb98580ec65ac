/*
 * The integer program of `npm run bench -- cpu`: five phases with different habits (table look-ups, bit tricks, hard-to-predict
 * branches, scattered memory, calls). It knows nothing of where it runs: a start file per environment gives it `put`, and
 * whoever reads the output times the phases by the lines "NAME begin" and "NAME CHECKSUM".
 */
#include <stdint.h>

#ifndef EIGHTHS
#define EIGHTHS 8
#endif
/* Work of a phase, in eighths. */
#define TIMES(n) ((n) * EIGHTHS / 8)

void put(const char *text);

static uint32_t random_state = 0x2545f491u;

static uint32_t next_random(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return random_state;
}

/* Buffers stay out of the image (.bss): 256 KiB of bytes, 256 KiB of numbers, 2 MiB of table. */
static uint8_t bytes[256 * 1024];
static uint32_t numbers[64 * 1024];
static uint32_t slots[512 * 1024];
static uint32_t crc_table[256];

static uint32_t phase_crc(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; bit++) value = (value >> 1) ^ (0xedb88320u & (0u - (value & 1u)));
    crc_table[i] = value;
  }
  for (uint32_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)next_random();
  uint32_t crc = 0xffffffffu;
  for (int round = 0; round < TIMES(32); round++)
    for (uint32_t i = 0; i < sizeof bytes; i++) crc = crc_table[(crc ^ bytes[i]) & 0xff] ^ (crc >> 8);
  return ~crc;
}

static uint32_t reverse_bits(uint32_t x) {
  x = ((x >> 1) & 0x55555555u) | ((x & 0x55555555u) << 1);
  x = ((x >> 2) & 0x33333333u) | ((x & 0x33333333u) << 2);
  x = ((x >> 4) & 0x0f0f0f0fu) | ((x & 0x0f0f0f0fu) << 4);
  x = ((x >> 8) & 0x00ff00ffu) | ((x & 0x00ff00ffu) << 8);
  return (x >> 16) | (x << 16);
}

static uint32_t count_bits(uint64_t x) {
  uint32_t count = 0;
  while (x != 0) {
    x &= x - 1;
    count++;
  }
  return count;
}

static uint32_t phase_bits(void) {
  uint32_t sum = 0;
  uint64_t wide = 0x9e3779b97f4a7c15ull;
  for (uint32_t i = 0; i < TIMES(600000u); i++) {
    wide = wide * 6364136223846793005ull + 1442695040888963407ull;
    sum += count_bits(wide >> 40) + reverse_bits((uint32_t)(wide >> 16));
    sum = (sum << 7) | (sum >> 25);
  }
  return sum;
}

static void quick_sort(uint32_t *low, uint32_t *high) {
  while (high - low > 8) {
    uint32_t pivot = low[(high - low) / 2];
    uint32_t *left = low, *right = high;
    while (left <= right) {
      while (*left < pivot) left++;
      while (*right > pivot) right--;
      if (left > right) break;
      uint32_t swap = *left;
      *left++ = *right;
      *right-- = swap;
    }
    if (right - low < high - left) {
      quick_sort(low, right);
      low = left;
    } else {
      quick_sort(left, high);
      high = right;
    }
  }
  for (uint32_t *at = low + 1; at <= high; at++) {
    uint32_t value = *at, *hole = at;
    while (hole > low && hole[-1] > value) {
      *hole = hole[-1];
      hole--;
    }
    *hole = value;
  }
}

static uint32_t phase_sort(void) {
  const uint32_t count = sizeof numbers / sizeof numbers[0];
  uint32_t sum = 0;
  for (int round = 0; round < TIMES(5); round++) {
    for (uint32_t i = 0; i < count; i++) numbers[i] = next_random();
    quick_sort(numbers, numbers + count - 1);
    for (uint32_t i = 0; i < count; i += 97) sum = sum * 31 + numbers[i];
  }
  return sum;
}

static uint32_t phase_hash(void) {
  const uint32_t mask = sizeof slots / sizeof slots[0] - 1;
  uint32_t found = 0;
  for (int round = 0; round < TIMES(2); round++) {
    for (uint32_t i = 0; i <= mask; i++) slots[i] = 0;
    for (uint32_t i = 0; i < 200000; i++) {
      uint32_t key = next_random() | 1, at = (key * 2654435761u) & mask;
      while (slots[at] != 0 && slots[at] != key) at = (at + 1) & mask;
      slots[at] = key;
    }
    for (uint32_t i = 0; i < 600000; i++) {
      uint32_t key = next_random() & 0x7fffff, at = (key * 2654435761u) & mask;
      while (slots[at] != 0 && slots[at] != key) at = (at + 1) & mask;
      found += slots[at] == key ? key : 1;
    }
  }
  return found;
}

static uint32_t fibonacci(uint32_t n) __attribute__((noinline, optimize("no-optimize-sibling-calls")));
static uint32_t fibonacci(uint32_t n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

static uint32_t phase_call(void) {
  uint32_t sum = 0;
  for (int round = 0; round < TIMES(4); round++) sum += fibonacci(27) + (uint32_t)round;
  return sum;
}

static void put_hex(uint32_t value) {
  char text[9];
  for (int i = 0; i < 8; i++) text[i] = "0123456789abcdef"[(value >> (28 - 4 * i)) & 15];
  text[8] = 0;
  put(text);
}

static void run(const char *name, uint32_t (*phase)(void)) {
  put(name);
  put(" begin\n");
  uint32_t checksum = phase();
  put(name);
  put(" ");
  put_hex(checksum);
  put("\n");
}

void program(void) {
  run("crc", phase_crc);
  run("bits", phase_bits);
  run("sort", phase_sort);
  run("hash", phase_hash);
  run("call", phase_call);
  put("done\n");
}
