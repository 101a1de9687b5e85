/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fetch-transfer.h"

#include <curl/curl.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "network.h"
#include "retry.h"

#define CONNECT_MS 20000
#define SLOW_BYTES_PER_S 1024 /* slower than this for stall_s: the attempt is given up */
#define ATTEMPTS_WITH_OTHERS 2
#define ASKED_WITH_OTHERS_S 10 /* a server that wants a longer pause is left for the next */
#define REDIRECTS_MAX 3L
#define URL_MAX 4096

struct qmr_fetch_transfer {
	CURL *curl; /* kept: one connection for all files */
	const char *url;
	const struct qmr_fetch_network *network;
	int64_t deadline_ms;
	int flags;
	struct qmr_retry retry;
};

struct body {
	char *data;
	size_t used, room, max;
	int is_too_large;
};

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

/* The real time is later than the one at hand: that a certificate is not valid yet may be wrong. */
static int pass_not_yet_valid(int is_good, X509_STORE_CTX *ctx)
{
	if (!is_good && X509_STORE_CTX_get_error(ctx) == X509_V_ERR_CERT_NOT_YET_VALID) {
		X509_STORE_CTX_set_error(ctx, X509_V_OK);
		return 1;
	}
	return is_good;
}

/* libcurl's own settings are made before this is called; names are checked after it. */
static CURLcode set_time(CURL *curl, void *ssl_ctx, void *user)
{
	const struct qmr_fetch_network *network = user;
	SSL_CTX *ctx = ssl_ctx;

	X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(ctx), (time_t)network->now_unix_s);
	if (network->is_floor)
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, pass_not_yet_valid);
	return CURLE_OK;
}

static int set_common(CURL *curl, const struct qmr_fetch_network *network, int flags)
{
	const char *protocols = flags & QMR_FETCH_FOR_TESTS ? "http,https" : "https";
	CURLcode r = curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, protocols);

	r |= curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
	r |= curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
	r |= curl_easy_setopt(curl, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
	r |= curl_easy_setopt(curl, CURLOPT_HTTP_VERSION,
			      (long)CURL_HTTP_VERSION_1_1); /* the smaller parser */
	r |= curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	r |= curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
	r |= curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
	if (network->now_unix_s) {
		r |= curl_easy_setopt(curl, CURLOPT_SSL_CTX_FUNCTION, set_time);
		r |= curl_easy_setopt(curl, CURLOPT_SSL_CTX_DATA, network);
	}
	r |= curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	r |= curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
	r |= curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, (long)SLOW_BYTES_PER_S);
	r |= curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)network->stall_s);
	r |= curl_easy_setopt(curl, CURLOPT_USERAGENT, "qmr/" QMR_VERSION);
	r |= curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
	return r == CURLE_OK ? qmr_network_set(network->servers, curl) : -ENOMEM;
}

int qmr_fetch_transfer_open(const char *url, const struct qmr_fetch_network *network,
			    int64_t deadline_ms, int flags,
			    struct qmr_fetch_transfer **ret_transfer, struct qmr_error *err)
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
	if (!transfer->curl || set_common(transfer->curl, network, flags) < 0) {
		qmr_fetch_transfer_close(transfer);
		return qmr_error_set(err, -ENOMEM,
				     "starting libcurl: out of memory, or it lacks an option");
	}
	transfer->url = url;
	transfer->network = network;
	transfer->deadline_ms = deadline_ms;
	transfer->flags = flags;
	qmr_retry_begin(&transfer->retry, network->seed);
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
	case CURLE_SSL_CERTPROBLEM:
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

static const char *header(CURL *curl, const char *name)
{
	struct curl_header *found;

	return curl_easy_header(curl, name, 0, CURLH_HEADER, -1, &found) == CURLHE_OK ? found->value
										      : NULL;
}

/* Seconds that a server which answered asks to be left alone for. */
static int64_t asked_pause_s(const struct qmr_fetch_transfer *transfer)
{
	const char *after = header(transfer->curl, "Retry-After");

	return after ? qmr_retry_after_s(after, header(transfer->curl, "Date"),
					 transfer->network->now_unix_s)
		     : 0;
}

static int perform(CURL *curl, const char *url, struct body *body, struct qmr_error *err)
{
	char reason[CURL_ERROR_SIZE] = "";
	long status = 0, proxy_status = 0;
	CURLcode code;

	(void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER,
			       reason); /* without it the code's name is used */
	code = curl_easy_perform(curl);
	(void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
	(void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	(void)curl_easy_getinfo(curl, CURLINFO_HTTP_CONNECTCODE, &proxy_status);
	/* The page that explains an error may be larger than what was asked for. */
	if (status < 400 && (body->is_too_large || code == CURLE_FILESIZE_EXCEEDED))
		return qmr_error_set(err, -EFBIG, "fetching '%s': it has more than %zu bytes", url,
				     body->max);
	if (code == CURLE_OK && status == 200)
		return 0;
	/* Of a proxy 403 and 404 say nothing about the file. */
	if (code != CURLE_OK && status == 0 && proxy_status >= 300)
		return qmr_error_set(err,
				     judge_status(proxy_status) == -EAGAIN ? -EAGAIN : -EPROTO,
				     "fetching '%s': the proxy answered %ld", url, proxy_status);
	if (code == CURLE_OK || code == CURLE_HTTP_RETURNED_ERROR || status >= 400)
		return qmr_error_set(err, judge_status(status),
				     "fetching '%s': the server answered %ld", url, status);
	return qmr_error_set(err, judge_failure(code), "fetching '%s': %s", url,
			     *reason ? reason : curl_easy_strerror(code));
}

static int try_get(const struct qmr_fetch_transfer *transfer, const char *url, size_t max_bytes,
		   int64_t left_ms, struct body *ret_body, struct qmr_error *err)
{
	int64_t connect_ms = transfer->network->stall_s * 1000LL;
	struct body body = {.max = max_bytes};
	CURL *curl = transfer->curl;
	CURLcode c = curl_easy_setopt(curl, CURLOPT_URL, url);
	int r;

	if (connect_ms > CONNECT_MS)
		connect_ms = CONNECT_MS;
	c |= curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)left_ms);
	c |= curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
			      (long)(left_ms < connect_ms ? left_ms : connect_ms));
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
 * Waits before the next attempt. Not 0: there is none, why is completed. -EBUSY: the server does
 * not want one before the deadline.
 */
static int wait_for_next(struct qmr_fetch_transfer *transfer, int64_t after_s, int attempts,
			 const struct qmr_error *why, struct qmr_error *err)
{
	int64_t left_ms = transfer->deadline_ms - qmr_clock_ms();
	int64_t wait_ms = qmr_retry_next_ms(&transfer->retry, after_s);

	if (after_s > 0 && (wait_ms >= left_ms || (transfer->flags & QMR_FETCH_HAS_OTHERS &&
						   after_s > ASKED_WITH_OTHERS_S)))
		return qmr_error_set(err, -EBUSY,
				     "%.400s and asks for a pause of %lld s, too long to wait",
				     why->text, (long long)after_s);
	if (transfer->flags & QMR_FETCH_HAS_OTHERS && attempts >= ATTEMPTS_WITH_OTHERS)
		return qmr_error_set(err, -ETIMEDOUT, "%.400s; given up after %d attempts",
				     why->text, attempts);
	if (wait_ms >= left_ms)
		return qmr_error_set(err, -ETIMEDOUT,
				     "%.400s; no time was left after %d attempts", why->text,
				     attempts);
	qmr_retry_sleep(wait_ms);
	return 0;
}

int qmr_fetch_transfer_get(void *user, const char *path, size_t max_bytes, char **ret_data,
			   size_t *ret_size, struct qmr_error *err)
{
	struct qmr_fetch_transfer *transfer = user;
	struct qmr_error why = {0};
	char url[URL_MAX];
	int attempts = 0, r;

	if (make_url(transfer->url, path, url) < 0)
		return qmr_error_set(err, -EINVAL, "fetching '%s': the URL is too long", path);
	transfer->retry.pause_ms = QMR_RETRY_FIRST_MS;
	do {
		int64_t left_ms = transfer->deadline_ms - qmr_clock_ms();
		struct body body = {0};

		if (left_ms <= 0)
			return qmr_error_set(err, -ETIMEDOUT, "%.400s; no time was left after %d "
							      "attempts",
					     *why.text ? why.text
						       : "fetching: the deadline has passed",
					     attempts);
		r = try_get(transfer, url, max_bytes, left_ms, &body, &why);
		attempts++;
		if (r == 0) {
			*ret_data = body.data;
			*ret_size = body.used;
			return 0;
		}
		if (r != -EAGAIN || transfer->flags & QMR_FETCH_FOR_TESTS)
			return qmr_error_set(err, r, "%s", why.text);
		r = wait_for_next(transfer, asked_pause_s(transfer), attempts, &why, err);
	} while (r == 0);
	return r;
}
