/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "plan-form.h"

#include <limits.h>
#include <string.h>

#include "boot-state.h"

#define PATH_BYTES_MAX 1024
#define DIGITS "0123456789"
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

static int is_of(const char *text, const char *characters, size_t max)
{
	size_t n = strlen(text);

	return n >= 1 && n <= max && strspn(text, characters) == n;
}

int qmr_form_is_path(const char *text)
{
	static const char *const not_below[] = {"/proc", "/sys", "/dev", "/run", "/var/lib/qmr"};

	if (text[0] != '/' || strlen(text) > PATH_BYTES_MAX)
		return 0;
	for (size_t i = 0; i < sizeof(not_below) / sizeof(*not_below); i++) {
		size_t n = strlen(not_below[i]);

		if (!strncmp(text, not_below[i], n) && (text[n] == '/' || !text[n]))
			return 0;
	}
	for (const char *p = text; *p;) {
		size_t n = strcspn(++p, "/");

		if (n == 0 || n > NAME_MAX || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return 0;
		p += n;
	}
	return 1;
}

int qmr_form_is_module(const char *text)
{
	return is_of(text, UPPER LOWER DIGITS "_-", QMR_MODULE_NAME - 1);
}

int qmr_form_is_package(const char *text)
{
	return is_of(text, LOWER DIGITS "+.-", 127) && !strchr("+.-", text[0]);
}

int qmr_form_is_label(const char *text)
{
	return is_of(text, UPPER LOWER DIGITS "._-", 63);
}
