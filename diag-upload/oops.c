/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "oops.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

#define LINE_MAX_BYTES 2048 /* printk cuts at 1 KiB; longer lines are not the kernel's */

/* What an event says about the others: a fault makes the rest a consequence. */
enum class { FAULT, LOCKUP, PANIC, WARNING, HEADLESS, N_CLASSES };

struct start {
	const char *prefix; /* the line begins with it */
	const char *also;   /* and holds it, NULL: nothing more */
	enum qmr_oops_kind kind;
	enum class class;
};

/* In this order: the first that fits decides. */
static const struct start starts[] = {
	{"BUG: kernel NULL pointer dereference", NULL, QMR_OOPS_NULL_POINTER, FAULT},
	{"BUG: unable to handle kernel NULL pointer", NULL, QMR_OOPS_NULL_POINTER, FAULT},
	{"Unable to handle kernel NULL pointer", NULL, QMR_OOPS_NULL_POINTER, FAULT},
	{"BUG: unable to handle page fault", NULL, QMR_OOPS_PAGE_FAULT, FAULT},
	{"BUG: unable to handle kernel paging request", NULL, QMR_OOPS_PAGE_FAULT, FAULT},
	{"Unable to handle kernel ", NULL, QMR_OOPS_PAGE_FAULT, FAULT},
	{"general protection fault", NULL, QMR_OOPS_GENERAL_PROTECTION, FAULT},
	{"kernel BUG at ", NULL, QMR_OOPS_BUG, FAULT},
	{"divide error", ": ", QMR_OOPS_DIVIDE_ERROR, FAULT},
	{"invalid opcode", ": ", QMR_OOPS_INVALID_OPCODE, FAULT},
	{"stack segment: ", NULL, QMR_OOPS_UNKNOWN, FAULT},
	{"double fault: ", NULL, QMR_OOPS_UNKNOWN, FAULT},
	{"traps: PANIC: double fault", NULL, QMR_OOPS_UNKNOWN, FAULT},
	{"int3: ", NULL, QMR_OOPS_UNKNOWN, FAULT},
	{"Internal error: ", "[#", QMR_OOPS_UNKNOWN, FAULT},
	{"watchdog: BUG: soft lockup", NULL, QMR_OOPS_SOFT_LOCKUP, LOCKUP},
	{"NMI watchdog: BUG: soft lockup", NULL, QMR_OOPS_SOFT_LOCKUP, LOCKUP},
	{"BUG: soft lockup", NULL, QMR_OOPS_SOFT_LOCKUP, LOCKUP},
	{"watchdog: Watchdog detected hard LOCKUP", NULL, QMR_OOPS_HARD_LOCKUP, LOCKUP},
	{"NMI watchdog: Watchdog detected hard LOCKUP", NULL, QMR_OOPS_HARD_LOCKUP, LOCKUP},
	{"Watchdog detected hard LOCKUP", NULL, QMR_OOPS_HARD_LOCKUP, LOCKUP},
	{"rcu: INFO: ", "stall", QMR_OOPS_RCU_STALL, LOCKUP},
	{"INFO: rcu", "stall", QMR_OOPS_RCU_STALL, LOCKUP},
	{"INFO: task ", " blocked for more than ", QMR_OOPS_HUNG_TASK, LOCKUP},
	{"Kernel panic - not syncing", NULL, QMR_OOPS_PANIC, PANIC},
	{"WARNING: ", " at ", QMR_OOPS_WARNING, WARNING},
	{"", "Oops: ", QMR_OOPS_UNKNOWN, FAULT}, /* "Oops: 0000 [#1]", where the line before it was lost */
};

static const char *const kind_names[] = {
	[QMR_OOPS_UNKNOWN] = "unknown",
	[QMR_OOPS_NULL_POINTER] = "null-pointer",
	[QMR_OOPS_PAGE_FAULT] = "page-fault",
	[QMR_OOPS_GENERAL_PROTECTION] = "general-protection",
	[QMR_OOPS_BUG] = "bug",
	[QMR_OOPS_DIVIDE_ERROR] = "divide-error",
	[QMR_OOPS_INVALID_OPCODE] = "invalid-opcode",
	[QMR_OOPS_SOFT_LOCKUP] = "soft-lockup",
	[QMR_OOPS_HARD_LOCKUP] = "hard-lockup",
	[QMR_OOPS_RCU_STALL] = "rcu-stall",
	[QMR_OOPS_HUNG_TASK] = "hung-task",
	[QMR_OOPS_PANIC] = "panic",
	[QMR_OOPS_WARNING] = "warning",
};

struct event {
	struct qmr_oops oops;
	int used;
	int open;          /* lines still belong to it */
	int in_trace;
	int in_modules;    /* the module list went on to another line */
	int seen_ip;       /* there was an instruction pointer, perhaps a bad one */
};

struct parser {
	struct event events[N_CLASSES];
	struct event current;
	enum class class;
	int64_t uptime_ms; /* of the line being read */
	int panic;
};

const char *qmr_oops_kind_name(enum qmr_oops_kind kind)
{
	if ((unsigned int)kind >= sizeof(kind_names) / sizeof(*kind_names))
		return "unknown";
	return kind_names[kind];
}

int qmr_oops_module_is_foreign(const struct qmr_oops_module *module)
{
	return strchr(module->flags, 'O') != NULL;
}

static int has_prefix(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* Copies at most room - 1 bytes of printable ASCII. */
static void copy_text(char *to, size_t room, const char *from, size_t size)
{
	size_t n = 0;

	for (; n < size && n + 1 < room && from[n]; n++)
		to[n] = from[n] >= 0x20 && from[n] < 0x7f ? from[n] : '?';
	while (n && to[n - 1] == ' ')
		n--;
	to[n] = '\0';
}

/* "[   12.345678]": returns what follows, NULL if the line does not begin with a time. */
static const char *skip_time(const char *s, int64_t *ret_ms)
{
	int64_t seconds = 0, fraction = 0;
	int digits = 0;

	if (*s++ != '[')
		return NULL;
	while (*s == ' ')
		s++;
	if (!isdigit((unsigned char)*s))
		return NULL;
	for (; isdigit((unsigned char)*s); s++)
		if (seconds < 100000000000)
			seconds = seconds * 10 + (*s - '0');
	if (*s++ != '.')
		return NULL;
	for (; isdigit((unsigned char)*s); s++)
		if (digits < 3) {
			fraction = fraction * 10 + (*s - '0');
			digits++;
		}
	if (*s++ != ']')
		return NULL;
	while (digits++ < 3)
		fraction *= 10;
	*ret_ms = seconds * 1000 + fraction;
	return s;
}

/* Drops "<4>", the time and the caller id ("[    T1]", "[   C0]"); one space after them is theirs as well. */
static const char *skip_line_prefix(const char *s, int64_t *ret_ms)
{
	const char *rest, *p;

	if (*s == '<' && isdigit((unsigned char)s[1])) {
		for (p = s + 1; isdigit((unsigned char)*p); p++)
			;
		if (*p == '>')
			s = p + 1;
	}
	rest = skip_time(s, ret_ms);
	if (!rest)
		return s;
	s = rest;
	if (*s == '[') {
		for (p = s + 1; *p == ' '; p++)
			;
		if (*p == 'T' || *p == 'C') {
			for (p++; isdigit((unsigned char)*p); p++)
				;
			if (*p == ']')
				s = p + 1;
		}
	}
	return *s == ' ' ? s + 1 : s;
}

static const char *read_hex(const char *s, uint64_t *ret_value)
{
	uint64_t value = 0;
	int digits = 0;

	if (s[0] != '0' || s[1] != 'x')
		return NULL;
	for (s += 2; isxdigit((unsigned char)*s) && digits < 16; s++, digits++)
		value = value << 4 |
			(uint64_t)(isdigit((unsigned char)*s) ? *s - '0' : tolower((unsigned char)*s) - 'a' + 10);
	if (!digits || isxdigit((unsigned char)*s))
		return NULL;
	*ret_value = value;
	return s;
}

static int is_module_char(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '-';
}

/* " [module]" or " [module buildid]" (CONFIG_STACKTRACE_BUILD_ID). */
static int read_module_suffix(const char *s, char ret_module[56])
{
	size_t n = 0;

	while (*s == ' ')
		s++;
	ret_module[0] = '\0';
	if (*s != '[')
		return 1; /* nothing, or words after a symbol: it is in the kernel itself */
	for (s++; is_module_char(s[n]); n++)
		;
	if (!n || n > 55 || (s[n] != ']' && s[n] != ' '))
		return 0;
	memcpy(ret_module, s, n);
	ret_module[n] = '\0';
	return 1;
}

/* "[? ][[<address>] ]function+0x1/0x2[ [module]]" (lib/vsprintf.c, %pB). */
static int read_symbol(const char *s, struct qmr_oops_symbol *ret_symbol)
{
	struct qmr_oops_symbol symbol = {0};
	const char *p;
	size_t n = 0;

	while (*s == ' ')
		s++;
	for (int i = 0; i < 2 && s[0] == '[' && s[1] == '<'; i++) {
		s = strchr(s, ']');
		if (!s)
			return 0;
		for (s++; *s == ' '; s++)
			;
	}
	if (s[0] == '?' && s[1] == ' ') {
		symbol.unreliable = 1;
		for (s += 2; *s == ' '; s++)
			;
	}
	while (isalnum((unsigned char)s[n]) || (s[n] && strchr("_.$@", s[n])))
		n++;
	if (!n || n >= sizeof(symbol.function) || s[n] != '+')
		return 0;
	memcpy(symbol.function, s, n);
	p = read_hex(s + n + 1, &symbol.offset);
	if (!p || *p != '/')
		return 0;
	p = read_hex(p + 1, &symbol.size);
	if (!p || !read_module_suffix(p, symbol.module))
		return 0;
	*ret_symbol = symbol;
	return 1;
}

/* "name(OE)" or "name"; returns what follows, NULL if it is neither. */
static const char *read_module(const char *s, struct qmr_oops_module *ret_module)
{
	struct qmr_oops_module module = {0};
	size_t n = 0, flags = 0;

	while (is_module_char(s[n]))
		n++;
	if (!n || n >= sizeof(module.name))
		return NULL;
	memcpy(module.name, s, n);
	s += n;
	if (*s == '(') {
		for (s++; *s && *s != ')' && *s != ' '; s++)
			if (isalpha((unsigned char)*s) && flags + 1 < sizeof(module.flags))
				module.flags[flags++] = *s;
		if (*s++ != ')')
			return NULL;
	}
	if (*s && *s != ' ')
		return NULL;
	*ret_module = module;
	return s;
}

static void add_module(struct qmr_oops *oops, const struct qmr_oops_module *module)
{
	if (!module->flags[0] || oops->n_modules == QMR_OOPS_MODULES_MAX)
		return;
	for (size_t i = 0; i < oops->n_modules; i++)
		if (!strcmp(oops->modules[i].name, module->name))
			return;
	oops->modules[oops->n_modules++] = *module;
}

/* One line of the list; returns whether the list may go on in the next line (printk cuts long ones). */
static int read_modules(struct qmr_oops *oops, const char *s)
{
	for (;;) {
		struct qmr_oops_module module;

		while (*s == ' ')
			s++;
		if (!*s)
			return 1;
		s = read_module(s, &module);
		if (!s)
			return 0; /* "[last unloaded: x]" */
		add_module(oops, &module);
	}
}

/* A further line of the list: begins with a space and holds nothing but modules. */
static int is_modules_line(const char *s)
{
	if (*s != ' ')
		return 0;
	for (;;) {
		struct qmr_oops_module module;

		while (*s == ' ')
			s++;
		if (!*s || has_prefix(s, "[last unloaded"))
			return 1;
		s = read_module(s, &module);
		if (!s)
			return 0;
	}
}

/* "CPU: 0 PID: 0 Comm: x Tainted: G  OE  6.1.0-40-amd64 #1 ...": dump_stack_print_info(). */
static void read_cpu_line(struct qmr_oops *oops, const char *line)
{
	const char *s = strstr(line, "Not tainted ");
	const char *end;

	if (s) {
		s += strlen("Not tainted ");
	} else {
		s = strstr(line, "Tainted: ");
		if (!s)
			return;
		s += strlen("Tainted: ");
	}
	end = strstr(s, " #");
	if (!end)
		return;
	for (const char *p = end; p > s; p--)
		if (p[-1] == ' ') {
			s = p;
			break;
		}
	if (end > s && isdigit((unsigned char)*s))
		copy_text(oops->kernel, sizeof(oops->kernel), s, (size_t)(end - s));
}

/* "RIP: 0010:f+0x1/0x2 [m]", "EIP: ", "pc : ". Returns whether the line is one; the first of the kernel's is kept. */
static int read_ip_line(struct event *event, const char *line)
{
	const char *s;
	struct qmr_oops_symbol symbol;

	if (has_prefix(line, "RIP: ")) {
		s = line + 5;
		if (has_prefix(s, "0033:") || has_prefix(s, "002b:") || has_prefix(s, "0023:"))
			return 1; /* of the program that made the system call */
		if (isxdigit((unsigned char)s[0]) && isxdigit((unsigned char)s[1]) &&
		    isxdigit((unsigned char)s[2]) && isxdigit((unsigned char)s[3]) && s[4] == ':')
			s += 5;
	} else if (has_prefix(line, "EIP: ") || has_prefix(line, "pc : ")) {
		s = line + 5;
	} else if (has_prefix(line, "PC is at ")) {
		s = line + 9;
	} else {
		return 0;
	}
	if (event->seen_ip || event->in_trace)
		return 1;
	event->seen_ip = 1;
	if (read_symbol(s, &symbol)) {
		symbol.unreliable = 0;
		event->oops.ip = symbol;
	}
	return 1;
}

static const struct start *find_start(const char *line)
{
	const char *s = has_prefix(line, "Oops: ") ? line + 6 : line; /* newer kernels put it before the rest */

	for (size_t i = 0; i < sizeof(starts) / sizeof(*starts); i++) {
		const struct start *start = &starts[i];

		if (!*start->prefix ? has_prefix(line, start->also)
				    : has_prefix(s, start->prefix) && (!start->also || strstr(s, start->also)))
			return start;
	}
	return NULL;
}

static void close_event(struct parser *parser)
{
	struct event *event = &parser->current;
	struct event *slot = &parser->events[parser->class];

	if (!event->used)
		return;
	/* Of warnings the last one counts, of all others the first. */
	if (!slot->used || parser->class == WARNING)
		*slot = *event;
	memset(event, 0, sizeof(*event));
}

static void open_event(struct parser *parser, enum class class, enum qmr_oops_kind kind, const char *line)
{
	struct event *event = &parser->current;

	close_event(parser);
	parser->class = class;
	event->used = event->open = 1;
	event->oops.kind = kind;
	event->oops.uptime_ms = parser->uptime_ms;
	copy_text(event->oops.summary, sizeof(event->oops.summary), line, strlen(line));
}

/* A WARNING line names the place itself; the RIP line, which follows, is the same. */
static void read_warning_place(struct event *event, const char *line)
{
	for (const char *s = strstr(line, " at "); s; s = strchr(s + 1, ' ')) {
		struct qmr_oops_symbol symbol;

		if (!read_symbol(s, &symbol))
			continue;
		event->oops.ip = symbol;
		event->seen_ip = 1;
		return;
	}
}

static int begin_event(struct parser *parser, const char *line)
{
	const struct start *start = find_start(line);
	struct event *event = &parser->current;

	if (!start)
		return 0;
	if (start->class == PANIC)
		parser->panic = 1;
	/* "kernel BUG at" is followed by "invalid opcode", "BUG: unable to" by "Oops:": one event. */
	if (start->class == FAULT && parser->class == FAULT && event->open && !event->seen_ip && !event->in_trace)
		return 1;
	open_event(parser, start->class, start->kind, line);
	if (start->class == WARNING)
		read_warning_place(event, line);
	return 1;
}

static int is_detail(const char *line)
{
	return has_prefix(line, "RIP: ") || has_prefix(line, "pc : ") || has_prefix(line, "Call Trace:") ||
	       has_prefix(line, "Call trace:");
}

/* The lines of an event after its first. */
static void read_detail(struct event *event, const char *line)
{
	struct qmr_oops_symbol symbol;

	if (event->in_modules && is_modules_line(line)) {
		event->in_modules = read_modules(&event->oops, line);
		return;
	}
	event->in_modules = 0;
	if (has_prefix(line, "Modules linked in:")) {
		event->in_modules = read_modules(&event->oops, line + strlen("Modules linked in:"));
	} else if (has_prefix(line, "CPU: ") && !event->oops.kernel[0]) {
		read_cpu_line(&event->oops, line);
	} else if (strstr(line, "ainted") && strstr(line, " #") && !event->oops.kernel[0]) {
		read_cpu_line(&event->oops, line); /* hung tasks: "      Tainted: G  OE  6.1.0 #1" */
	} else if (read_ip_line(event, line)) {
		return;
	} else if (has_prefix(line, "Call Trace:") || has_prefix(line, "Call trace:")) {
		event->in_trace = 1;
	} else if (event->in_trace && event->oops.n_trace < QMR_OOPS_TRACE_MAX && read_symbol(line, &symbol)) {
		event->oops.trace[event->oops.n_trace++] = symbol;
	}
}

static void read_line(struct parser *parser, const char *raw)
{
	const char *line = skip_line_prefix(raw, &parser->uptime_ms);

	if (begin_event(parser, line))
		return;
	if (has_prefix(line, "---[ end ")) {
		parser->current.open = 0;
		close_event(parser);
		/* What follows an end repeats the registers: it opens nothing. */
		parser->class = N_CLASSES;
		return;
	}
	if (!parser->current.open && parser->class != N_CLASSES && is_detail(line))
		open_event(parser, HEADLESS, QMR_OOPS_UNKNOWN, "");
	if (parser->current.open)
		read_detail(&parser->current, line);
}

static int is_lockup_panic(const char *summary)
{
	return strcasestr(summary, "softlockup") || strcasestr(summary, "hard LOCKUP") ||
	       strcasestr(summary, "hung_task") || strcasestr(summary, "RCU Stall");
}

/* Which event of the text is the one to report; the header gives the order. */
static struct event *choose(struct parser *parser)
{
	struct event *e = parser->events;

	if (e[FAULT].used)
		return &e[FAULT];
	if (e[PANIC].used) {
		const char *why = e[PANIC].oops.summary;

		if (e[LOCKUP].used && is_lockup_panic(why))
			return &e[LOCKUP];
		if (e[WARNING].used && strstr(why, "panic_on_warn"))
			return &e[WARNING];
		if (e[HEADLESS].used && strstr(why, "Fatal exception")) {
			memcpy(e[HEADLESS].oops.summary, why, sizeof(e[HEADLESS].oops.summary));
			return &e[HEADLESS];
		}
		return &e[PANIC];
	}
	if (e[LOCKUP].used)
		return &e[LOCKUP];
	if (e[WARNING].used)
		return &e[WARNING];
	return e[HEADLESS].used ? &e[HEADLESS] : NULL;
}

/* What the chosen event lost may stand in another of the same boot: loaded modules and kernel are the same there. */
static void complete(struct parser *parser, struct qmr_oops *oops)
{
	for (int i = 0; i < N_CLASSES; i++) {
		const struct qmr_oops *other = &parser->events[i].oops;

		if (!parser->events[i].used)
			continue;
		if (!oops->n_modules && other->n_modules) {
			memcpy(oops->modules, other->modules, sizeof(oops->modules));
			oops->n_modules = other->n_modules;
		}
		if (!oops->kernel[0])
			memcpy(oops->kernel, other->kernel, sizeof(oops->kernel));
	}
	oops->panic = parser->panic;
}

int qmr_oops_parse(const char *text, size_t size, struct qmr_oops *ret_oops, struct qmr_error *err)
{
	cleanup_free struct parser *parser = calloc(1, sizeof(*parser));
	const char *p = text, *end = text + size;
	struct event *chosen;

	if (!parser)
		return qmr_error_set(err, -ENOMEM, "reading a crash dump: out of memory");
	parser->uptime_ms = -1;
	parser->class = HEADLESS;
	while (p < end) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		size_t length = (size_t)((newline ? newline : end) - p);
		size_t used = length < LINE_MAX_BYTES - 1 ? length : LINE_MAX_BYTES - 1;
		char line[LINE_MAX_BYTES];

		memcpy(line, p, used);
		if (used && line[used - 1] == '\r')
			used--;
		line[used] = '\0';
		for (size_t i = 0; i < used; i++)
			if (!line[i])
				line[i] = '?';
		read_line(parser, line);
		if (!newline)
			break;
		p = newline + 1;
	}
	close_event(parser);
	chosen = choose(parser);
	if (!chosen)
		return qmr_error_set(err, -ENOENT, "no kernel fault found in the text");
	complete(parser, &chosen->oops);
	*ret_oops = chosen->oops;
	return 0;
}
