/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "module-index.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

#define MAGIC 0xB007F457U
#define VERSION 0x00020001U
#define NODE_PREFIX 0x80000000U
#define NODE_VALUES 0x40000000U
#define NODE_CHILDREN 0x20000000U
#define NODE_MASK 0x0fffffffU /* the rest of a node's reference: its offset in the file */

struct node {
	const struct qmr_index_pair *first, *last; /* last is behind the end */
	size_t depth;                              /* bytes of the key that lead here */
};

static int by_key(const void *a, const void *b)
{
	const struct qmr_index_pair *x = a, *y = b;
	int order = strcmp(x->key, y->key);

	return order ? order : strcmp(x->value, y->value);
}

static void put32(FILE *out, uint32_t v)
{
	v = htobe32(v);
	(void)fwrite(&v, sizeof(v), 1, out); /* ferror() is looked at once, at the end */
}

/* Where all keys of the node stop to agree. */
static size_t common_end(const struct node *node)
{
	const char *a = node->first->key, *b = node->last[-1].key;
	size_t at = node->depth;

	while (a[at] && a[at] == b[at])
		at++;
	return at;
}

/* Writes what lies below the node, then the node, and returns the reference to it. */
static uint32_t put_node(FILE *out, const struct node *node)
{
	size_t end = common_end(node);
	const struct qmr_index_pair *rest = node->first;
	uint32_t children[128] = {0}, first = 0, last = 0, reference = 0;

	while (rest < node->last && !rest->key[end])
		rest++;
	for (const struct qmr_index_pair *p = rest; p < node->last;) {
		struct node child = {.first = p, .depth = end + 1};
		uint32_t c = (unsigned char)p->key[end];

		while (p < node->last && (unsigned char)p->key[end] == c)
			p++;
		child.last = p;
		children[c] = put_node(out, &child);
		first = first ? first : c;
		last = c;
	}

	reference = (uint32_t)ftell(out) & NODE_MASK;
	if (end > node->depth) {
		reference |= NODE_PREFIX;
		(void)fwrite(node->first->key + node->depth, 1, end - node->depth, out);
		(void)fputc('\0', out);
	}
	if (first) {
		reference |= NODE_CHILDREN;
		(void)fputc((int)first, out);
		(void)fputc((int)last, out);
		for (uint32_t c = first; c <= last; c++)
			put32(out, children[c]);
	}
	if (rest > node->first) {
		reference |= NODE_VALUES;
		put32(out, (uint32_t)(rest - node->first));
		for (const struct qmr_index_pair *p = node->first; p < rest; p++) {
			put32(out, 0); /* priority: no order among modules of one alias */
			(void)fwrite(p->value, 1, strlen(p->value) + 1, out);
		}
	}
	return reference;
}

static int check_keys(const struct qmr_index_pair *pairs, size_t n_pairs, struct qmr_error *err)
{
	for (size_t i = 0; i < n_pairs; i++) {
		if (strlen(pairs[i].key) > QMR_INDEX_KEY_BYTES_MAX)
			return qmr_error_set(err, -ENAMETOOLONG, "the alias '%.40s...' of a module is too long",
					     pairs[i].key);
		for (const unsigned char *p = (const unsigned char *)pairs[i].key; *p; p++)
			if (*p > 127)
				return qmr_error_set(err, -EINVAL, "the alias '%s' of a module is not ASCII",
						     pairs[i].key);
	}
	return 0;
}

int qmr_module_index_encode(struct qmr_index_pair *pairs, size_t n_pairs, char **ret_data, size_t *ret_size,
			    struct qmr_error *err)
{
	struct node root = {.first = pairs, .last = pairs + n_pairs};
	cleanup_free char *data = NULL;
	size_t size = 0;
	uint32_t reference;
	FILE *out;
	int r = check_keys(pairs, n_pairs, err), failed;

	if (r < 0)
		return r;
	if (n_pairs)
		qsort(pairs, n_pairs, sizeof(*pairs), by_key);
	out = open_memstream(&data, &size);
	if (!out)
		return qmr_error_set(err, -ENOMEM, "indexing modules: out of memory");
	put32(out, MAGIC);
	put32(out, VERSION);
	put32(out, 0);
	reference = n_pairs ? put_node(out, &root) : 0;
	failed = fflush(out) || ferror(out);
	failed |= fclose(out);
	if (failed || size > NODE_MASK)
		return qmr_error_set(err, -ENOMEM, "indexing modules: out of memory");
	reference = htobe32(reference);
	memcpy(data + 8, &reference, sizeof(reference));
	*ret_data = data;
	data = NULL;
	*ret_size = size;
	return 0;
}
