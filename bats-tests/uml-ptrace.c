/*
 * Put before User-Mode Linux with LD_PRELOAD: lets it run on processors whose registers it does not know.
 *
 * It keeps 2.7 kB of a process's extended registers and writes as many back, but the host's kernel takes the whole set
 * or nothing, and with AMX that is 11 kB: the first program ends in "Attempted to kill init". So what User-Mode Linux
 * does not know is read from the process, and written back with what it does.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* From linux/elf.h, which does not go together with sys/ptrace.h. */
#define NT_X86_XSTATE 0x202UL

static long set_registers(pid_t pid, unsigned long kind, const struct iovec *known) {
  static char whole[1 << 16] __attribute__((aligned(64)));
  struct iovec registers = {whole, sizeof whole};
  if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, kind, &registers) < 0) return -1;
  memcpy(whole, known->iov_base, known->iov_len < registers.iov_len ? known->iov_len : registers.iov_len);
  return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, kind, &registers);
}

long ptrace(enum __ptrace_request request, ...) {
  va_list rest;
  va_start(rest, request);
  pid_t pid = va_arg(rest, pid_t);
  unsigned long address = va_arg(rest, unsigned long);
  void *data = va_arg(rest, void *);
  va_end(rest);
  if (request == PTRACE_SETREGSET && address == NT_X86_XSTATE) return set_registers(pid, address, data);
  if (request != PTRACE_PEEKTEXT && request != PTRACE_PEEKDATA && request != PTRACE_PEEKUSER)
    return syscall(SYS_ptrace, request, pid, address, data);
  /* The system call writes the word to memory, the function returns it. */
  long word;
  if (syscall(SYS_ptrace, request, pid, address, &word) < 0) return -1;
  errno = 0;
  return word;
}
