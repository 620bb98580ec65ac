/* Random bytes as code, in the kernel's own ring: whatever they do, nobody else may notice. */
#include "contract.h"

static char code[PAGE_SIZE] PAGE;

void run_hostile(char *rest)
{
    u32 state = (u32)number_of(word_of(&rest)) * 2654435761u + 1;
    for (word i = 0; i < PAGE_SIZE; i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        code[i] = (char)(state >> 24);
    }
    print("hostile: begins\n");
    ((void (*)(void))ADDRESS(code))();
    print("hostile: is back\n");
}
