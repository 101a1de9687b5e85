/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fetch-sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/netlink.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include "cleanup.h"

/*
 * Its own: Debian Policy (9.2.2) and systemd's list of user ids leave 65520 to 65533 to nobody, and 65534 is everybody who has no id of his
 * own. No account is needed, so none is missing in an initramfs or on a read-only root.
 */
#define FETCH_USER 65533
/* glibc reserves 64 to 128 MiB of addresses for each thread's heap. */
#define MEMORY_BYTES (1ULL << 30)
#define CPU_S 120
#define DESCRIPTORS 64
/* Of the user: threads count, and so do other runs. */
#define PROCESSES 64

static int set_descriptors(int keep_fd, int folder_fd, struct qmr_error *err)
{
	int last = folder_fd < 0 ? QMR_SANDBOX_FD : QMR_SANDBOX_FOLDER_FD;

	/* Out of the way of 0 to 2, should the parent have been started without them. */
	keep_fd = fcntl(keep_fd, F_DUPFD_CLOEXEC, last);
	if (folder_fd >= 0)
		folder_fd = fcntl(folder_fd, F_DUPFD_CLOEXEC, last);
	if (keep_fd < 0 || (last == QMR_SANDBOX_FOLDER_FD && folder_fd < 0))
		return qmr_error_errno(err, -errno, "sandbox: keeping a descriptor");
	/* Not closed: the next socket would become standard error. */
	for (int fd = 0; fd <= 2; fd++) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		if (null < 0 || dup2(null, fd) < 0)
			return qmr_error_errno(err, -errno, "sandbox: opening '/dev/null'");
		if (null > 2)
			close(null);
	}
	if (keep_fd != QMR_SANDBOX_FD && dup2(keep_fd, QMR_SANDBOX_FD) < 0)
		return qmr_error_errno(err, -errno, "sandbox: keeping descriptor %d", keep_fd);
	/* The copy of the other may have been there. */
	if (folder_fd >= 0 && folder_fd != last && dup2(folder_fd, last) < 0)
		return qmr_error_errno(err, -errno, "sandbox: keeping descriptor %d", folder_fd);
	if (syscall(SYS_close_range, last + 1, ~0U, 0) == 0)
		return 0;
	for (int fd = last + 1; fd < 65536; fd++) /* before Linux 5.9 */
		close(fd);
	return 0;
}

static int set_limits(struct qmr_error *err)
{
	static const struct {
		int resource;
		rlim_t max;
	} limits[] = {
#ifndef __SANITIZE_ADDRESS__ /* which reserves terabytes of addresses */
		{RLIMIT_AS, MEMORY_BYTES},
#endif
		/* clang-format off */
		{RLIMIT_CPU, CPU_S},
		{RLIMIT_MEMLOCK, 0},
		{RLIMIT_MSGQUEUE, 0},
		{RLIMIT_NOFILE, DESCRIPTORS},
		{RLIMIT_FSIZE, 0},
		{RLIMIT_CORE, 0},
		/* clang-format on */
	};

	for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
		struct rlimit limit = {limits[i].max, limits[i].max}, old;

		if (getrlimit(limits[i].resource, &old) == 0 && old.rlim_max < limit.rlim_max)
			continue; /* already tighter */
		if (setrlimit(limits[i].resource, &limit) < 0)
			return qmr_error_errno(err, -errno, "sandbox: setting resource limit %d",
					       limits[i].resource);
	}
	return 0;
}

static int drop_privileges(struct qmr_error *err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	if (geteuid() == 0) {
		struct rlimit processes = {PROCESSES, PROCESSES};

		/* Not for another user, who may have more of them already. */
		if (setrlimit(RLIMIT_NPROC, &processes) < 0)
			return qmr_error_errno(err, -errno, "sandbox: limiting processes");
		/* Ends with the first capability that the kernel does not know. */
		for (unsigned long cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
			;
		if (setgroups(0, NULL) < 0 || setresgid(FETCH_USER, FETCH_USER, FETCH_USER) < 0 ||
		    setresuid(FETCH_USER, FETCH_USER, FETCH_USER) < 0)
			return qmr_error_errno(err, -errno, "sandbox: becoming user %d", FETCH_USER);
	}
	/* Its failure says that there is no such set: capset() below would empty it, too. */
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &header, none) < 0)
		return qmr_error_errno(err, -errno, "sandbox: dropping capabilities");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return qmr_error_errno(err, -errno, "sandbox: giving up new privileges");
	return 0;
}

static int allow_path(int ruleset, int fd)
{
	struct landlock_path_beneath_attr rule = {.parent_fd = fd,
						  .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE};
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return 0; /* not there: nothing to read */
	if (S_ISDIR(st.st_mode))
		rule.allowed_access |= LANDLOCK_ACCESS_FS_READ_DIR;
	return (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

/*
 * A second wall where the kernel has it (5.13, if built in): the user id alone leaves everything
 * readable that is readable to all. /etc as a whole, since resolv.conf is replaced while this runs.
 */
static int restrict_paths(int has_folder, struct qmr_error *err)
{
	static const char *const readable[] = {
		"/etc",
		"/lib",
		"/lib64",
		"/usr/lib",
		"/usr/lib64",
		"/run/systemd/resolve",
		"/run/resolvconf",
		"/run/NetworkManager",
		"/dev/null",
		"/dev/urandom",
		"/dev/random",
	};
	struct landlock_ruleset_attr attr = {
		.handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1}; /* ABI 1 */
	cleanup_close int ruleset =
		(int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);

	if (ruleset < 0)
		return 0;
	if (has_folder && allow_path(ruleset, QMR_SANDBOX_FOLDER_FD) < 0)
		return qmr_error_errno(err, -errno, "sandbox: allowing to read the folder");
	for (size_t i = 0; !has_folder && i < sizeof(readable) / sizeof(*readable); i++) {
		cleanup_close int fd = open(readable[i], O_PATH | O_CLOEXEC);

		if (allow_path(ruleset, fd) < 0)
			return qmr_error_errno(err, -errno, "sandbox: allowing to read '%s'",
					       readable[i]);
	}
	if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return qmr_error_errno(err, -errno, "sandbox: restricting paths");
	return 0;
}

/*
 * What glibc, its resolver, libcurl and OpenSSL need once they are loaded; on an architecture that
 * lacks one it is passed over.
 */
/* clang-format off */
static const int allowed[] = {
	/* memory and threads */
	SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap),
	SCMP_SYS(madvise), SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq),
	SCMP_SYS(set_tid_address), SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_yield),
	SCMP_SYS(exit), SCMP_SYS(exit_group),
	/* signals to itself */
	SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall),
	/* time, randomness, identity */
	SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(getrandom),
	SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid),
	SCMP_SYS(getegid), SCMP_SYS(uname), SCMP_SYS(sysinfo), SCMP_SYS(getrlimit),
	/* open descriptors */
	SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(write), SCMP_SYS(writev),
	SCMP_SYS(lseek), SCMP_SYS(close), SCMP_SYS(fcntl), SCMP_SYS(poll), SCMP_SYS(ppoll),
	SCMP_SYS(select), SCMP_SYS(pselect6), SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(pipe), SCMP_SYS(pipe2),
	SCMP_SYS(eventfd2),
	/* looking at files */
	SCMP_SYS(fstat), SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(newfstatat), SCMP_SYS(statx),
	SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(readlink),
	SCMP_SYS(readlinkat), SCMP_SYS(getdents64), SCMP_SYS(getcwd), SCMP_SYS(fstatfs),
	SCMP_SYS(statfs),
};

/* What is more is needed to speak to a server; see allow_sockets() for making them. */
static const int allowed_sockets[] = {
	SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(shutdown), SCMP_SYS(sendto),
	SCMP_SYS(sendmsg), SCMP_SYS(sendmmsg), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg),
	SCMP_SYS(recvmmsg), SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(getsockopt),
	SCMP_SYS(setsockopt),
};
/* clang-format on */

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define OPEN_WRITES (O_ACCMODE | O_CREAT | O_TRUNC)

static int allow_sockets(scmp_filter_ctx ctx)
{
	int r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				 SCMP_A0(SCMP_CMP_EQ, AF_INET));

	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				     SCMP_A0(SCMP_CMP_EQ, AF_INET6));
	/* getaddrinfo() asks which address families have an address (AI_ADDRCONFIG). */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2,
				     SCMP_A0(SCMP_CMP_EQ, AF_NETLINK),
				     SCMP_A2(SCMP_CMP_EQ, NETLINK_ROUTE));
	/* libcurl wakes its own threads through one. */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 1,
				     SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
	for (size_t i = 0; r == 0 && i < COUNT(allowed_sockets); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed_sockets[i], 0);
	return r;
}

/*
 * The dynamic linker maps code of files, readable and executable; nobody makes code. Files cannot be
 * written either, so that all that can run is what was there.
 */
static int allow_memory(scmp_filter_ctx ctx)
{
	int r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
				 SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));

	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC | PROT_WRITE,
					     PROT_EXEC));
	return r;
}

static int add_argument_rules(scmp_filter_ctx ctx)
{
	static const unsigned long ioctls[] = {FIONBIO, FIONREAD, TCGETS};
	int r = allow_memory(ctx);

	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(open), 1,
				     SCMP_A1(SCMP_CMP_MASKED_EQ, OPEN_WRITES, O_RDONLY));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, OPEN_WRITES, O_RDONLY));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				     SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	/* Its flags lie in memory, where a filter cannot look: ENOSYS makes glibc use clone(). */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	/* abort() */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2,
				     SCMP_A0(SCMP_CMP_EQ, 0), SCMP_A2(SCMP_CMP_EQ, 0));
	for (size_t i = 0; r == 0 && i < COUNT(ioctls); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				     SCMP_A1(SCMP_CMP_EQ, ioctls[i]));
	return r;
}

static int filter_system_calls(int has_folder, struct qmr_error *err)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r = ctx ? add_argument_rules(ctx) : -ENOMEM;

	if (r == 0 && !has_folder)
		r = allow_sockets(ctx);
	for (size_t i = 0; r == 0 && i < COUNT(allowed); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
	if (r == 0)
		r = seccomp_load(ctx);
	if (ctx)
		seccomp_release(ctx);
	return r < 0 ? qmr_error_errno(err, r, "sandbox: filtering system calls") : 0;
}

int qmr_sandbox_enter(int keep_fd, int folder_fd, pid_t parent, struct qmr_error *err)
{
	int has_folder = folder_fd >= 0, r;

	if (chdir("/") < 0)
		return qmr_error_errno(err, -errno, "sandbox: going to '/'");
	r = set_descriptors(keep_fd, folder_fd, err);
	if (r == 0)
		r = set_limits(err);
	if (r == 0)
		r = drop_privileges(err);
	if (r < 0)
		return r;
	/* After the change of user, which clears it; the parent may have ended before. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
		return qmr_error_set(err, -ESRCH, "sandbox: the parent has ended");
	r = restrict_paths(has_folder, err);
	return r < 0 ? r : filter_system_calls(has_folder, err);
}
