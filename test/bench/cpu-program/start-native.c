/* The integer program as a Linux process; each line leaves at once so that the reader can time it. */
#include <string.h>
#include <unistd.h>

void program(void);
void put(const char *text) { (void)!write(1, text, strlen(text)); }
int main(void) {
  program();
  return 0;
}
