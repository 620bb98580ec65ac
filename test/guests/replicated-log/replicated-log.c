/*
 * A small replicated log of three nodes over UDP, each with its commands on standard input: `write WORD` at the leader, `lead` at whoever is to
 * take over, `read`. A write is acknowledged once a majority has it. Built without FIXED it is acknowledged as soon as it was
 * sent, and lost where nobody got it: the planted mistake.
 *
 * Messages are a line: `append INDEX WORD`, `got INDEX`, `ask`, `log WORD,WORD,...`.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NODES 3
#define MOST 16
#define WORD 32
#define PORT 7000
/* Turns of a tenth of a second in which a write is sent again before it has failed. */
#define PATIENCE 20

static char words[MOST][WORD];
static int count;
static int self;
static int link_fd;

static struct sockaddr_in address_of(int node) {
  struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(PORT) };
  address.sin_addr.s_addr = htonl(0x0a000000u + (unsigned)node);
  return address;
}

static void tell(int node, const char *text) {
  struct sockaddr_in to = address_of(node);
  sendto(link_fd, text, strlen(text), 0, (struct sockaddr *)&to, sizeof to);
}

static void tell_all(const char *text) {
  for (int node = 1; node <= NODES; node += 1) if (node != self) tell(node, text);
}

/* Joins the log, or takes over a longer one. */
static void joined(char *text) {
  strcpy(text, "log ");
  for (int i = 0; i < count; i += 1) {
    strcat(text, words[i]);
    strcat(text, ",");
  }
}

static void take_log(char *text) {
  int place = 0;
  for (char *word = strtok(text, ","); word != NULL && place < MOST; word = strtok(NULL, ",")) {
    if (place >= count) {
      strncpy(words[place], word, WORD - 1);
      count = place + 1;
    }
    place += 1;
  }
}

/* Takes a message; the index that somebody has got, -2 for a log, -1 otherwise. */
static int take(void) {
  char text[1024];
  struct sockaddr_in from;
  socklen_t size = sizeof from;
  ssize_t length = recvfrom(link_fd, text, sizeof text - 1, 0, (struct sockaddr *)&from, &size);
  if (length <= 0) return -1;
  text[length] = 0;
  int node = (int)(ntohl(from.sin_addr.s_addr) & 0xff);
  int index = 0;
  char word[WORD];
  if (sscanf(text, "append %d %31s", &index, word) == 2 && index >= 0 && index < MOST) {
    if (index == count) {
      strcpy(words[index], word);
      count += 1;
    }
    if (index < count) {
      char answer[32];
      sprintf(answer, "got %d", index);
      tell(node, answer);
    }
  } else if (sscanf(text, "got %d", &index) == 1) return index;
  else if (strcmp(text, "ask") == 0) {
    char answer[1024];
    joined(answer);
    tell(node, answer);
  } else if (strncmp(text, "log ", 4) == 0) {
    take_log(text + 4);
    return -2;
  }
  return -1;
}

/* Sends a text until `wanted` is heard, for a while. */
static int until_heard(const char *text, int wanted) {
  for (int turn = 0; turn < PATIENCE; turn += 1) {
    tell_all(text);
    struct pollfd ready = { .fd = link_fd, .events = POLLIN };
    while (poll(&ready, 1, 100) > 0) if (take() == wanted) return 1;
  }
  return 0;
}

static void write_word(const char *word) {
  char text[64];
  int index = count;
  strcpy(words[index], word);
  count += 1;
  sprintf(text, "append %d %s", index, word);
#ifdef FIXED
  int is_safe = until_heard(text, index);
#else
  tell_all(text);
  int is_safe = 1;
#endif
  printf("%s %s\n", is_safe ? "acknowledged" : "refused", word);
}

int main(int argc, char **argv) {
  self = argc > 1 ? atoi(argv[1]) : 1;
  setvbuf(stdout, NULL, _IOLBF, 0);
  link_fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in own = address_of(self);
  if (bind(link_fd, (struct sockaddr *)&own, sizeof own) != 0) return 1;
  printf("node %d serves\n", self);
  for (;;) {
    struct pollfd ready[2] = { { .fd = 0, .events = POLLIN }, { .fd = link_fd, .events = POLLIN } };
    poll(ready, 2, -1);
    if (ready[1].revents != 0) take();
    if (ready[0].revents == 0) continue;
    char line[128], word[WORD];
    ssize_t length = read(0, line, sizeof line - 1);
    if (length <= 0) return 0;
    line[length] = 0;
    if (sscanf(line, "write %31s", word) == 1 && count < MOST) write_word(word);
    else if (strncmp(line, "lead", 4) == 0) puts(until_heard("ask", -2) ? "this node leads" : "no majority");
    else if (strncmp(line, "read", 4) == 0) {
      char text[1024];
      joined(text);
      puts(text);
    }
  }
}
