/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_MODULE_INDEX_H
#define QMR_MODULE_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

/*
 * Writes the binary index that libkmod searches (modules.dep.bin, modules.alias.bin, ...): a trie; the format is
 * described in kmod's libkmod/libkmod-index.h, version 2.1.
 */

#define QMR_INDEX_KEY_BYTES_MAX 1024

struct qmr_index_pair {
	const char *key;   /* ASCII; at most QMR_INDEX_KEY_BYTES_MAX bytes */
	const char *value; /* several pairs may share a key */
};

/* Sorts the pairs in place; the caller frees *ret_data. No pairs yield an index in which nothing is found. */
int qmr_module_index_encode(struct qmr_index_pair *pairs, size_t n_pairs, char **ret_data, size_t *ret_size,
			    struct qmr_error *err) QMR_MUST_CHECK;

#endif
