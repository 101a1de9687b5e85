/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <time.h>

#include "cleanup.h"
#include "compress.h"
#include "config.h"
#include "content.h"
#include "file.h"
#include "image.h"
#include "kernel.h"
#include "log.h"
#include "modules.h"
#include "programs.h"
#include "uki.h"

#define LEVEL_DEFAULT 9
#define LEVEL_MAX 19

static const char usage[] =
	"Usage: mkrecovery --output FILE [OPTION...]\n"
	"       mkrecovery --list [OPTION...]\n"
	"Builds the recovery image: kernel, initramfs and command line in one EFI program.\n"
	"\n"
	"  --output FILE        where the image goes\n"
	"  --list               print the files that would go in, and build nothing\n"
	"  --root DIR           system to build from (default /)\n"
	"  --kernel RELEASE     its kernel (default: the running one; with --root the newest)\n"
	"  --cmdline TEXT       added to the command line, for the running system's console=\n"
	"  --initrd FILE        write the bare initramfs too\n"
	"  --level N            compression, 1 to 19 (default 9)\n"
	"  --root-uuid UUID     of the file system to recover\n"
	"  --root-fstype TYPE   its type\n"
	"  --esp-uuid UUID      of the EFI system partition\n"
	"  --config FILE        configuration (default " QMR_CONFIG_PATH " of the root)\n"
	"  --help               this text\n"
	"  --version            the version\n"
	"\n"
	"See mkrecovery(8).\n";

struct options {
	const char *output, *root, *kernel, *cmdline, *initrd, *config;
	const char *root_uuid, *root_fstype, *esp_uuid;
	int level, list;
};

struct totals {
	size_t modules, firmware, files;
	uint64_t unpacked_bytes;
};

/* The machine.conf beside the configuration may be another machine's: only options and the kernel count. */
static int load_config(const struct options *options, const char *release, struct qmr_config *config,
		       struct qmr_error *err)
{
	const struct {
		const char *option, *value;
		char *field;
		size_t size;
	} fields[] = {
		{"--root-uuid", options->root_uuid, config->root_uuid, sizeof(config->root_uuid)},
		{"--root-fstype", options->root_fstype, config->root_fstype, sizeof(config->root_fstype)},
		{"--esp-uuid", options->esp_uuid, config->esp_uuid, sizeof(config->esp_uuid)},
		{"--kernel", release, config->machine_kernel, sizeof(config->machine_kernel)},
	};
	char path[PATH_MAX];
	int r;

	if (snprintf(path, sizeof(path), "%s%s", options->root ? options->root : "", QMR_CONFIG_PATH) >=
	    (int)sizeof(path))
		return qmr_error_set(err, -ENAMETOOLONG, "'%s' is too long", options->root);
	r = qmr_config_load(options->config ? options->config : path, config, err);
	for (size_t i = 0; r == 0 && i < sizeof(fields) / sizeof(*fields); i++)
		if (snprintf(fields[i].field, fields[i].size, "%s", fields[i].value ? fields[i].value : "") >=
		    (int)fields[i].size)
			r = qmr_error_set(err, -EINVAL, "%s '%s' is too long", fields[i].option, fields[i].value);
	return r;
}

static int choose_release(const struct options *options, int root_fd, char ret_release[QMR_RELEASE_BYTES],
			  struct qmr_error *err)
{
	struct utsname running;

	if (options->kernel) {
		if (strlen(options->kernel) >= QMR_RELEASE_BYTES)
			return qmr_error_set(err, -EINVAL, "'%s' is no kernel release", options->kernel);
		strcpy(ret_release, options->kernel);
		return 0;
	}
	if (options->root)
		return qmr_kernel_find_newest(root_fd, ret_release, err);
	if (uname(&running) < 0)
		return qmr_error_errno(err, -errno, "asking for the running kernel");
	snprintf(ret_release, QMR_RELEASE_BYTES, "%s", running.release);
	return 0;
}

static int format_cmdline(const struct options *options, const struct qmr_config *config,
			  char ret_cmdline[QMR_CMDLINE_BYTES], struct qmr_error *err)
{
	cleanup_free char *running = NULL;
	size_t size;
	int r = 0;

	if (!options->root && !options->cmdline)
		r = qmr_file_read(AT_FDCWD, "/proc/cmdline", 65536, &running, &size, err);
	return r < 0 ? r : qmr_uki_format_cmdline(options->cmdline, running, config->image_cmdline, ret_cmdline, err);
}

/* For reproducible builds: https://reproducible-builds.org/specs/source-date-epoch/ */
static uint32_t source_date(void)
{
	const char *text = getenv("SOURCE_DATE_EPOCH");
	unsigned long long value = text ? strtoull(text, NULL, 10) : 0;

	return value > UINT32_MAX ? 0 : (uint32_t)value;
}

/*
 * The image is no older than the newest of its files, and that is the same for the same input, which the clock is not. The clock is the limit:
 * a file from the future would put the image there.
 */
static int64_t built(const struct qmr_image *image)
{
	int64_t newest = qmr_image_newest(image), now = time(NULL);

	if (source_date())
		return source_date();
	return newest < now ? newest : now;
}

static int fill(const struct options *options, struct qmr_config *config, const char *release, struct qmr_image *image,
		struct totals *totals, struct qmr_error *err)
{
	int r = qmr_content_add(image, config, options->config, err);

	if (r == 0)
		r = qmr_programs_add(image, err);
	if (r == 0)
		r = qmr_modules_add(image, release, &totals->modules, &totals->firmware, err);
	config->built_unix_s = built(image);
	return r < 0 ? r : qmr_content_add_machine(image, config, err);
}

static int build_initrd(const struct options *options, struct qmr_config *config, int root_fd,
			const char *release, struct qmr_compress *compress, struct totals *totals,
			struct qmr_error *err)
{
	QMR_CLEANUP(qmr_image_done) struct qmr_image image = {.root_fd = root_fd};
	int r = fill(options, config, release, &image, totals, err);

	if (r == 0)
		r = qmr_image_write(&image, source_date(), qmr_compress_write, compress, err);
	totals->files = image.n_entries;
	return r;
}

/* The old image stays until the new one is complete: both must fit. */
static int require_space(const char *path, size_t size, struct qmr_error *err)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX] = ".";
	struct statvfs fs;
	uint64_t free_bytes;

	if (slash && snprintf(folder, sizeof(folder), "%.*s", (int)(slash == path ? 1 : slash - path), path) >=
			     (int)sizeof(folder))
		return qmr_error_set(err, -ENAMETOOLONG, "'%s' is too long", path);
	if (statvfs(folder, &fs) < 0)
		return qmr_error_errno(err, -errno, "asking for the free space in '%s'", folder);
	free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (free_bytes < size)
		return qmr_error_set(err, -ENOSPC, "writing '%s': it needs %zu KiB, and '%s' has %" PRIu64 " KiB free",
				     path, (size + 1023) / 1024, folder, free_bytes / 1024);
	return 0;
}

static int write_output(const char *path, const void *data, size_t size, struct qmr_error *err)
{
	int r = require_space(path, size, err);

	return r == 0 ? qmr_file_replace(AT_FDCWD, path, data, size, 0644, err) : r;
}

/* What both building and listing begin with. The configuration is the caller's to free, after a failure too. */
static int prepare(const struct options *options, int root_fd, char release[QMR_RELEASE_BYTES], struct qmr_config **ret_config,
		   struct qmr_error *err)
{
	int r;

	if (root_fd < 0)
		return qmr_error_errno(err, -errno, "opening the root '%s'", options->root);
	*ret_config = calloc(1, sizeof(**ret_config));
	if (!*ret_config)
		return qmr_error_set(err, -ENOMEM, "out of memory");
	r = choose_release(options, root_fd, release, err);
	return r == 0 ? load_config(options, release, *ret_config, err) : r;
}

static int build(const struct options *options, struct totals *totals, size_t *ret_bytes, char *release,
		 struct qmr_error *err)
{
	QMR_CLEANUP(qmr_cleanup_compress) struct qmr_compress *compress = NULL;
	cleanup_close int root_fd = open(options->root ? options->root : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_free struct qmr_config *config = NULL;
	cleanup_free char *kernel = NULL;
	cleanup_free uint8_t *image = NULL;
	char cmdline[QMR_CMDLINE_BYTES];
	struct qmr_uki uki = {.release = release, .cmdline = cmdline};
	int r = prepare(options, root_fd, release, &config, err);

	if (r == 0)
		r = format_cmdline(options, config, cmdline, err);
	if (r == 0)
		r = qmr_kernel_read(root_fd, release, &kernel, &uki.kernel_bytes, err);
	if (r == 0)
		r = qmr_compress_new(options->level, &compress, err);
	if (r == 0)
		r = build_initrd(options, config, root_fd, release, compress, totals, err);
	if (r == 0)
		r = qmr_compress_finish(compress, &uki.initrd, &uki.initrd_bytes, &totals->unpacked_bytes, err);
	uki.kernel = kernel;
	if (r == 0)
		r = qmr_uki_build(root_fd, &uki, &image, ret_bytes, err);
	if (r == 0 && options->initrd)
		r = write_output(options->initrd, uki.initrd, uki.initrd_bytes, err);
	return r == 0 ? write_output(options->output, image, *ret_bytes, err) : r;
}

static int list(const struct options *options, struct qmr_error *err)
{
	cleanup_close int root_fd = open(options->root ? options->root : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	QMR_CLEANUP(qmr_image_done) struct qmr_image image = {.root_fd = root_fd};
	cleanup_free struct qmr_config *config = NULL;
	char release[QMR_RELEASE_BYTES];
	struct totals totals = {0};
	int r = prepare(options, root_fd, release, &config, err);

	if (r == 0)
		r = fill(options, config, release, &image, &totals, err);
	for (size_t i = 0; r == 0 && i < image.n_entries; i++)
		if (printf("/%s\n", image.entries[i].path) < 0)
			r = qmr_error_set(err, -EIO, "writing to standard output failed");
	return r;
}

static int run_list(const struct options *options)
{
	struct qmr_error err = {0};
	int r = list(options, &err);

	if (r == 0)
		return QMR_EXIT_OK;
	qmr_error_log("listing what would go in: %s", err.text);
	return r == -EINVAL ? QMR_EXIT_USAGE : QMR_EXIT_FAILURE;
}

static int run(const struct options *options)
{
	char release[QMR_RELEASE_BYTES];
	struct totals totals = {0};
	struct timespec begin, end;
	struct qmr_error err = {0};
	size_t bytes = 0;
	double seconds;
	int r;

	(void)clock_gettime(CLOCK_MONOTONIC, &begin); /* cannot fail for this clock */
	r = build(options, &totals, &bytes, release, &err);
	if (r < 0) {
		qmr_error_log("building '%s': %s; what was there stays", options->output, err.text);
		return r == -EINVAL ? QMR_EXIT_USAGE : QMR_EXIT_FAILURE;
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &end);
	seconds = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
	printf("%s: kernel %s, %zu modules, %zu firmware files, %zu files (%.1f MB unpacked), %.1f MB, %.1f s\n",
	       options->output, release, totals.modules, totals.firmware, totals.files,
	       (double)totals.unpacked_bytes / 1e6, (double)bytes / 1e6, seconds);
	return QMR_EXIT_OK;
}

static int parse_level(const char *text, int *ret_level)
{
	char *end;
	long level = strtol(text, &end, 10);

	if (end == text || *end || level < 1 || level > LEVEL_MAX)
		return -EINVAL;
	*ret_level = (int)level;
	return 0;
}

/* Returns an exit code, or -1 to go on. */
static int parse(int argc, char **argv, struct options *o)
{
	const struct {
		const char *name;
		const char **value;
	} texts[] = {
		{"output", &o->output}, {"root", &o->root}, {"kernel", &o->kernel}, {"cmdline", &o->cmdline},
		{"initrd", &o->initrd}, {"config", &o->config}, {"root-uuid", &o->root_uuid},
		{"root-fstype", &o->root_fstype}, {"esp-uuid", &o->esp_uuid},
	};
	enum { N_TEXTS = sizeof(texts) / sizeof(*texts) };
	struct option options[N_TEXTS + 5] = {[N_TEXTS] = {"level", required_argument, NULL, 'l'},
					      [N_TEXTS + 1] = {"help", no_argument, NULL, 'h'},
					      [N_TEXTS + 2] = {"version", no_argument, NULL, 'V'},
					      [N_TEXTS + 3] = {"list", no_argument, &o->list, 1}};
	int option, index;

	for (int i = 0; i < N_TEXTS; i++)
		options[i] = (struct option){texts[i].name, required_argument, NULL, 't'};
	while ((option = getopt_long(argc, argv, "", options, &index)) != -1)
		switch (option) {
		case 't':
			*texts[index].value = optarg;
			break;
		case 'l':
			if (parse_level(optarg, &o->level) == 0)
				break;
			fprintf(stderr, "mkrecovery: --level '%s': not a number from 1 to %d\n", optarg, LEVEL_MAX);
			return QMR_EXIT_USAGE;
		case 0: /* --list */
			break;
		case 'h':
			fputs(usage, stdout);
			return QMR_EXIT_OK;
		case 'V':
			puts("mkrecovery " QMR_VERSION);
			return QMR_EXIT_OK;
		default:
			fputs(usage, stderr);
			return QMR_EXIT_USAGE;
		}
	if (optind == argc && !o->output != !o->list)
		return -1;
	fputs(usage, stderr);
	return QMR_EXIT_USAGE;
}

int main(int argc, char **argv)
{
	struct options options = {.level = LEVEL_DEFAULT};
	int code = parse(argc, argv, &options);

	qmr_log_open("mkrecovery", 0);
	return code >= 0 ? code : options.list ? run_list(&options) : run(&options);
}
