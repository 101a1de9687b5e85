/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "url.h"

#include <errno.h>
#include <string.h>

static const char *const proxies[] = {"http://", "https://", "socks5://", "socks5h://"};

const char *qmr_url_judge_characters(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text <= ' ' || (unsigned char)*text >= 0x7f)
			return "it holds a character that must be percent-encoded";
	return NULL;
}

const char *qmr_url_judge_server(const char *rest)
{
	size_t host = strcspn(rest, "/?#");

	if (memchr(rest, '@', host))
		return "a user name does not belong into the configuration, which everybody can read";
	if (host == 0 || *rest == ':')
		return "it names no host";
	if (rest[strcspn(rest, "?#")])
		return "it has a query or a fragment";
	return qmr_url_judge_characters(rest);
}

int qmr_url_check_proxy(const char *text, struct qmr_error *err)
{
	const char *why = "its scheme is none of http, https, socks5, socks5h";

	if (!*text)
		return 0;
	for (size_t i = 0; i < sizeof(proxies) / sizeof(*proxies); i++) {
		size_t size = strlen(proxies[i]);

		if (strncmp(text, proxies[i], size))
			continue;
		why = qmr_url_judge_server(text + size);
		if (!why)
			return 0;
	}
	return qmr_error_set(err, -EINVAL, "[network] proxy '%s': %s", text, why);
}
