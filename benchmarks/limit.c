/* The bare limit: start COUNT times /bin/true by posix_spawn, never more than SLOTS at once, and reap them.
 * Prints jobs a second. Everything a scheduler does beyond this is its cost. */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: limit COUNT SLOTS\n");
        return 2;
    }
    char *command[] = {"/bin/true", NULL};
    const long count = atol(argv[1]), slots = atol(argv[2]);
    long started = 0, ended = 0;
    const double begin = seconds();
    while (ended < count) {
        while (started < count && started - ended < slots) {
            pid_t pid;
            if (posix_spawn(&pid, command[0], NULL, NULL, command, environ) != 0) return 1;
            started++;
        }
        if (wait(NULL) > 0) ended++;
    }
    printf("%.1f\n", (double)count / (seconds() - begin));
    return 0;
}
