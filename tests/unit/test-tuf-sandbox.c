/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fetch-sandbox.h"

/*
 * Each attempt runs in a child of its own, inside the sandbox. It returns 0 if things are as they
 * shall be, else a line number.
 */
typedef int attempt_fn(void);

#define MUST(condition)                                                                            \
	do {                                                                                       \
		if (!(condition))                                                                  \
			return __LINE__;                                                           \
	} while (0)

static char folder[64], writable[96], device[96];

static void run_in_sandbox(attempt_fn *attempt)
{
	pid_t parent = getpid(), pid;
	int fds[2], line = -1, status;
	struct qmr_error err = {0};

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (qmr_sandbox_enter(fds[1], -1, parent, &err) < 0) {
			fprintf(stderr, "%s\n", err.text);
			_exit(99);
		}
		line = attempt();
		_exit(write(QMR_SANDBOX_FD, &line, sizeof(line)) != sizeof(line));
	}
	close(fds[1]);
	(void)!read(fds[0], &line, sizeof(line)); /* what failed to come stays -1 */
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(line, 0); /* else: the line of this file that did not hold */
}

static int writes(void)
{
	/* A file and a folder that everybody may write: it is not their modes that refuse. */
	MUST(open(writable, O_WRONLY) < 0 && errno == EPERM);
	MUST(open(writable, O_RDWR) < 0 && errno == EPERM);
	MUST(open(writable, O_RDONLY | O_TRUNC) < 0 && errno == EPERM);
	MUST(open("/tmp/qmr-made-in-sandbox", O_RDONLY | O_CREAT, 0600) < 0 && errno == EPERM);
	MUST(open(folder, O_TMPFILE | O_RDWR, 0600) < 0 && errno == EPERM);
	MUST(syscall(SYS_creat, writable, 0600) < 0 && errno == EPERM);
	MUST(truncate(writable, 0) < 0 && errno == EPERM);
	MUST(unlink(writable) < 0 && errno == EPERM);
	MUST(rename(writable, "/tmp/qmr-renamed") < 0 && errno == EPERM);
	MUST(mkdir("/tmp/qmr-made-in-sandbox", 0700) < 0 && errno == EPERM);
	MUST(symlink("x", "/tmp/qmr-made-in-sandbox") < 0 && errno == EPERM);
	MUST(link(writable, "/tmp/qmr-made-in-sandbox") < 0 && errno == EPERM);
	MUST(chmod(writable, 0) < 0 && errno == EPERM);
	MUST(memfd_create("x", 0) < 0 && errno == EPERM);
	return 0;
}

static int opens_devices(void)
{
	MUST(open(device, O_RDONLY) < 0 && (errno == EACCES || errno == EPERM || errno == ENOENT));
	MUST(open(device, O_RDWR) < 0 && errno == EPERM);
	MUST(open("/dev/mem", O_RDONLY) < 0);
	MUST(mknod("/tmp/qmr-made-in-sandbox", S_IFBLK | 0600, makedev(7, 0)) < 0 &&
	     errno == EPERM);
	return 0;
}

static int mounts(void)
{
	MUST(mount("none", "/tmp", "tmpfs", 0, NULL) < 0 && errno == EPERM);
	MUST(umount("/proc") < 0 && errno == EPERM);
	MUST(chroot("/") < 0 && errno == EPERM);
	MUST(unshare(CLONE_NEWUSER) < 0 && errno == EPERM);
	MUST(unshare(CLONE_NEWNS) < 0 && errno == EPERM);
	MUST(syscall(SYS_bpf, 0, NULL, 0) < 0 && errno == EPERM);
	MUST(syscall(SYS_init_module, NULL, 0, "") < 0 && errno == EPERM);
	MUST(syscall(SYS_reboot, 0, 0, 0, NULL) < 0 && errno == EPERM);
	MUST(syscall(SYS_io_uring_setup, 1, NULL) < 0 && errno == EPERM);
	return 0;
}

static int executes(void)
{
	char *const argv[] = {"/bin/true", NULL};

	MUST(execv(argv[0], argv) < 0 && errno == EPERM);
	MUST(syscall(SYS_execveat, AT_FDCWD, argv[0], argv, NULL, 0) < 0 && errno == EPERM);
	MUST(fork() < 0 && errno == EPERM);
	MUST(vfork() < 0 && errno == EPERM);
	MUST(syscall(SYS_clone3, NULL, 0) < 0 && errno == ENOSYS);
	return 0;
}

static int traces_and_signals(void)
{
	MUST(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL) < 0 && errno == EPERM);
	MUST(ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 && errno == EPERM);
	MUST(kill(getppid(), 0) < 0 && errno == EPERM);
	MUST(syscall(SYS_tgkill, getppid(), getppid(), 0) < 0 && errno == EPERM);
	MUST(syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0) < 0 && errno == EPERM);
	MUST(syscall(SYS_pidfd_open, getppid(), 0) < 0 && errno == EPERM);
	MUST(setuid(0) < 0 && errno == EPERM);
	MUST(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 && errno == EPERM);
	return 0;
}

static int makes_sockets(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd;

	MUST(socket(AF_UNIX, SOCK_STREAM, 0) < 0 && errno == EPERM);
	MUST(socket(AF_PACKET, SOCK_RAW, 0) < 0 && errno == EPERM);
	MUST(socket(AF_NETLINK, SOCK_RAW, 15 /* NETLINK_KOBJECT_UEVENT */) < 0 && errno == EPERM);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	MUST(fd >= 0);
	MUST(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	MUST(listen(fd, 1) < 0 && errno == EPERM);
	return 0;
}

static int has_no_privilege(void)
{
	struct rlimit limit;

	MUST(getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_max == 0);
	MUST(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max <= 64);
	MUST(getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_max == 0);
	MUST(getrlimit(RLIMIT_CPU, &limit) == 0 && limit.rlim_max <= 120);
	MUST(geteuid() != 0 && getuid() != 0 && getegid() != 0);
	return 0;
}

static int descriptors(void)
{
	for (int fd = 4; fd < 64; fd++)
		MUST(fcntl(fd, F_GETFD) < 0 && errno == EBADF);
	for (int fd = 0; fd <= 3; fd++)
		MUST(fcntl(fd, F_GETFD) >= 0);
	return 0;
}

static void *thread(void *unused)
{
	return (void *)7;
}

/* The other half: what libcurl, its resolver and OpenSSL need is there. */
static int works(void)
{
	struct addrinfo *list = NULL,
			hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	void *result = NULL, *memory;
	char random[16];
	pthread_t id;
	int pair[2];

	MUST(pthread_create(&id, NULL, thread, NULL) == 0);
	MUST(pthread_join(id, &result) == 0 && result == (void *)7);
	MUST(getaddrinfo("127.0.0.1", "443", &hints, &list) == 0);
	freeaddrinfo(list);
	list = NULL;
	MUST(getaddrinfo("localhost", "443", &hints, &list) == 0);
	freeaddrinfo(list);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	MUST(getentropy(random, sizeof(random)) == 0);
	MUST(socket(AF_INET6, SOCK_STREAM, 0) >= 0 || errno == EAFNOSUPPORT);
	memory = malloc(16 << 20);
	MUST(memory);
	memset(memory, 1, 16 << 20);
	free(memory);
	MUST(open("/etc/hosts", O_RDONLY) >= 0 || errno == ENOENT);
	return 0;
}

static void nothing_can_be_written(void **unused)
{
	run_in_sandbox(writes);
}

static void no_device_can_be_opened(void **unused)
{
	if (geteuid() != 0 && access(device, F_OK) < 0)
		skip();
	run_in_sandbox(opens_devices);
}

static void nothing_can_be_mounted(void **unused)
{
	run_in_sandbox(mounts);
}

static void nothing_can_be_executed(void **unused)
{
	run_in_sandbox(executes);
}

static void nobody_can_be_traced(void **unused)
{
	run_in_sandbox(traces_and_signals);
}

static void sockets_are_those_of_a_client(void **unused)
{
	run_in_sandbox(makes_sockets);
}

static void root_is_given_up(void **unused)
{
	run_in_sandbox(has_no_privilege);
}

static void descriptors_are_closed(void **unused)
{
	int extra = open("/dev/null", O_RDONLY), high = fcntl(extra, F_DUPFD, 40);

	run_in_sandbox(descriptors);
	close(extra);
	close(high);
}

static void clients_work(void **unused)
{
	run_in_sandbox(works);
}

/*
 * What the kernel says of a sandboxed process, seen from outside. prepare runs before the sandbox
 * is entered.
 */
static void read_status(void (*prepare)(void), char *text, size_t size)
{
	pid_t parent = getpid(), pid;
	char path[64], byte = 0;
	int ready[2];
	FILE *f;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		prepare();
		if (qmr_sandbox_enter(ready[1], -1, parent, NULL) < 0)
			_exit(99);
		(void)!write(QMR_SANDBOX_FD, &byte, 1);
		for (;;)
			sleep(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	assert_non_null(f);
	text[fread(text, 1, size - 1, f)] = '\0';
	fclose(f);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void has_lines(const char *text, const char *const lines[], size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strstr(text, lines[i]))
			fail_msg("'%s' is not in:\n%s", lines[i], text);
}

static const char *const unprivileged[] = {"CapInh:\t0000000000000000",
					   "CapPrm:\t0000000000000000",
					   "CapEff:\t0000000000000000",
					   "CapAmb:\t0000000000000000",
					   "NoNewPrivs:\t1",
					   "Seccomp:\t2"};

static void join_group(void)
{
	const gid_t group = 7;

	(void)!setgroups(1, &group); /* something to give up, where that is possible */
}

static void the_kernel_agrees(void **unused)
{
	static const char *const nobody[] = {"CapBnd:\t0000000000000000",
					     "Uid:\t65533\t65533\t65533\t65533",
					     "Gid:\t65533\t65533\t65533\t65533", "Groups:\t \n"};
	char text[8192];

	read_status(join_group, text, sizeof(text));
	has_lines(text, unprivileged, sizeof(unprivileged) / sizeof(*unprivileged));
	if (geteuid() == 0)
		has_lines(text, nobody, sizeof(nobody) / sizeof(*nobody));
}

/* As a service that was given capabilities without being root. */
static void become_capable_user(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setresuid(12345, 12345, 12345) < 0 ||
	    syscall(SYS_capget, &header, data) < 0)
		_exit(98);
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		data[i].effective = data[i].inheritable = data[i].permitted;
	if (data[0].permitted == 0 || syscall(SYS_capset, &header, data) < 0)
		_exit(97);
}

static void capabilities_without_root_go_too(void **unused)
{
	char text[8192];

	if (geteuid() != 0)
		skip();
	read_status(become_capable_user, text, sizeof(text));
	has_lines(text, unprivileged, sizeof(unprivileged) / sizeof(*unprivileged));
}

/* Nothing of a fetch outlives the program that wanted it. */
static void it_ends_with_its_parent(void **unused)
{
	int fds[2], status;
	pid_t middle;
	char byte;

	assert_int_equal(pipe(fds), 0);
	middle = fork();
	if (middle == 0) {
		pid_t parent = getpid(), child = fork();

		if (child == 0) {
			if (qmr_sandbox_enter(fds[1], -1, parent, NULL) < 0)
				_exit(99);
			(void)!write(QMR_SANDBOX_FD, "r", 1);
			for (;;)
				sleep(1);
		}
		close(fds[1]);
		(void)!read(fds[0], &byte, 1);
		_exit(0);
	}
	close(fds[1]);
	assert_int_equal(waitpid(middle, &status, 0), middle);
	/* The sandboxed process alone still holds the pipe: its end is the pipe's. */
	alarm(20);
	while (read(fds[0], &byte, 1) > 0)
		;
	alarm(0);
	close(fds[0]);
}

static int set_up(void **unused)
{
	int fd;

	snprintf(folder, sizeof(folder), "/tmp/qmr-sandbox-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	chmod(folder, 0777);
	snprintf(writable, sizeof(writable), "%s/file", folder);
	fd = open(writable, O_WRONLY | O_CREAT, 0666);
	if (fd < 0 || fchmod(fd, 0666) < 0)
		return -1;
	close(fd);
	/*
	 * A block device as /dev has them: root's and its group's. Not all test machines have one.
	 */
	snprintf(device, sizeof(device), "%s/device", folder);
	if (geteuid() == 0 && mknod(device, S_IFBLK | 0660, makedev(7, 0)) < 0)
		snprintf(device, sizeof(device), "/dev/loop0");
	return 0;
}

static int tear_down(void **unused)
{
	unlink(writable);
	unlink(device);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_can_be_written),
		cmocka_unit_test(no_device_can_be_opened),
		cmocka_unit_test(nothing_can_be_mounted),
		cmocka_unit_test(nothing_can_be_executed),
		cmocka_unit_test(nobody_can_be_traced),
		cmocka_unit_test(sockets_are_those_of_a_client),
		cmocka_unit_test(root_is_given_up),
		cmocka_unit_test(descriptors_are_closed),
		cmocka_unit_test(clients_work),
		cmocka_unit_test(the_kernel_agrees),
		cmocka_unit_test(it_ends_with_its_parent),
		cmocka_unit_test(capabilities_without_root_go_too),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
