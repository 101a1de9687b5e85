/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fetch-transfer.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "cleanup.h"

#define PAUSE_FIRST_MS 1000
#define PAUSE_MAX_MS 30000
#define CONNECT_MS 20000
#define SLOW_BYTES_PER_S 1024 /* slower than this ... */
#define SLOW_S 30             /* ... for so long: the attempt is given up */
#define REDIRECTS_MAX 3L
#define URL_MAX 4096

struct qmr_fetch_transfer {
	CURL *curl; /* kept: one connection for all files */
	int flags;
	const char *url;
	int64_t deadline_ms;
};

struct body {
	char *data;
	size_t used, room, max;
	int is_too_large;
};

int64_t qmr_fetch_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static size_t take(char *data, size_t size, size_t n, void *user)
{
	struct body *body = user;

	n *= size;
	if (n > body->max - body->used) {
		body->is_too_large = 1;
		return 0;
	}
	if (body->used + n > body->room) {
		size_t room = body->room ? body->room : 4096;
		char *grown;

		while (room < body->used + n)
			room *= 2;
		grown = realloc(body->data, room);
		if (!grown)
			return 0;
		body->data = grown;
		body->room = room;
	}
	memcpy(body->data + body->used, data, n);
	body->used += n;
	return n;
}

static int set_common(CURL *curl, const char *ca, size_t ca_size)
{
	struct curl_blob blob = {.data = (void *)ca, .len = ca_size, .flags = CURL_BLOB_NOCOPY};
	CURLcode r = curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");

	r |= curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "https");
	r |= curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
	r |= curl_easy_setopt(curl, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
	r |= curl_easy_setopt(curl, CURLOPT_HTTP_VERSION,
			      (long)CURL_HTTP_VERSION_1_1); /* the smaller parser */
	r |= curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	r |= curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
	r |= curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
	r |= curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &blob);
	r |= curl_easy_setopt(curl, CURLOPT_CAINFO, NULL);
	r |= curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
	r |= curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	r |= curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
	r |= curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, (long)SLOW_BYTES_PER_S);
	r |= curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)SLOW_S);
	r |= curl_easy_setopt(curl, CURLOPT_USERAGENT, "qmr/" QMR_VERSION);
	r |= curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
	return r == CURLE_OK ? 0 : -ENOMEM;
}

int qmr_fetch_transfer_open(const char *url, const char *ca, size_t ca_size, int64_t deadline_ms,
			    int flags, struct qmr_fetch_transfer **ret_transfer,
			    struct qmr_error *err)
{
	struct qmr_fetch_transfer *transfer;

	if (strncmp(url, "https://", 8) &&
	    !(flags & QMR_FETCH_FOR_TESTS && !strncmp(url, "http://", 7)))
		return qmr_error_set(err, -EINVAL, "[repository] url '%s': only https is used",
				     url);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return qmr_error_set(err, -EIO, "starting libcurl failed");
	transfer = calloc(1, sizeof(*transfer));
	if (!transfer)
		return qmr_error_set(err, -ENOMEM, "starting libcurl: out of memory");
	transfer->curl = curl_easy_init();
	if (!transfer->curl || set_common(transfer->curl, ca, ca_size) < 0) {
		qmr_fetch_transfer_close(transfer);
		return qmr_error_set(err, -ENOMEM,
				     "starting libcurl: out of memory, or it lacks an option");
	}
	if (flags & QMR_FETCH_FOR_TESTS)
		(void)curl_easy_setopt(transfer->curl, CURLOPT_PROTOCOLS_STR,
				       "http,https"); /* if not, it fails later */
	transfer->flags = flags;
	transfer->url = url;
	transfer->deadline_ms = deadline_ms;
	*ret_transfer = transfer;
	return 0;
}

void qmr_fetch_transfer_close(struct qmr_fetch_transfer *transfer)
{
	if (!transfer)
		return;
	curl_easy_cleanup(transfer->curl);
	free(transfer);
}

/* The base without slashes at its end, and path, which is encoded already. */
static int make_url(const char *base, const char *path, char ret_url[URL_MAX])
{
	size_t used = strlen(base);

	while (used > 0 && base[used - 1] == '/')
		used--;
	return snprintf(ret_url, URL_MAX, "%.*s/%s", (int)used, base, path) < URL_MAX
		       ? 0
		       : -ENAMETOOLONG;
}

/* -EAGAIN: another attempt may do better. */
static int judge_status(long status)
{
	switch (status) {
	case 403:
	case 404:
	case 410:
		return -ENOENT;
	case 408:
	case 429:
		return -EAGAIN;
	default:
		return status >= 500 ? -EAGAIN : -EPROTO;
	}
}

static int judge_failure(CURLcode code)
{
	switch (code) {
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
		return -EKEYREJECTED;
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
	case CURLE_TOO_MANY_REDIRECTS:
		return -EPROTO;
	case CURLE_OUT_OF_MEMORY:
		return -ENOMEM;
	default:
		return -EAGAIN;
	}
}

static int perform(CURL *curl, const char *url, struct body *body, struct qmr_error *err)
{
	char reason[CURL_ERROR_SIZE] = "";
	long status = 0;
	CURLcode code;

	(void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER,
			       reason); /* without it the code's name is used */
	code = curl_easy_perform(curl);
	(void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
	(void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	/* The page that explains an error may be larger than what was asked for. */
	if (status < 400 && (body->is_too_large || code == CURLE_FILESIZE_EXCEEDED))
		return qmr_error_set(err, -EFBIG, "fetching '%s': it has more than %zu bytes", url,
				     body->max);
	if (code == CURLE_OK && status == 200)
		return 0;
	if (code == CURLE_OK || code == CURLE_HTTP_RETURNED_ERROR || status >= 400)
		return qmr_error_set(err, judge_status(status),
				     "fetching '%s': the server answered %ld", url, status);
	return qmr_error_set(err, judge_failure(code), "fetching '%s': %s", url,
			     *reason ? reason : curl_easy_strerror(code));
}

static int try_get(CURL *curl, const char *url, size_t max_bytes, int64_t left_ms,
		   struct body *ret_body, struct qmr_error *err)
{
	struct body body = {.max = max_bytes};
	CURLcode c = curl_easy_setopt(curl, CURLOPT_URL, url);
	int r;

	c |= curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)left_ms);
	c |= curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
			      (long)(left_ms < CONNECT_MS ? left_ms : CONNECT_MS));
	/*
	 * Refuses at once where the length is announced; take() refuses the rest. 0 would mean no
	 * limit.
	 */
	c |= curl_easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE,
			      (curl_off_t)(max_bytes ? max_bytes : 1));
	c |= curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
	if (c != CURLE_OK)
		return qmr_error_set(err, -ENOMEM, "fetching '%s': out of memory", url);
	r = perform(curl, url, &body, err);
	if (r == 0 && !body.data)
		body.data = calloc(1, 1);
	if (r == 0 && !body.data)
		r = qmr_error_set(err, -ENOMEM, "fetching '%s': out of memory", url);
	if (r < 0)
		free(body.data);
	else
		*ret_body = body;
	return r;
}

/*
 * Between half of pause and all of it: many machines that fail together shall not come back
 * together.
 */
static int64_t jitter(int64_t pause_ms)
{
	uint32_t random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = (uint32_t)qmr_fetch_now_ms();
	return pause_ms / 2 + (int64_t)(random % (uint32_t)(pause_ms / 2 + 1));
}

static void pause_for(int64_t ms)
{
	struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	while (nanosleep(&time, &time) < 0 && errno == EINTR)
		;
}

int qmr_fetch_transfer_get(void *user, const char *path, size_t max_bytes, char **ret_data,
			   size_t *ret_size, struct qmr_error *err)
{
	struct qmr_fetch_transfer *transfer = user;
	int64_t pause_ms = PAUSE_FIRST_MS;
	struct qmr_error why = {0};
	char url[URL_MAX];
	int attempts = 0;

	if (make_url(transfer->url, path, url) < 0)
		return qmr_error_set(err, -EINVAL, "fetching '%s': the URL is too long", path);
	for (;;) {
		int64_t wait_ms, left_ms = transfer->deadline_ms - qmr_fetch_now_ms();
		struct body body = {0};
		int r;

		if (left_ms <= 0)
			break;
		r = try_get(transfer->curl, url, max_bytes, left_ms, &body, &why);
		attempts++;
		if (r == 0) {
			*ret_data = body.data;
			*ret_size = body.used;
			return 0;
		}
		if (r != -EAGAIN || transfer->flags & QMR_FETCH_FOR_TESTS)
			return qmr_error_set(err, r, "%s", why.text);
		wait_ms = jitter(pause_ms);
		if (wait_ms >= transfer->deadline_ms - qmr_fetch_now_ms())
			break;
		pause_for(wait_ms);
		pause_ms = pause_ms * 2 < PAUSE_MAX_MS ? pause_ms * 2 : PAUSE_MAX_MS;
	}
	return qmr_error_set(err, -ETIMEDOUT, "%.400s; no time was left after %d attempts",
			     *why.text ? why.text : "fetching: the deadline has passed", attempts);
}
