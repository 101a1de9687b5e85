/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"

/* Debian's inih is built with lines of 200 bytes and splits longer ones silently: they are refused here. */
#define LINE_BYTES_MAX 190
#define FILE_BYTES_MAX 65536
#define DROPINS_MAX 64

enum type {
	TYPE_INT,
	TYPE_BOOL,
	TYPE_TEXT,
	TYPE_PATH,
	TYPE_MODE,
	TYPE_FINAL,
	TYPE_WATCH,
	TYPE_PROTECT,
	TYPE_LABEL,
	TYPE_AGE,
	TYPE_SOURCE,
	TYPE_UNIX_S,
};

struct key {
	const char *section, *name;
	enum type type;
	size_t offset, size; /* size: of the text */
	int min, max;        /* of the number, inclusive */
	const char *initial;
};

#define INT(s, n, f, low, high, d) {s, n, TYPE_INT, offsetof(struct qmr_config, f), 0, low, high, d}
#define TEXT(s, n, t, f, d) {s, n, t, offsetof(struct qmr_config, f), sizeof(((struct qmr_config *)0)->f), 0, 0, d}
#define OTHER(s, n, t, f, d) {s, n, t, offsetof(struct qmr_config, f), 0, 0, 0, d}

static const struct key keys[] = {
	OTHER("policy", "mode", TYPE_MODE, mode, "observe"),
	INT("policy", "failures", failures, 1, 10, "2"),
	INT("policy", "crashes_after_healthy", crashes_after_healthy, 0, 10, "2"),
	INT("policy", "crash_window", crash_window_s, 1, 3600, "120"),
	INT("policy", "unknowns", unknowns, 0, 10, "4"),
	INT("policy", "boot_deadline", boot_deadline_s, 0, 86400, "900"),
	INT("policy", "emergency_timeout", emergency_timeout_s, 0, 86400, "300"),
	INT("policy", "recovery_runs", recovery_runs, 1, 10, "3"),
	INT("policy", "panic_timeout", panic_timeout_s, 1, 3600, "10"),
	INT("policy", "stability", stability_s, 0, 3600, "120"),
	INT("policy", "cancel", cancel_s, 0, 600, "10"),
	OTHER("policy", "local_rollback", TYPE_BOOL, local_rollback, "no"),
	OTHER("policy", "vaccinate", TYPE_BOOL, vaccinate, "no"),
	OTHER("policy", "final", TYPE_FINAL, final, "boot"),
	INT("policy", "menu_timeout", menu_timeout_s, 10, 86400, "600"),
	OTHER("policy", "protect", TYPE_PROTECT, protect, NULL),
	OTHER("fleet", "label", TYPE_LABEL, label, NULL),
	OTHER("fleet", "minimum_age", TYPE_AGE, minimum_age, NULL),
	INT("checks", "deadline", check_deadline_s, 1, 3600, "60"),
	INT("checks", "attempts", check_attempts, 1, 20, "3"),
	INT("checks", "pause", check_pause_s, 0, 600, "5"),
	OTHER("watch", "path", TYPE_WATCH, watch, NULL),
	INT("watch", "keep", watch_keep, 1, 16, "2"),
	INT("watch", "file_max_mib", watch_file_max_mib, 1, 1024, "16"),
	INT("watch", "total_max_mib", watch_total_max_mib, 1, 65536, "256"),
	OTHER("watchdog", "arm", TYPE_BOOL, watchdog_arm, "yes"),
	INT("watchdog", "timeout", watchdog_s, 10, 600, "120"),
	INT("watchdog", "runtime", watchdog_runtime_s, 10, 600, "60"),
	TEXT("upload", "url", TYPE_TEXT, upload_url, ""),
	TEXT("upload", "certificate", TYPE_PATH, upload_certificate, "/etc/qmr/trust/upload-cert.pem"),
	OTHER("repository", "url", TYPE_SOURCE, repository_url, NULL),
	TEXT("repository", "root", TYPE_PATH, repository_root, "/etc/qmr/trust/root.json"),
	TEXT("network", "ca", TYPE_PATH, ca, "/etc/qmr/trust/ca.pem"),
	TEXT("network", "proxy", TYPE_TEXT, proxy, ""),
	TEXT("network", "proxy_user", TYPE_PATH, proxy_user, "/etc/qmr/secrets/proxy-user"),
	TEXT("network", "client", TYPE_PATH, client, "/etc/qmr/secrets/client.pem"),
	INT("network", "stall", stall_s, 1, 600, "20"),
	INT("network", "timeout", network_s, 1, 3600, "60"),
	INT("network", "transfer_timeout", transfer_s, 1, 86400, "300"),
	OTHER("requests", "poll", TYPE_BOOL, requests_poll, "no"),
	INT("requests", "per_day", requests_per_day, 1, 24, "1"),
	INT("loader", "tries", loader_tries, 0, 10, "5"),
	TEXT("image", "cmdline", TYPE_TEXT, image_cmdline, ""),
	TEXT("machine", "root_uuid", TYPE_TEXT, root_uuid, ""),
	TEXT("machine", "root_fstype", TYPE_TEXT, root_fstype, ""),
	TEXT("machine", "esp_uuid", TYPE_TEXT, esp_uuid, ""),
	OTHER("machine", "built", TYPE_UNIX_S, built_unix_s, "0"),
	INT("machine", "tries", machine_tries, 0, 99, "0"),
	OTHER("machine", "tries_added", TYPE_BOOL, tries_added, "no"),
	OTHER("machine", "panic_added", TYPE_BOOL, panic_added, "no"),
	OTHER("machine", "systemd_boot", TYPE_BOOL, systemd_boot, "no"),
	TEXT("machine", "kernel", TYPE_TEXT, machine_kernel, ""),
};

/* What decides whether this kernel's drivers load and with what content; the owner's list replaces it. */
static const char *const default_watch[] = {
	"/etc/modprobe.d",
	"/etc/modules",
	"/etc/modules-load.d",
	"/etc/fstab",
	"/etc/crypttab",
	"/etc/initramfs-tools",
	"/usr/lib/modules/*/extra",
	"/usr/lib/modules/*/updates",
	"/usr/lib/modules/*/weak-updates",
	"/opt",
};

static const char *const mode_names[] = {"off", "observe", "collect", "ask", "automatic"};
static const char *const final_names[] = {"boot", "halt", "menu"};

const char *qmr_mode_name(int mode)
{
	return mode >= 0 && mode < (int)(sizeof(mode_names) / sizeof(*mode_names)) ? mode_names[mode] : "invalid";
}

const char *qmr_final_name(int final)
{
	return final >= 0 && final < (int)(sizeof(final_names) / sizeof(*final_names)) ? final_names[final] : "invalid";
}

static int set_word(const char *value, const char *const words[], int n, int *ret)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(value, words[i])) {
			*ret = i;
			return 0;
		}
	return -EINVAL;
}

static int set_int(const struct key *key, const char *value, int *ret)
{
	char *end;
	long number;

	errno = 0;
	number = strtol(value, &end, 10);
	if (errno || end == value || *end || number < key->min || number > key->max)
		return -EINVAL;
	*ret = (int)number;
	return 0;
}

static int add_watch(struct qmr_config *config, const char *value)
{
	size_t length = strlen(value);

	if (value[0] != '/' || strstr(value, "/../") || config->n_watch == QMR_CONFIG_PATHS_MAX ||
	    length >= sizeof(config->watch[0]))
		return -EINVAL;
	memcpy(config->watch[config->n_watch++], value, length + 1);
	return 0;
}

/* Copies a name of these characters; -EINVAL if it is empty, too long or of others. */
static int set_name(char *to, size_t room, const char *value, size_t length, const char *more)
{
	if (length == 0 || length >= room)
		return -EINVAL;
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)value[i]) && !strchr(more, value[i]))
			return -EINVAL;
	memcpy(to, value, length);
	to[length] = '\0';
	return 0;
}

static int add_label(struct qmr_config *config, const char *value)
{
	if (config->n_label == QMR_CONFIG_LABELS_MAX ||
	    set_name(config->label[config->n_label], QMR_CONFIG_LABEL, value, strlen(value), "._-") < 0)
		return -EINVAL;
	config->n_label++;
	return 0;
}

/* "LABEL HOURS" or "* HOURS" */
static int add_age(struct qmr_config *config, const char *value)
{
	static const struct key hours = {.min = 0, .max = 24 * 365};
	struct qmr_minimum_age *age = &config->minimum_age[config->n_minimum_age];
	size_t length = strcspn(value, " \t");
	const char *number = value + length + strspn(value + length, " \t");

	if (config->n_minimum_age == QMR_CONFIG_LABELS_MAX || number == value + length ||
	    (strncmp(value, "*", length) && set_name(age->label, sizeof(age->label), value, length, "._-") < 0) ||
	    length == 0 || set_int(&hours, number, &age->hours) < 0)
		return -EINVAL;
	if (*value == '*')
		strcpy(age->label, "*");
	config->n_minimum_age++;
	return 0;
}

static int add_protection(struct qmr_config *config, const char *value)
{
	static const struct {
		const char *word;
		int type;
		const char *more; /* characters of a name besides letters and digits */
	} types[] = {
		{"module", QMR_PROTECTED_MODULE, "_-"},
		{"package", QMR_PROTECTED_PACKAGE, "+.-"},
		{"path", QMR_PROTECTED_PATH, NULL},
	};
	size_t length = strcspn(value, " \t");
	const char *name = value + length + strspn(value + length, " \t");
	struct qmr_protection *protection = &config->protect[config->n_protect];

	if (config->n_protect == QMR_CONFIG_PATHS_MAX || name == value + length)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		if (length != strlen(types[i].word) || strncmp(value, types[i].word, length))
			continue;
		if (types[i].more && set_name(protection->name, sizeof(protection->name), name, strlen(name), types[i].more) < 0)
			return -EINVAL;
		if (!types[i].more && (name[0] != '/' || !name[1] || strstr(name, "//") || strstr(name, "/../") ||
				       strlen(name) >= sizeof(protection->name)))
			return -EINVAL;
		if (!types[i].more)
			strcpy(protection->name, name);
		protection->type = types[i].type;
		config->n_protect++;
		return 0;
	}
	return -EINVAL;
}

/* An empty one empties the list, so that a file of conf.d can replace it. */
static int add_source(struct qmr_config *config, const char *value)
{
	size_t length = strlen(value);

	if (length == 0) {
		config->n_repository_urls = 0;
		config->repository_url[0][0] = '\0';
		return 0;
	}
	if (config->n_repository_urls == QMR_CONFIG_SOURCES_MAX || length >= sizeof(config->repository_url[0]))
		return -EINVAL;
	memcpy(config->repository_url[config->n_repository_urls++], value, length + 1);
	return 0;
}

static int set_unix_s(const char *value, int64_t *ret)
{
	size_t digits = strspn(value, "0123456789");

	if (digits == 0 || digits > 11 || value[digits])
		return -EINVAL;
	*ret = strtoll(value, NULL, 10);
	return 0;
}

/* Sets one key; why is a static text that says what would have been right. */
static int set_key(struct qmr_config *config, const struct key *key, const char *value, const char **why)
{
	static const char *const bools[] = {"no", "yes"};
	void *field = (char *)config + key->offset;

	switch (key->type) {
	case TYPE_INT:
		*why = "not a number within its limits";
		return set_int(key, value, field);
	case TYPE_BOOL:
		*why = "neither yes nor no";
		return set_word(value, bools, 2, field);
	case TYPE_MODE:
		*why = "none of off, observe, collect, ask, automatic";
		return set_word(value, mode_names, 5, field);
	case TYPE_FINAL:
		*why = "none of boot, halt, menu";
		return set_word(value, final_names, 3, field);
	case TYPE_WATCH:
		*why = "not an absolute path, or more than 64 of them";
		return add_watch(config, value);
	case TYPE_PROTECT:
		*why = "none of module NAME, package NAME and path /PATH, or more than 64 of them";
		return add_protection(config, value);
	case TYPE_LABEL:
		*why = "not 1 to 63 of A-Za-z0-9._-, or more than 16 of them";
		return add_label(config, value);
	case TYPE_AGE:
		*why = "not LABEL HOURS or * HOURS with at most 8760 hours, or more than 16 of them";
		return add_age(config, value);
	case TYPE_SOURCE:
		*why = "too long, or more than 8 of them";
		return add_source(config, value);
	case TYPE_UNIX_S:
		*why = "not a time in seconds since 1970";
		return set_unix_s(value, field);
	case TYPE_PATH:
	case TYPE_TEXT:
		*why = key->type == TYPE_PATH ? "not an absolute path, or too long" : "too long";
		if (strlen(value) >= key->size || (key->type == TYPE_PATH && value[0] != '/'))
			return -EINVAL;
		strcpy(field, value);
		return 0;
	}
	return -EINVAL;
}

static void set_initial(struct qmr_config *config)
{
	const char *why;

	memset(config, 0, sizeof(*config));
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		if (keys[i].initial)
			(void)set_key(config, &keys[i], keys[i].initial, &why); /* constants: cannot fail */
}

static void add_default_watch(struct qmr_config *config)
{
	for (size_t i = 0; i < sizeof(default_watch) / sizeof(*default_watch); i++)
		(void)add_watch(config, default_watch[i]);
}

void qmr_config_defaults(struct qmr_config *config)
{
	set_initial(config);
	add_default_watch(config);
}

struct parser {
	const char *file;
	const char *next; /* unread text */
	int line;
	struct qmr_config *config;
	struct qmr_error *err;
	int result;
};

static int complain(struct parser *p, const char *section, const char *name, const char *why)
{
	if (p->result == 0)
		p->result = qmr_error_set(p->err, -EINVAL, "%s:%d: [%s] %s: %s", p->file, p->line, section, name, why);
	return 0;
}

/* inih's reader: like fgets(), but it counts lines and sees long ones. */
static char *read_line(char *buffer, int size, void *user)
{
	struct parser *p = user;
	size_t length;

	if (!*p->next)
		return NULL;
	p->line++;
	length = strcspn(p->next, "\n");
	if (length > LINE_BYTES_MAX || (int)length + 2 > size) {
		complain(p, "", "", "line is longer than 190 bytes");
		return NULL;
	}
	memcpy(buffer, p->next, length);
	p->next += length;
	if (*p->next)
		p->next++;
	buffer[length] = '\n';
	buffer[length + 1] = '\0';
	/* A continuation line (inih takes an indented one as more of the last value) would hide a typing error. */
	if (isspace((unsigned char)buffer[0]) && buffer[strspn(buffer, " \t\r\n")])
		complain(p, "", "", "line begins with white space");
	return buffer;
}

static int handle_key(void *user, const char *section, const char *name, const char *value)
{
	struct parser *p = user;
	const char *why;

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		if (strcmp(keys[i].section, section) || strcmp(keys[i].name, name))
			continue;
		if (set_key(p->config, &keys[i], value, &why) < 0)
			return complain(p, section, name, why);
		return 1;
	}
	return complain(p, section, name, "unknown key");
}

static int load_file(const char *path, struct qmr_config *config, struct qmr_error *err)
{
	cleanup_free char *text = NULL;
	struct parser parser = {.file = path, .config = config, .err = err};
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	size_t size;
	int r;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (fd < 0)
		return qmr_error_errno(err, -errno, "opening '%s'", path);
	r = qmr_file_read_fd(fd, path, FILE_BYTES_MAX, &text, &size, err);
	if (r < 0)
		return r;
	if (strlen(text) != size)
		return qmr_error_set(err, -EINVAL, "%s: holds a NUL byte", path);
	parser.next = text;
	r = ini_parse_stream(read_line, &parser, handle_key, &parser);
	if (parser.result < 0)
		return parser.result;
	if (r != 0)
		return qmr_error_set(err, -EINVAL, "%s:%d: neither a [section] nor a 'key = value'", path, r);
	return 0;
}

static int is_conf(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name);

	return length > 5 && entry->d_name[0] != '.' && !strcmp(entry->d_name + length - 5, ".conf");
}

static int load_dropins(const char *folder, struct qmr_config *config, struct qmr_error *err)
{
	struct dirent **entries = NULL;
	int n = scandir(folder, &entries, is_conf, alphasort);
	int r = 0;

	if (n < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : qmr_error_errno(err, -errno, "reading folder '%s'", folder);
	if (n > DROPINS_MAX)
		r = qmr_error_set(err, -EINVAL, "%s: more than %d files", folder, DROPINS_MAX);
	for (int i = 0; i < n; i++) {
		char path[PATH_MAX];

		if (r == 0 && snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name) < (int)sizeof(path))
			r = load_file(path, config, err);
		free(entries[i]);
	}
	free(entries);
	return r;
}

int qmr_config_load(const char *path, struct qmr_config *ret_config, struct qmr_error *err)
{
	char beside[PATH_MAX];
	const char *slash = strrchr(path, '/');
	int folder = slash ? (int)(slash - path) : 1;
	int r;

	if (strlen(path) > PATH_MAX - 32) {
		qmr_config_defaults(ret_config);
		return qmr_error_set(err, -ENAMETOOLONG, "'%s' is too long", path);
	}
	set_initial(ret_config);
	r = load_file(path, ret_config, err);
	snprintf(beside, sizeof(beside), "%.*s/conf.d", folder, slash ? path : ".");
	if (r == 0)
		r = load_dropins(beside, ret_config, err);
	snprintf(beside, sizeof(beside), "%.*s/machine.conf", folder, slash ? path : ".");
	if (r == 0)
		r = load_file(beside, ret_config, err);
	if (r < 0)
		qmr_config_defaults(ret_config);
	else if (ret_config->n_watch == 0)
		add_default_watch(ret_config);
	return r;
}

int qmr_config_has_source(const struct qmr_config *config, const char *begin)
{
	for (size_t i = 0; i < config->n_repository_urls; i++)
		if (!strncmp(config->repository_url[i], begin, strlen(begin)))
			return 1;
	return 0;
}
