/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uuid.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

void qmr_uuid_random(uint8_t ret_uuid[16])
{
	if (getrandom(ret_uuid, 16, GRND_NONBLOCK) != 16) {
		/* An id, not a secret: distinct is enough. */
		struct timespec wall = {0}, up = {0};
		uint64_t low, high;

		(void)clock_gettime(CLOCK_REALTIME, &wall);
		(void)clock_gettime(CLOCK_BOOTTIME, &up);
		low = (uint64_t)wall.tv_sec * 1000000007u ^ (uint64_t)up.tv_nsec << 20;
		high = (uint64_t)wall.tv_nsec * 2654435761u ^ (uint64_t)getpid();
		memcpy(ret_uuid, &low, 8);
		memcpy(ret_uuid + 8, &high, 8);
	}
	ret_uuid[6] = (uint8_t)((ret_uuid[6] & 0x0f) | 0x40);
	ret_uuid[8] = (uint8_t)((ret_uuid[8] & 0x3f) | 0x80);
}

void qmr_uuid_format(const uint8_t uuid[16], char ret_text[QMR_UUID_TEXT])
{
	char *p = ret_text;

	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		p += sprintf(p, "%02x", uuid[i]);
	}
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int qmr_uuid_parse(const char *text, uint8_t ret_uuid[16])
{
	uint8_t uuid[16];

	for (int i = 0; i < 16; i++) {
		int high, low;

		if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-')
			return -EINVAL;
		high = hex_digit(text[0]);
		low = high < 0 ? -1 : hex_digit(text[1]);
		if (low < 0)
			return -EINVAL;
		uuid[i] = (uint8_t)(high << 4 | low);
		text += 2;
	}
	if (*text)
		return -EINVAL;
	memcpy(ret_uuid, uuid, 16);
	return 0;
}

int qmr_uuid_is_null(const uint8_t uuid[16])
{
	static const uint8_t null[16];

	return memcmp(uuid, null, 16) == 0;
}
