/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void make_printable(char *text)
{
	for (unsigned char *p = (unsigned char *)text; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			*p = '?';
}

int qmr_error_set(struct qmr_error *err, int code, const char *format, ...)
{
	va_list ap;

	if (!err)
		return code;
	va_start(ap, format);
	(void)vsnprintf(err->text, sizeof(err->text), format, ap); /* a cut message is still one */
	va_end(ap);
	make_printable(err->text);
	err->code = code;
	return code;
}

int qmr_error_errno(struct qmr_error *err, int code, const char *format, ...)
{
	char what[400];
	va_list ap;

	if (!err)
		return code;
	va_start(ap, format);
	(void)vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	return qmr_error_set(err, code, "%s: %s", what, strerror(code < 0 ? -code : code));
}
