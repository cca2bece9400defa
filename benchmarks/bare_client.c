/* The least that an i-PI client can do: answers at once with zeros. The yardstick of ipi_cost.py.

   cc -O2 bare_client.c -o bare_client && ./bare_client SOCKET_PATH ATOMS BATCH_SIZE */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int fd;

static int get(void *to, size_t n) {
  for (char *p = to; n;) {
    ssize_t k = read(fd, p, n);
    if (k <= 0) return 0;
    p += k;
    n -= (size_t)k;
  }
  return 1;
}

static void put(const void *from, size_t n) {
  for (const char *p = from; n;) {
    ssize_t k = write(fd, p, n);
    if (k <= 0) exit(1);
    p += k;
    n -= (size_t)k;
  }
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  const int32_t atoms = atoi(argv[2]);
  const size_t batch = (size_t)atoi(argv[3]);
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  strncpy(name.sun_path, argv[1], sizeof name.sun_path - 1);
  fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(fd, (struct sockaddr *)&name, sizeof name)) return 1;

  const size_t structures = 4 + (144 + 24 * (size_t)atoms) * batch;
  const size_t answer = 12 + 8 * batch + 4 + (24 * (size_t)atoms + 72 + 4) * batch;
  char *in = malloc(structures), *out = calloc(1, answer), header[12];
  memcpy(out, "FORCEREADY  ", 12);
  memcpy(out + 12 + 8 * batch, &atoms, 4);
  const char *state = "NEEDINIT    ";
  while (get(header, 12)) {
    if (!memcmp(header, "STATUS", 6)) {
      put(state, 12);
    } else if (!memcmp(header, "INIT", 4)) {
      int32_t sizes[2];
      if (!get(sizes, 8) || sizes[1] < 0 || (size_t)sizes[1] > structures) return 1;
      if (!get(in, (size_t)sizes[1])) return 1;
      state = "READY       ";
    } else if (!memcmp(header, "POSDATA", 7)) {
      if (!get(in, structures)) return 1;
      state = "HAVEDATA    ";
    } else if (!memcmp(header, "GETFORCE", 8)) {
      put(out, answer);
      state = "READY       ";
    } else {
      return 0;
    }
  }
  return 0;
}
