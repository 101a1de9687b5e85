/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uki.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"
#include "pe.h"

#define STUB_BYTES_MAX (16U << 20)

/* panic=: a recovery that dies must not stop the machine for good. */
#define CMDLINE_ALWAYS "quiet loglevel=4 panic=30 qmr.recovery"

/*
 * systemd-boot takes ID as the sort key of a unified image: this one sorts behind the ids of distributions, so that it
 * does not become the entry that is booted every day.
 */
#define OS_RELEASE                              \
	"ID=zz-qmr-recovery\n"                      \
	"NAME=\"Quick machine recovery\"\n"         \
	"PRETTY_NAME=\"Quick machine recovery\"\n"  \
	"VERSION_ID=%s\n"                           \
	"VERSION=\"%s (Linux %s)\"\n"

static int append(char cmdline[QMR_CMDLINE_BYTES], const char *text, size_t length, struct qmr_error *err)
{
	size_t used = strlen(cmdline), space = used ? 1 : 0;

	if (!length)
		return 0;
	if (used + space + length >= QMR_CMDLINE_BYTES)
		return qmr_error_set(err, -E2BIG, "the kernel's command line would be longer than %d bytes",
				     QMR_CMDLINE_BYTES - 1);
	if (space)
		cmdline[used++] = ' ';
	memcpy(cmdline + used, text, length);
	cmdline[used + length] = '\0';
	return 0;
}

int qmr_uki_format_cmdline(const char *extra, const char *running, const char *configured,
			   char ret_cmdline[QMR_CMDLINE_BYTES], struct qmr_error *err)
{
	char cmdline[QMR_CMDLINE_BYTES] = CMDLINE_ALWAYS;
	int r = 0;

	for (const char *word = extra || !running ? "" : running; r == 0 && *word;) {
		size_t length = strcspn(word, " \t\n");

		if (!strncmp(word, "console=", 8))
			r = append(cmdline, word, length, err);
		word += length;
		word += strspn(word, " \t\n");
	}
	if (r == 0 && extra)
		r = append(cmdline, extra, strlen(extra), err);
	if (r == 0)
		r = append(cmdline, configured, strlen(configured), err);
	if (r == 0)
		strcpy(ret_cmdline, cmdline);
	return r;
}

static int read_stub(int root_fd, char **ret_data, size_t *ret_size, struct qmr_error *err)
{
	cleanup_close int fd = qmr_file_open_in_root(root_fd, QMR_UKI_STUB, O_RDONLY | O_NONBLOCK, 0, NULL);

	if (fd < 0)
		return qmr_error_errno(err, fd, "opening '%s', which package systemd-boot-efi brings", QMR_UKI_STUB);
	return qmr_file_read_fd(fd, QMR_UKI_STUB, STUB_BYTES_MAX, ret_data, ret_size, err);
}

int qmr_uki_build(int root_fd, const struct qmr_uki *uki, uint8_t **ret_image, size_t *ret_size,
		  struct qmr_error *err)
{
	cleanup_free char *stub = NULL;
	char os_release[512];
	struct qmr_error why = {0};
	size_t stub_bytes;
	int r;

	snprintf(os_release, sizeof(os_release), OS_RELEASE, QMR_VERSION, QMR_VERSION, uki->release);
	r = read_stub(root_fd, &stub, &stub_bytes, err);
	if (r < 0)
		return r;
	{
		/* The kernel comes last: some stubs let it unpack itself in place, over what lies behind it. */
		const struct qmr_pe_section sections[] = {
			{".osrel", os_release, strlen(os_release)},
			{".cmdline", uki->cmdline, strlen(uki->cmdline)},
			{".uname", uki->release, strlen(uki->release)},
			{".initrd", uki->initrd, uki->initrd_bytes},
			{".linux", uki->kernel, uki->kernel_bytes},
		};

		r = qmr_pe_append(stub, stub_bytes, sections, sizeof(sections) / sizeof(*sections), ret_image, ret_size,
				  &why);
	}
	return r < 0 ? qmr_error_set(err, r, "adding to '%s': %s", QMR_UKI_STUB, why.text) : 0;
}
