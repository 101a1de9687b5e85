/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_TREE_H
#define TEST_TREE_H

#include <stddef.h>

/* A folder of its own for each test that stands for a machine's root. For one test at a time. */
extern char folder[64];
extern int root_fd;

/* Setup and teardown for cmocka. */
int make_folder(void **state);
int remove_folder(void **state);

/* Writes a file below it, and the folders on the way; failure fails the test. put(): text without its NUL. */
void put_bytes(const char *path, const void *data, size_t size);
void put(const char *path, const char *text);

#endif
