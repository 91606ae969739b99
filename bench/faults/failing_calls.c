/* Preloaded into a program, it makes one call of a kind fail: FAULT_KIND is malloc, open, write, fsync or rename, FAULT_AT
 * the number of the call (from 1; 0: none fails). With FAULT_LASTS all later calls of the kind fail too. With FAULT_COUNT
 * the number of calls is written to that file at the end. Calls of open count only if they create a file. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static const char* kind = "";
static long at = 0;
static int lasts = 0;
static atomic_long calls = 0;
static atomic_int ready = 0;

__attribute__((constructor)) static void begin(void) {
    const char* text = getenv("FAULT_KIND");
    kind = text ? text : "";
    text = getenv("FAULT_AT");
    at = text ? atol(text) : 0;
    lasts = getenv("FAULT_LASTS") != NULL;
    ready = 1;
}

__attribute__((destructor)) static void end(void) {
    const char* path = getenv("FAULT_COUNT");
    ready = 0;
    FILE* file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%ld\n", (long)calls);
    fclose(file);
}

static int fails(const char* which, int code) {
    if (!ready || strcmp(kind, which) != 0) return 0;
    const long now = ++calls;
    if (at == 0 || !(now == at || (lasts && now > at))) return 0;
    errno = code;
    return 1;
}

void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

void* malloc(size_t size) { return fails("malloc", ENOMEM) ? NULL : __libc_malloc(size); }
void* calloc(size_t count, size_t size) { return fails("malloc", ENOMEM) ? NULL : __libc_calloc(count, size); }
void* realloc(void* old, size_t size) { return fails("malloc", ENOMEM) ? NULL : __libc_realloc(old, size); }
void* aligned_alloc(size_t alignment, size_t size) {
    return fails("malloc", ENOMEM) ? NULL : __libc_memalign(alignment, size);
}
int posix_memalign(void** out, size_t alignment, size_t size) {
    if (fails("malloc", ENOMEM)) return ENOMEM;
    *out = __libc_memalign(alignment, size);
    return *out ? 0 : ENOMEM;
}

int open(const char* path, int flags, ...) {
    static int (*real)(const char*, int, ...) = NULL;
    if (!real) real = (int (*)(const char*, int, ...))dlsym(RTLD_NEXT, "open");
    va_list more;
    va_start(more, flags);
    const mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    return (flags & O_CREAT) && fails("open", ENOSPC) ? -1 : real(path, flags, mode);
}

ssize_t write(int file, const void* bytes, size_t size) {
    static ssize_t (*real)(int, const void*, size_t) = NULL;
    if (!real) real = (ssize_t (*)(int, const void*, size_t))dlsym(RTLD_NEXT, "write");
    return fails("write", ENOSPC) ? -1 : real(file, bytes, size);
}

int fsync(int file) {
    static int (*real)(int) = NULL;
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return fails("fsync", EIO) ? -1 : real(file);
}

int rename(const char* from, const char* to) {
    static int (*real)(const char*, const char*) = NULL;
    if (!real) real = (int (*)(const char*, const char*))dlsym(RTLD_NEXT, "rename");
    return fails("rename", ENOSPC) ? -1 : real(from, to);
}
