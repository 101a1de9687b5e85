/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tree.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "file.h"

char folder[64];
int root_fd;

int make_folder(void **state)
{
	strcpy(folder, "/tmp/qmr-tree-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	root_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return root_fd < 0;
}

int remove_folder(void **state)
{
	close(root_fd);
	return qmr_file_remove_tree(AT_FDCWD, folder, NULL);
}

void put_bytes(const char *path, const void *data, size_t size)
{
	char parent[PATH_MAX];

	snprintf(parent, sizeof(parent), "%s", path);
	if (strrchr(parent, '/')) {
		*strrchr(parent, '/') = '\0';
		assert_int_equal(qmr_file_mkdirs(root_fd, parent, 0755, NULL), 0);
	}
	assert_int_equal(qmr_file_replace(root_fd, path, data, size, 0644, NULL), 0);
}

void put(const char *path, const char *text)
{
	put_bytes(path, text, strlen(text));
}
