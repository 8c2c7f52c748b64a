/* An application that tells what it sees of its sandbox, what it may do there, and shows its quotes: one JSON object. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

extern char **environ;

static void string(const char *text, ssize_t size) {
    putchar('"');
    for (ssize_t i = 0; i < size; i++) {
        unsigned char c = text[i];
        if (c == '"' || c == '\\') printf("\\%c", c);
        else if (c < 32 || c > 126) printf("\\u%04x", c);
        else putchar(c);
    }
    putchar('"');
}

static void text(const char *value) { string(value, strlen(value)); }

static void content(const char *name, const char *path) {
    static char buffer[65536];
    int fd = open(path, O_RDONLY);
    ssize_t size = fd < 0 ? -1 : read(fd, buffer, sizeof buffer);
    printf(",\"%s\":", name);
    string(buffer, size < 0 ? 0 : size);
    if (fd >= 0) close(fd);
}

static int listed;

static void list(const char *path, int depth) {
    DIR *directory = opendir(path);
    struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
        char below[4096];
        struct stat about;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        snprintf(below, sizeof below, "%s/%s", strcmp(path, "/") ? path : "", entry->d_name);
        if (lstat(below, &about)) continue;
        printf(listed++ ? "," : "");
        text(below);
        printf(":[\"%o\",%u,%u]", about.st_mode, about.st_uid, about.st_gid);
        if (depth > 1 && S_ISDIR(about.st_mode)) list(below, depth - 1);
    }
    if (directory) closedir(directory);
}

static void links(const char *name, const char *path) {
    DIR *directory = opendir(path);
    struct dirent *entry;
    int count = 0;
    printf(",\"%s\":{", name);
    while (directory && (entry = readdir(directory))) {
        char link[8192], target[4096];
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(directory) && entry->d_name[0] > '2') continue;
        snprintf(link, sizeof link, "%s/%s", path, entry->d_name);
        ssize_t size = readlink(link, target, sizeof target);
        printf(count++ ? "," : "");
        text(entry->d_name);
        putchar(':');
        string(target, size < 0 ? 0 : size);
    }
    printf("}");
    if (directory) closedir(directory);
}

static void processes(void) {
    DIR *directory = opendir("/proc");
    struct dirent *entry;
    int count = 0;
    printf(",\"processes\":[");
    while ((entry = readdir(directory)))
        if (atoi(entry->d_name)) printf(count++ ? ",%s" : "%s", entry->d_name);
    printf("],\"self\":%d,\"parent\":%d", getpid(), getppid());
    closedir(directory);
}

static int attempts;

/* errno, 0 where it was allowed */
static void attempt(const char *name, long result) {
    printf("%s\"%s\":%d", attempts++ ? "," : "", name, result < 0 ? errno : 0);
}

static long write_to(const char *path) { return open(path, O_WRONLY | O_CREAT, 0600); }

static void try_all(void) {
    char byte;
    printf(",\"attempts\":{");
    attempt("write /etc", write_to("/etc/planted"));
    attempt("write /open", write_to("/open/planted"));
    attempt("write /tmp", write_to("/tmp/planted"));
    attempt("write /data", write_to("/data/planted"));
    attempt("write /dev/stdout", write_to("/dev/stdout"));
    attempt("write the program", open("/probe", O_WRONLY));
    attempt("write /proc/sys", open("/proc/sys/kernel/hostname", O_WRONLY));
    attempt("chmod", chmod("/open", 0700));
    attempt("ptrace the parent", ptrace(PTRACE_ATTACH, getppid(), 0, 0));
    attempt("kill the parent", kill(getppid(), SIGKILL));
    attempt("signal the host", kill(atoi(getenv("HOST_PID")), 0));
    attempt("mount", mount("none", "/tmp", "tmpfs", 0, ""));
    attempt("umount", umount2("/dev/shm", MNT_DETACH));
    attempt("unshare user", unshare(CLONE_NEWUSER));
    attempt("unshare mount", unshare(CLONE_NEWNS));
    attempt("clone a namespace", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
    attempt("join a namespace", setns(open("/proc/self/ns/net", O_RDONLY), 0));
    attempt("chroot", chroot("/tmp"));
    attempt("become root", setuid(0));
    attempt("set groups", setgroups(0, NULL));
    attempt("make a device", mknod("/tmp/sda", S_IFBLK | 0600, 8 << 8));
    attempt("io_uring", syscall(425, 8, NULL));
    attempt("bpf", syscall(SYS_bpf, 0, NULL, 0));
    attempt("type on the terminal", syscall(SYS_ioctl, 0, 0x5412, &byte));
    attempt("environment of pid 1", open("/proc/1/environ", O_RDONLY));
    attempt("memory of pid 1", open("/proc/1/mem", O_RDONLY));
    attempt("root of pid 1", open("/proc/1/root/etc", O_RDONLY));
    attempt("descriptors of pid 1", open("/proc/1/fd", O_RDONLY));
    printf("}");
}

static void ask_for_quote(void) {
    const char *request = "{\"op\":\"quote\",\"reportData\":\"" REPORT_DATA "\"}";
    static char answer[65536];
    struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/dev/attestation/socket" };
    int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    uint32_t size = htonl(strlen(request));
    size_t got = 0;
    if (connect(sock, (struct sockaddr *)&address, sizeof address)) { printf(",\"errno\":%d", errno); return; }
    if (write(sock, &size, 4) < 0 || write(sock, request, strlen(request)) < 0) return;
    while (got < 4 || got < 4 + (size_t)ntohl(*(uint32_t *)answer)) {
        ssize_t more = read(sock, answer + got, sizeof answer - got);
        if (more <= 0) break;
        got += more;
    }
    printf(",\"answer\":");
    string(answer + 4, got < 4 ? 0 : got - 4);
    close(sock);
}

int main(int count, char **arguments) {
    uid_t uids[3];
    gid_t gids[3], groups[64];
    getresuid(uids, uids + 1, uids + 2);
    getresgid(gids, gids + 1, gids + 2);
    printf("{\"uids\":[%u,%u,%u],\"gids\":[%u,%u,%u]", uids[0], uids[1], uids[2], gids[0], gids[1], gids[2]);
    printf(",\"groups\":%d,\"arguments\":[", getgroups(64, groups));
    for (int i = 0; i < count; i++) { printf(i ? "," : ""); text(arguments[i]); }
    printf("],\"environment\":[");
    for (char **item = environ; *item; item++) { printf(item > environ ? "," : ""); text(*item); }
    printf("],\"tree\":{");
    list("/", 2);
    printf("}");
    links("descriptors", "/proc/self/fd");
    links("namespaces", "/proc/self/ns");
    content("mounts", "/proc/self/mountinfo");
    content("status", "/proc/self/status");
    content("quote", "/dev/attestation/quote");
    content("type", "/dev/attestation/attestation_type");
    processes();
    ask_for_quote();
    try_all();
    printf("}\n");
    return 7;
}
