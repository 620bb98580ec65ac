/*
 * Prints the leaves whose answer varies with ECX. What tells of the processor that asks (identifiers in EBX of leaf 1 and
 * in EDX) is left out: the program may be moved between two questions.
 */
#include <cpuid.h>
#include <stdio.h>
int main(void) {
  const unsigned starts[] = { 0, 0x80000000 }, tried[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x10, 0x7fffffff, 0xffffffff };
  for (int s = 0; s < 2; s++) for (unsigned leaf = starts[s]; leaf < starts[s] + 0x40; leaf++) {
    unsigned a, b, c, d, e, f, g, h;
    int varies = 0;
    __cpuid_count(leaf, 0, a, b, c, d);
    for (unsigned i = 0; i < sizeof tried / sizeof *tried; i++) {
      __cpuid_count(leaf, tried[i], e, f, g, h);
      if (leaf == 1) f = (f & 0xffffff) | (b & 0xff000000);
      varies |= e != a || f != b || g != c;
    }
    if (varies) printf("%u\n", leaf);
  }
  return 0;
}
