/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "notes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NOTES_MAX 200

json_t *qmr_json_text(const char *text)
{
	char ascii[1024];
	json_t *json;

	if (!text || !*text)
		return json_null();
	json = json_string(text);
	if (json)
		return json;
	snprintf(ascii, sizeof(ascii), "%s", text);
	for (unsigned char *p = (unsigned char *)ascii; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	return json_string(ascii);
}

void qmr_note(json_t *notes, const char *format, ...)
{
	char text[700];
	va_list ap;

	if (!notes || json_array_size(notes) >= NOTES_MAX)
		return;
	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	(void)json_array_append_new(notes, qmr_json_text(text)); /* without memory the note is lost, not the run */
}
