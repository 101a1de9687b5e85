/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "retry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"

#define AFTER_MAX_S 86400
#define ADAPTERS "/sys/class/net"
#define ADAPTERS_MAX 64

/* FNV-1a, 64 bits. */
static void mix(uint64_t *hash, const void *data, size_t size)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < size; i++)
		*hash = (*hash ^ p[i]) * 0x100000001b3ULL;
}

static void mix_file(uint64_t *hash, const char *path)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char text[128];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

	if (n > 0)
		mix(hash, text, (size_t)n);
}

static void mix_adapters(uint64_t *hash)
{
	cleanup_closedir DIR *dir = opendir(ADAPTERS);
	struct dirent *entry;
	int n = 0;

	while (dir && (entry = readdir(dir)) && n++ < ADAPTERS_MAX) {
		char path[sizeof(ADAPTERS) + NAME_MAX + 16];

		snprintf(path, sizeof(path), ADAPTERS "/%s/address", entry->d_name);
		mix_file(hash, path);
	}
}

uint64_t qmr_retry_seed(const char *salt)
{
	static const char *const files[] = {
		"/etc/machine-id",
		"/proc/sys/kernel/random/boot_id",
		"/sys/class/dmi/id/product_uuid",
		"/sys/class/dmi/id/product_serial",
	};
	uint64_t hash = 0xcbf29ce484222325ULL;
	unsigned char random[16];
	struct timespec now;
	pid_t pid = getpid();

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		mix_file(&hash, files[i]);
	mix_adapters(&hash);
	mix(&hash, salt, strlen(salt));
	clock_gettime(CLOCK_MONOTONIC, &now);
	mix(&hash, &now, sizeof(now));
	mix(&hash, &pid, sizeof(pid));
	if (getrandom(random, sizeof(random), GRND_NONBLOCK) == sizeof(random))
		mix(&hash, random, sizeof(random));
	return hash;
}

void qmr_retry_begin(struct qmr_retry *retry, uint64_t seed)
{
	*retry = (struct qmr_retry){.state = seed, .pause_ms = QMR_RETRY_FIRST_MS};
}

/* SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

int64_t qmr_retry_next_ms(struct qmr_retry *retry, int64_t after_s)
{
	int64_t half = retry->pause_ms / 2;
	int64_t pause = half + (int64_t)(next_random(&retry->state) % (uint64_t)(half + 1));

	retry->pause_ms =
		retry->pause_ms * 2 < QMR_RETRY_MAX_MS ? retry->pause_ms * 2 : QMR_RETRY_MAX_MS;
	return after_s * 1000 + pause;
}

void qmr_retry_sleep(int64_t ms)
{
	struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	while (nanosleep(&time, &time) < 0 && errno == EINTR)
		;
}

static int is_in(int value, int low, int high)
{
	return value >= low && value <= high;
}

/* The two digits of an RFC 850 date are within 50 years of now: RFC 9110, 5.6.7. */
static int full_year(int year)
{
	return year >= 100 ? year : year < 70 ? 2000 + year : 1900 + year;
}

int64_t qmr_retry_parse_date(const char *text)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	const char *month;
	char name[4] = "";
	struct tm tm = {0};
	int end = 0, year = 0;

	/* IMF-fixdate, then RFC 850, then asctime(); %n is reached where all of it was there. */
	(void)sscanf(text, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT%n", &tm.tm_mday, name,
		     &year, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &end);
	if (!end)
		(void)sscanf(text, "%*9[A-Za-z], %2d-%3[A-Za-z]-%2d %2d:%2d:%2d GMT%n", &tm.tm_mday,
			     name, &year, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &end);
	if (!end)
		(void)sscanf(text, "%*3[A-Za-z] %3[A-Za-z] %2d %2d:%2d:%2d %4d%n", name,
			     &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &year, &end);
	month = strlen(name) == 3 ? strstr(months, name) : NULL;
	year = full_year(year);
	if (!end || text[end] || !month || (month - months) % 3 || !is_in(tm.tm_mday, 1, 31) ||
	    !is_in(year, 1970, 9999) || !is_in(tm.tm_hour, 0, 23) || !is_in(tm.tm_min, 0, 59) ||
	    !is_in(tm.tm_sec, 0, 60))
		return -1;
	tm.tm_mon = (int)(month - months) / 3;
	tm.tm_year = year - 1900;
	return timegm(&tm);
}

int64_t qmr_retry_after_s(const char *value, const char *date, int64_t now_unix_s)
{
	size_t digits = strspn(value, "0123456789");
	int64_t then, now, after = 0;

	if (digits && !value[digits]) {
		for (size_t i = 0; i < digits && after <= AFTER_MAX_S; i++)
			after = after * 10 + (value[i] - '0');
		return after < AFTER_MAX_S ? after : AFTER_MAX_S;
	}
	then = qmr_retry_parse_date(value);
	now = date ? qmr_retry_parse_date(date) : -1;
	if (now < 0)
		now = now_unix_s;
	if (then <= now)
		return 0;
	return then - now < AFTER_MAX_S ? then - now : AFTER_MAX_S;
}
