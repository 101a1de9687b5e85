/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transfer.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "log.h"
#include "network.h"
#include "retry.h"

#define CONNECT_MS 20000
#define ANSWER_BYTES_MAX 65536 /* nobody reads it */
#define SLOW_BYTES_PER_S 64

enum verdict { SENT, AGAIN, FINAL, UNTRUSTED, CONFLICT };

struct upload {
	const char *data;
	size_t size, used;
};

static void cleanup_easy(CURL **curl)
{
	curl_easy_cleanup(*curl);
}

static void cleanup_slist(struct curl_slist **list)
{
	curl_slist_free_all(*list);
}

static size_t read_upload(char *buffer, size_t size, size_t n, void *user)
{
	struct upload *upload = user;
	size_t room = size * n, left = upload->size - upload->used;
	size_t take = left < room ? left : room;

	memcpy(buffer, upload->data + upload->used, take);
	upload->used += take;
	return take;
}

/* libcurl rewinds when a kept connection turns out to be dead. */
static int seek_upload(void *user, curl_off_t offset, int origin)
{
	struct upload *upload = user;

	if (origin != SEEK_SET || offset < 0 || (size_t)offset > upload->size)
		return CURL_SEEKFUNC_FAIL;
	upload->used = (size_t)offset;
	return CURL_SEEKFUNC_OK;
}

static size_t drop_answer(char *data, size_t size, size_t n, void *user)
{
	size_t *total = user;

	*total += size * n;
	return *total > ANSWER_BYTES_MAX ? 0 : size * n;
}

static int set_common(CURL *curl, const struct qmr_transfer *transfer, const struct qmr_network *servers, const char *url,
		      int64_t left_ms, size_t *answer)
{
	CURLcode r = curl_easy_setopt(curl, CURLOPT_URL, url);

	r |= curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
	r |= curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	r |= curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	r |= curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
	r |= curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
	r |= curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	r |= curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)left_ms);
	r |= curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)(left_ms < CONNECT_MS ? left_ms : CONNECT_MS));
	r |= curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, (long)SLOW_BYTES_PER_S);
	r |= curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)transfer->stall_s);
	r |= curl_easy_setopt(curl, CURLOPT_USERAGENT, "qmr/" QMR_VERSION);
	r |= curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop_answer);
	r |= curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
	return r == CURLE_OK ? qmr_network_set(servers, curl) : -ENOMEM;
}

static enum verdict judge_answer(long status)
{
	switch (status) {
	case 200:
	case 201:
	case 204:
	case 412: /* what If-None-Match: * asks for where the file exists (RFC 9110, 13.1.2) */
		return SENT;
	case 409: /* it exists, or its folder does not (RFC 4918, 9.7.1) */
		return CONFLICT;
	case 408:
	case 429:
		return AGAIN;
	default:
		return status >= 500 ? AGAIN : FINAL;
	}
}

static enum verdict judge_failure(CURLcode code)
{
	switch (code) {
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
		return UNTRUSTED;
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
	case CURLE_OUT_OF_MEMORY:
		return FINAL;
	default:
		return AGAIN;
	}
}

static enum verdict perform(CURL *curl, const char *url, struct qmr_error *err)
{
	char reason[CURL_ERROR_SIZE] = "";
	long status = 0;
	CURLcode code;
	enum verdict verdict;

	(void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason); /* without it the code's name is used */
	code = curl_easy_perform(curl);
	(void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
	(void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	/* A final answer may come before the server took everything, and then it closes: the answer counts. */
	if (status >= 400 || (code == CURLE_OK && status)) {
		verdict = judge_answer(status);
		if (verdict != SENT)
			(void)qmr_error_set(err, verdict == AGAIN ? -ETIMEDOUT : -EPROTO,
					    "sending to '%s': the server answered %ld", url, status);
		return verdict;
	}
	verdict = judge_failure(code);
	(void)qmr_error_set(err, verdict == UNTRUSTED ? -EKEYREJECTED : verdict == FINAL ? -EINVAL : -ETIMEDOUT,
			    "sending to '%s': %s", url, *reason ? reason : curl_easy_strerror(code));
	return verdict;
}

static enum verdict try_put(const struct qmr_transfer *transfer, const struct qmr_network *servers, const char *url, const void *data, size_t size,
			    int64_t left_ms, struct qmr_error *err)
{
	QMR_CLEANUP(cleanup_easy) CURL *curl = curl_easy_init();
	QMR_CLEANUP(cleanup_slist) struct curl_slist *headers = NULL;
	struct curl_slist *more;
	struct upload upload = {.data = data, .size = size};
	size_t answer = 0;
	CURLcode r = CURLE_OK;

	headers = curl_slist_append(NULL, "If-None-Match: *");
	more = headers ? curl_slist_append(headers, "Expect:") : NULL; /* one round trip less; retries are ours */
	more = more ? curl_slist_append(headers, "Content-Type: application/cms") : NULL;
	if (!curl || !more || set_common(curl, transfer, servers, url, left_ms, &answer) < 0) {
		(void)qmr_error_set(err, -ENOMEM, "sending to '%s': out of memory", url);
		return FINAL;
	}
	r |= curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	r |= curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
	r |= curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)size);
	r |= curl_easy_setopt(curl, CURLOPT_READFUNCTION, read_upload);
	r |= curl_easy_setopt(curl, CURLOPT_READDATA, &upload);
	r |= curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, seek_upload);
	r |= curl_easy_setopt(curl, CURLOPT_SEEKDATA, &upload);
	if (r != CURLE_OK) {
		(void)qmr_error_set(err, -EIO, "sending to '%s': libcurl lacks an option", url);
		return FINAL;
	}
	return perform(curl, url, err);
}

static int exists(const struct qmr_transfer *transfer, const struct qmr_network *servers, const char *url, int64_t left_ms)
{
	QMR_CLEANUP(cleanup_easy) CURL *curl = curl_easy_init();
	size_t answer = 0;
	long status = 0;

	if (!curl || left_ms <= 0 || set_common(curl, transfer, servers, url, left_ms, &answer) < 0 ||
	    curl_easy_setopt(curl, CURLOPT_NOBODY, 1L) != CURLE_OK)
		return 0;
	return curl_easy_perform(curl) == CURLE_OK &&
	       curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK && status == 200;
}

static int put(const struct qmr_transfer *transfer, const struct qmr_network *servers, const char *url, const void *data,
	       size_t size, struct qmr_error *err)
{
	struct qmr_retry retry;
	struct qmr_error why = {0};

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return qmr_error_set(err, -EIO, "starting libcurl failed");
	qmr_retry_begin(&retry, qmr_retry_seed(url));
	for (;;) {
		int64_t wait_ms, left_ms = transfer->deadline_ms - qmr_clock_ms();
		enum verdict verdict;

		if (left_ms <= 0)
			break;
		verdict = try_put(transfer, servers, url, data, size, left_ms, &why);
		left_ms = transfer->deadline_ms - qmr_clock_ms();
		if (verdict == SENT || (verdict == CONFLICT && exists(transfer, servers, url, left_ms)))
			return 0;
		if (verdict != AGAIN)
			return qmr_error_set(err, why.code, "%s", why.text);
		wait_ms = qmr_retry_next_ms(&retry, 0);
		if (wait_ms >= left_ms)
			break;
		qmr_info("%s; trying again in %lld ms", why.text, (long long)wait_ms);
		qmr_retry_sleep(wait_ms);
	}
	return qmr_error_set(err, -ETIMEDOUT, "%s", *why.text ? why.text : "sending: no time was left");
}

int qmr_transfer_put(const struct qmr_transfer *transfer, const char *url, const void *data, size_t size,
		     struct qmr_error *err)
{
	struct qmr_network servers;
	struct qmr_error why = {0};
	int r;

	if (strncmp(url, "https://", 8))
		return qmr_error_set(err, -EINVAL, "sending to '%s': only https is used", url);
	r = qmr_network_load(transfer->config, transfer->root, &servers, &why);
	if (r == 0)
		r = put(transfer, &servers, url, data, size, err);
	else /* nobody can be trusted without it */
		r = qmr_error_set(err, r == -EINVAL ? r : -EKEYREJECTED, "sending to '%s': %s", url, why.text);
	qmr_network_done(&servers);
	return r;
}
