/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "cleanup.h"
#include "clock.h"
#include "fetch-run.h"
#include "fetch-sandbox.h"
#include "file.h"
#include "network.h"
#include "retry.h"

/*
 * remediation-fetch with a child that has been taken over. The child is the real one, started by
 * qmr_fetch_run() and sandboxed by qmr_fetch_child(); the linker puts __wrap_qmr_fetch_update_run()
 * into the place of what it does then (fetch.mk). It tries to get out, in each way of the table,
 * and says what came of it as a "file" of the stream. One test for each way, over a server's child
 * and a folder's.
 */

static char folder[64], victim[96], device[96];
static pid_t test_pid;

/* Each returns 0 with errno set where it was kept from it, else what it got. */
typedef int attempt_fn(void);

static int got(long result)
{
	return result >= 0;
}

static int open_device(void)
{
	return got(open(device, O_RDONLY));
}

static int open_device_for_writing(void)
{
	return got(open(device, O_RDWR));
}

static int make_device(void)
{
	return got(mknod("/tmp/qmr-escape", S_IFBLK | 0600, makedev(7, 0)));
}

static int open_memory(void)
{
	return got(open("/dev/mem", O_RDONLY)) || got(open("/dev/kmem", O_RDONLY)) || got(open("/proc/kcore", O_RDONLY));
}

static int write_file(void)
{
	return got(open(victim, O_WRONLY));
}

static int truncate_file(void)
{
	return got(open(victim, O_RDONLY | O_TRUNC)) || got(truncate(victim, 0));
}

static int make_file(void)
{
	return got(open("/tmp/qmr-escape", O_RDONLY | O_CREAT, 0600)) || got(mkdir("/tmp/qmr-escape", 0700));
}

static int make_unnamed_file(void)
{
	return got(open(folder, O_TMPFILE | O_RDWR, 0600)) || got(memfd_create("x", 0));
}

static int openat2_for_writing(void)
{
	uint64_t how[3] = {O_WRONLY};

	return got(syscall(SYS_openat2, AT_FDCWD, victim, how, sizeof(how)));
}

static int remove_file(void)
{
	return got(unlink(victim)) || got(rename(victim, "/tmp/qmr-escape")) || got(link(victim, "/tmp/qmr-escape"));
}

static int change_mode(void)
{
	return got(chmod(victim, 04755)) || got(chown(victim, 0, 0));
}

static int write_into_parent(void)
{
	static const char *const names[] = {"mem", "environ", "maps"};
	char path[64];

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", getppid(), names[i]);
		if (got(open(path, O_RDWR)) || got(open(path, O_RDONLY)))
			return 1;
	}
	return 0;
}

static int trace_parent(void)
{
	return got(ptrace(PTRACE_TRACEME, 0, NULL, NULL)) || got(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL)) || got(ptrace(PTRACE_SEIZE, getppid(), NULL, NULL));
}

static int read_parents_memory(void)
{
	return got(syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0)) ||
	       got(syscall(SYS_pidfd_open, getppid(), 0));
}

static int signal_parent(void)
{
	return got(kill(getppid(), 0)) || got(syscall(SYS_tgkill, getppid(), getppid(), 0)) || got(kill(-1, 0));
}

static int mount_something(void)
{
	return got(mount("none", folder, "tmpfs", 0, NULL)) || got(syscall(SYS_fsopen, "tmpfs", 0)) ||
	       got(syscall(SYS_open_tree, AT_FDCWD, "/", 1)) || got(umount(folder));
}

static int make_namespaces(void)
{
	return got(unshare(CLONE_NEWUSER)) || got(unshare(CLONE_NEWNS)) || got(chroot("/"));
}

static int execute(void)
{
	char *const argv[] = {"/bin/true", NULL};

	return got(execv(argv[0], argv)) || got(syscall(SYS_execveat, AT_FDCWD, argv[0], argv, NULL, 0));
}

static int make_process(void)
{
	static const long calls[] = {SYS_fork, SYS_clone};

	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		long pid = syscall(calls[i], SIGCHLD, 0, 0, 0, 0);

		if (pid == 0)
			_exit(0);
		if (pid > 0)
			return 1;
	}
	return got(syscall(SYS_clone3, NULL, 0)) || errno == EINVAL; /* it came as far as its arguments */
}

static int become_root(void)
{
	return got(setuid(0)) || got(setresuid(0, 0, 0)) || got(setgid(0)) || geteuid() == 0;
}

static int raise_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct all[_LINUX_CAPABILITY_U32S_3] = {{~0U, ~0U, ~0U}, {~0U, ~0U, ~0U}};

	return got(syscall(SYS_capset, &header, all)) || got(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0)) ||
	       got(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static int raise_limits(void)
{
	struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};

	return got(setrlimit(RLIMIT_FSIZE, &all)) || got(setrlimit(RLIMIT_NOFILE, &all)) ||
	       got(setrlimit(RLIMIT_CPU, &all)) || got(setrlimit(RLIMIT_AS, &all)) ||
	       got(syscall(SYS_prlimit64, getppid(), RLIMIT_CPU, &all, NULL));
}

#ifndef __SANITIZE_ADDRESS__
static int take_memory(void)
{
	return mmap(NULL, 2UL << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) !=
	       MAP_FAILED;
}
#endif

static int open_many_files(void)
{
	int n = 0, why;

	while (n < 100 && fcntl(0, F_DUPFD, 0) >= 0)
		n++;
	why = errno;
	for (int fd = QMR_SANDBOX_FOLDER_FD + 1; fd < 128; fd++)
		close(fd);
	errno = why;
	return n == 100;
}

static int run_new_code(void)
{
	void *data = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
		return 1;
	return data == MAP_FAILED || got(mprotect(data, 4096, PROT_READ | PROT_EXEC));
}

static int open_unix_socket(void)
{
	return got(socket(AF_UNIX, SOCK_STREAM, 0)) || got(socket(AF_UNIX, SOCK_DGRAM, 0));
}

static int open_raw_socket(void)
{
	return got(socket(AF_PACKET, SOCK_RAW, 0)) || got(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)) ||
	       got(socket(AF_NETLINK, SOCK_RAW, 15 /* NETLINK_KOBJECT_UEVENT */)) ||
	       got(socket(AF_NETLINK, SOCK_RAW, 9 /* NETLINK_AUDIT */)) || got(socket(AF_ALG, SOCK_SEQPACKET, 0)) ||
	       got(socket(AF_VSOCK, SOCK_STREAM, 0));
}

static int listen_for_others(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return 0;
	return got(listen(fd, 1)) || got(accept(fd, NULL, NULL));
}

static int change_the_kernel(void)
{
	return got(syscall(SYS_init_module, NULL, 0, "")) || got(syscall(SYS_finit_module, 0, "", 0)) ||
	       got(syscall(SYS_bpf, 0, NULL, 0)) || got(syscall(SYS_kexec_load, 0, 0, NULL, 0)) ||
	       got(syscall(SYS_reboot, 0, 0, 0, NULL)) || got(syscall(SYS_io_uring_setup, 1, NULL)) ||
	       got(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0)) || got(syscall(SYS_userfaultfd, 0)) ||
	       got(syscall(SYS_keyctl, 0, 0, 0, 0, 0)) || got(syscall(SYS_add_key, "user", "x", "x", 1, -2));
}

static int set_clock(void)
{
	struct timespec time;

	clock_gettime(CLOCK_REALTIME, &time); /* not to do harm where it works */
	return got(clock_settime(CLOCK_REALTIME, &time));
}

static int type_into_terminal(void)
{
	char c = 'x';

	return got(ioctl(0, TIOCSTI, &c));
}

static int share_memory(void)
{
	return got(syscall(SYS_shmget, IPC_PRIVATE, 4096, IPC_CREAT | 0600)) ||
	       got(msgget(IPC_PRIVATE, IPC_CREAT | 0600)) ||
	       got(syscall(SYS_mq_open, "/qmr-escape", O_CREAT | O_RDWR, 0600, NULL));
}

/* All but the result's own descriptor and a folder. */
static int keep_descriptors(void)
{
	for (int fd = 0; fd < 64; fd++) {
		struct stat st;

		if (fstat(fd, &st) < 0 || fd == QMR_SANDBOX_FD || S_ISCHR(st.st_mode))
			continue;
		if (fd != QMR_SANDBOX_FOLDER_FD || !S_ISDIR(st.st_mode))
			return 1;
	}
	errno = EBADF;
	return 0;
}

/* Of a folder's child alone. */
static int open_any_socket(void)
{
	int pair[2];

	return got(socket(AF_INET, SOCK_STREAM, 0)) || got(socket(AF_INET6, SOCK_DGRAM, 0)) ||
	       got(socket(AF_NETLINK, SOCK_RAW, 0)) || got(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
}

static int read_outside_the_folder(void)
{
	return got(open("/etc/passwd", O_RDONLY)) || got(openat(QMR_SANDBOX_FOLDER_FD, "../../../etc/passwd", O_RDONLY));
}

enum only { BOTH, FOLDER, FOLDER_WITH_LANDLOCK };

static const struct attempt {
	const char *name;
	attempt_fn *run;
	enum only only;
	/*
	 * Which wall it was: EPERM is the filter's, without which others, which not every kernel has,
	 * would hide that it is gone. NULL: any.
	 */
	const char *why;
} attempts[] = {
	{"keep_descriptors", keep_descriptors, BOTH, "EBADF"}, /* before others make some */
	{"open_a_block_device", open_device, BOTH, NULL},
	{"open_a_block_device_for_writing", open_device_for_writing, BOTH, "EPERM"},
	{"make_a_block_device", make_device, BOTH, "EPERM"},
	{"open_the_machines_memory", open_memory, BOTH, NULL},
	{"write_a_file", write_file, BOTH, "EPERM"},
	{"truncate_a_file", truncate_file, BOTH, "EPERM"},
	{"make_a_file", make_file, BOTH, "EPERM"},
	{"make_an_unnamed_file", make_unnamed_file, BOTH, "EPERM"},
	{"write_a_file_by_openat2", openat2_for_writing, BOTH, "EPERM"},
	{"remove_a_file", remove_file, BOTH, "EPERM"},
	{"change_a_files_mode", change_mode, BOTH, "EPERM"},
	{"open_the_parents_memory", write_into_parent, BOTH, NULL},
	{"trace_the_parent", trace_parent, BOTH, "EPERM"},
	{"read_the_parents_memory", read_parents_memory, BOTH, "EPERM"},
	{"signal_others", signal_parent, BOTH, "EPERM"},
	{"mount", mount_something, BOTH, "EPERM"},
	{"make_namespaces", make_namespaces, BOTH, "EPERM"},
	{"execute", execute, BOTH, "EPERM"},
	{"make_a_process", make_process, BOTH, "ENOSYS"}, /* clone3(), so that glibc falls back; clone(): EPERM */
	{"become_root", become_root, BOTH, "EPERM"},
	{"raise_capabilities", raise_capabilities, BOTH, "EPERM"},
	{"raise_limits", raise_limits, BOTH, "EPERM"},
#ifndef __SANITIZE_ADDRESS__ /* which reserves terabytes of addresses: that limit is not set then */
	{"take_all_memory", take_memory, BOTH, "ENOMEM"},
#endif
	{"open_many_files", open_many_files, BOTH, "EMFILE"},
	{"run_new_code", run_new_code, BOTH, "EPERM"},
	{"open_a_unix_socket", open_unix_socket, BOTH, "EPERM"},
	{"open_a_raw_socket", open_raw_socket, BOTH, "EPERM"},
	{"listen", listen_for_others, BOTH, "EPERM"},
	{"change_the_kernel", change_the_kernel, BOTH, "EPERM"},
	{"set_the_clock", set_clock, BOTH, "EPERM"},
	{"type_into_the_terminal", type_into_terminal, BOTH, "EPERM"},
	{"share_memory", share_memory, BOTH, "EPERM"},
	{"open_any_socket", open_any_socket, FOLDER, "EPERM"},
	{"read_outside_the_folder", read_outside_the_folder, FOLDER_WITH_LANDLOCK, "EACCES"},
};

#define N_ATTEMPTS (sizeof(attempts) / sizeof(*attempts))

/* What was said of each, "" if nothing came. */
static char said[2][N_ATTEMPTS][64];
static int is_folder;

int __wrap_qmr_fetch_update_run(struct qmr_tuf_client *client, const char *root, size_t root_size, int64_t now_unix_s,
				struct qmr_fetch_update *update, struct qmr_error *err);

static void try_all(struct qmr_tuf_client *client)
{
	for (size_t i = 0; i < N_ATTEMPTS; i++) {
		char text[64];
		int has_got;

		errno = 0;
		has_got = attempts[i].run();
		snprintf(text, sizeof(text), "%s: %s", has_got ? "DONE" : "blocked", strerrorname_np(errno));
		(void)!client->accepted(client->user, attempts[i].name, NULL, text, strlen(text), NULL);
	}
}

/* In the child: the attack. In the parent, which would verify: what it is told. */
int __wrap_qmr_fetch_update_run(struct qmr_tuf_client *client, const char *root, size_t root_size, int64_t now_unix_s,
				struct qmr_fetch_update *update, struct qmr_error *err)
{
	if (getpid() != test_pid) {
		try_all(client);
		return qmr_error_set(err, -EBADMSG, "done");
	}
	for (size_t i = 0; i < N_ATTEMPTS; i++) {
		char *data = NULL;
		size_t size;

		if (client->repository.fetch(client->repository.user, attempts[i].name, sizeof(said[0][0]) - 1, &data, &size,
					     NULL) == 0)
			memcpy(said[is_folder][i], data, size + 1);
		free(data);
	}
	return -EBADMSG;
}

static int attack(int folder_fd)
{
	struct qmr_network servers = {.ca = (char *)""};
	struct qmr_fetch_store store = {.fd = -1};
	struct qmr_fetch_job job = {
		.url = folder_fd < 0 ? "https://127.0.0.1:1/" : "file:/x",
		.folder_fd = folder_fd,
		.root = "{}",
		.root_size = 2,
		.network = {.servers = &servers, .stall_s = 5},
		.deadline_ms = qmr_clock_ms() + 20000,
		.store = &store,
	};
	struct qmr_tuf_client client = {0};
	struct qmr_fetch_update update = {0};
	struct qmr_error err = {0};
	int r;

	is_folder = folder_fd >= 0;
	r = qmr_fetch_run(&job, &client, &update, &err);
	if (r != -EBADMSG)
		fprintf(stderr, "%s\n", err.text);
	return r == -EBADMSG ? 0 : -1;
}

static int set_up(void **unused)
{
	cleanup_close int folder_fd = -1;
	int fd;

	test_pid = getpid();
	snprintf(folder, sizeof(folder), "/tmp/qmr-escape-XXXXXX");
	if (!mkdtemp(folder) || chmod(folder, 0777) < 0)
		return -1;
	snprintf(victim, sizeof(victim), "%s/file", folder);
	snprintf(device, sizeof(device), "%s/device", folder);
	/* Everybody might, by their modes: it is the sandbox that refuses. */
	fd = open(victim, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0 || fchmod(fd, 0666) < 0)
		return -1;
	close(fd);
	if (geteuid() != 0 || mknod(device, S_IFBLK | 0660, makedev(7, 0)) < 0)
		snprintf(device, sizeof(device), "/dev/loop0");
	folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return folder_fd < 0 || attack(-1) < 0 || attack(folder_fd) < 0 ? -1 : 0;
}

static int tear_down(void **unused)
{
	return qmr_file_remove_tree(AT_FDCWD, folder, NULL);
}

static int has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* LANDLOCK_CREATE_RULESET_VERSION */) > 0;
}

static int is_tried(const struct attempt *attempt, int kind)
{
	switch (attempt->only) {
	case BOTH:
		return 1;
	case FOLDER:
		return kind == 1;
	case FOLDER_WITH_LANDLOCK:
		return kind == 1 && has_landlock();
	}
	return 0;
}

static void is_blocked(void **state)
{
	const struct attempt *attempt = *state;
	size_t i = (size_t)(attempt - attempts);

	for (int kind = 0; kind < 2; kind++) {
		if (!is_tried(attempt, kind))
			continue;
		print_message("    %s, %s: %s\n", kind ? "folder" : "server", attempt->name,
			      *said[kind][i] ? said[kind][i] : "nothing was said");
		if (strncmp(said[kind][i], "blocked: ", 9) || !strcmp(said[kind][i], "blocked: 0"))
			fail_msg("%s was not blocked", attempt->name);
		if (attempt->why && strcmp(said[kind][i] + 9, attempt->why))
			fail_msg("%s was blocked, but not with %s", attempt->name, attempt->why);
	}
}

/* After all of it the parent has what it had, and nothing lies about. */
static void nothing_was_done(void **unused)
{
	struct stat st;

	assert_int_equal(stat(victim, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0666);
	assert_int_equal(access("/tmp/qmr-escape", F_OK), -1);
}

int main(void)
{
	struct CMUnitTest tests[N_ATTEMPTS + 1];

	for (size_t i = 0; i < N_ATTEMPTS; i++)
		tests[i] = (struct CMUnitTest){attempts[i].name, is_blocked, NULL, NULL, (void *)&attempts[i]};
	tests[N_ATTEMPTS] = (struct CMUnitTest)cmocka_unit_test(nothing_was_done);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
