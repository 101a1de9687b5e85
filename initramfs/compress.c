/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "compress.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <zstd.h>

#define OUTPUT_BYTES_MAX (1U << 30)

struct qmr_compress {
	ZSTD_CCtx *context;
	uint64_t input_bytes;
	char *data;
	size_t used, room;
};

static int zstd_error(struct qmr_error *err, size_t code)
{
	return qmr_error_set(err, -EIO, "compressing the image: %s", ZSTD_getErrorName(code));
}

int qmr_compress_new(int level, struct qmr_compress **ret_compress, struct qmr_error *err)
{
	struct qmr_compress *c = calloc(1, sizeof(*c));
	long workers = sysconf(_SC_NPROCESSORS_ONLN);
	size_t code;

	if (c)
		c->context = ZSTD_createCCtx();
	if (!c || !c->context) {
		qmr_compress_free(c);
		return qmr_error_set(err, -ENOMEM, "compressing the image: out of memory");
	}
	code = ZSTD_CCtx_setParameter(c->context, ZSTD_c_compressionLevel, level);
	if (!ZSTD_isError(code))
		code = ZSTD_CCtx_setParameter(c->context, ZSTD_c_checksumFlag, 1);
	if (ZSTD_isError(code)) {
		qmr_compress_free(c);
		return zstd_error(err, code);
	}
	/* A library built without threads refuses; one thread is right then. */
	(void)ZSTD_CCtx_setParameter(c->context, ZSTD_c_nbWorkers, workers < 1 ? 1 : workers > 64 ? 64 : (int)workers);
	*ret_compress = c;
	return 0;
}

static int make_room(struct qmr_compress *c, struct qmr_error *err)
{
	size_t room = c->room ? c->room * 2 : 8U << 20;
	char *grown;

	if (c->used < c->room)
		return 0;
	if (room > OUTPUT_BYTES_MAX)
		return qmr_error_set(err, -EFBIG, "the compressed image would be larger than 1 GiB");
	grown = realloc(c->data, room);
	if (!grown)
		return qmr_error_set(err, -ENOMEM, "compressing the image: out of memory");
	c->data = grown;
	c->room = room;
	return 0;
}

static int run(struct qmr_compress *c, const void *data, size_t size, ZSTD_EndDirective directive,
	       struct qmr_error *err)
{
	ZSTD_inBuffer in = {data, size, 0};
	size_t left;

	do {
		ZSTD_outBuffer out;
		int r = make_room(c, err);

		if (r < 0)
			return r;
		out = (ZSTD_outBuffer){c->data, c->room, c->used};
		left = ZSTD_compressStream2(c->context, &out, &in, directive);
		if (ZSTD_isError(left))
			return zstd_error(err, left);
		c->used = out.pos;
	} while (in.pos < in.size || (directive == ZSTD_e_end && left));
	return 0;
}

int qmr_compress_write(void *user, const void *data, size_t size, struct qmr_error *err)
{
	struct qmr_compress *c = user;

	c->input_bytes += size;
	return run(c, data, size, ZSTD_e_continue, err);
}

int qmr_compress_finish(struct qmr_compress *c, const void **ret_data, size_t *ret_size, uint64_t *ret_input_bytes,
			struct qmr_error *err)
{
	int r = run(c, "", 0, ZSTD_e_end, err);

	if (r < 0)
		return r;
	*ret_data = c->data;
	*ret_size = c->used;
	*ret_input_bytes = c->input_bytes;
	return 0;
}

void qmr_compress_free(struct qmr_compress *c)
{
	if (!c)
		return;
	ZSTD_freeCCtx(c->context);
	free(c->data);
	free(c);
}
