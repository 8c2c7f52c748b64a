/* A first process without an interpreter: carries out the lines of its standard input, answers on standard output. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void on_signal(int number) {
    char text[32];
    int size = snprintf(text, sizeof text, "signal %d\n", number);
    if (write(1, text, size) < 0) _exit(99);
}

static void cat(const char *path) {
    char buffer[65536];
    int fd = open(path, O_RDONLY);
    ssize_t size = fd < 0 ? -1 : read(fd, buffer, sizeof buffer);
    if (size < 0) { printf("errno %d\n", errno); } else { fwrite(buffer, 1, size, stdout); }
    printf("END\n");
    if (fd >= 0) close(fd);
}

static void orphan(void) {
    if (fork() == 0) {
        if (fork() == 0) { usleep(50000); _exit(0); }
        _exit(0);
    }
    wait(NULL);
}

/* The filter in the file that argument names; its listener goes to pid 1 over descriptor 5. */
static void filter(const char *path) {
    static struct sock_filter code[1024];
    int fd = open(path, O_RDONLY);
    ssize_t size = read(fd, code, sizeof code);
    struct sock_fprog program = { size / sizeof *code, code };
    close(fd);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    int listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    char text[] = "{\"event\":\"listener\"}", control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec piece = { text, sizeof text - 1 };
    struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET; header->cmsg_type = SCM_RIGHTS; header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &listener, sizeof listener);
    ssize_t sent = sendmsg(5, &message, 0);
    close(listener); close(5);
    printf("%s\n", listener >= 0 && sent > 0 ? "filtered" : "failed");
}

int main(int count, char **arguments) {
    char line[4096];
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        char *word = strtok(line, " "), *first = strtok(NULL, " "), *second = strtok(NULL, " ");
        if (!word) continue;
        if (!strcmp(word, "cat")) cat(first);
        else if (!strcmp(word, "exit")) return atoi(first);
        else if (!strcmp(word, "ids")) printf("%d %d %d %d\n", getpid(), getppid(), getuid(), getgid());
        else if (!strcmp(word, "arguments")) printf("%d %s\n", count, arguments[0]);
        else if (!strcmp(word, "trap")) { signal(atoi(first), on_signal); printf("trapped\n"); }
        else if (!strcmp(word, "raise")) { signal(atoi(first), SIG_DFL); raise(atoi(first)); }
        else if (!strcmp(word, "orphan")) { orphan(); printf("orphaned\n"); }
        else if (!strcmp(word, "daemon")) { if (fork() == 0) { setsid(); for (;;) pause(); } printf("forked\n"); }
        else if (!strcmp(word, "stat")) {
            struct stat s;
            if (lstat(first, &s)) printf("errno %d\n", errno);
            else printf("%o %d %d %ld %lld %d\n", s.st_mode, s.st_uid, s.st_gid, s.st_size, (long long)s.st_mtime, (int)s.st_nlink);
        } else if (!strcmp(word, "link")) {
            char buffer[4096] = {0};
            ssize_t size = readlink(first, buffer, sizeof buffer - 1);
            printf("%s\n", size < 0 ? "none" : buffer);
        } else if (!strcmp(word, "write")) {
            int fd = open(first, O_WRONLY | O_CREAT, 0600);
            ssize_t size = fd < 0 || !second ? fd : write(fd, second, strlen(second));
            printf("%d\n", size < 0 ? errno : 0);
            if (fd >= 0) close(fd);
        } else if (!strcmp(word, "mkdir")) printf("%d\n", mkdir(first, 0755) ? errno : 0);
        else if (!strcmp(word, "unlink")) printf("%d\n", unlink(first) ? errno : 0);
        else if (!strcmp(word, "rename")) printf("%d\n", rename(first, second) ? errno : 0);
        else if (!strcmp(word, "chdir")) printf("%d\n", chdir(first) ? errno : 0);
        else if (!strcmp(word, "send")) printf("%d\n", send(atoi(first), second, strlen(second), 0) < 0 ? errno : 0);
        else if (!strcmp(word, "filter")) filter(first);
        else if (!strcmp(word, "call")) printf("%d\n", syscall(atol(first), second ? atol(second) : 0, 0, 0, 0, 0, 0) < 0 ? errno : 0);
        else printf("what?\n");
    }
    return 0;
}
