/* The first process of a pod (the image `pause`) and of a machine of the bed: it reaps what is orphaned, and waits. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void leave(int number) { (void)number; _exit(0); }
static void reap(int number) { (void)number; while (waitpid(-1, 0, WNOHANG) > 0) {} }

int main(void) {
  signal(SIGINT, leave);
  signal(SIGTERM, leave);
  signal(SIGCHLD, reap);
  reap(SIGCHLD);
  for (;;) pause();
}
