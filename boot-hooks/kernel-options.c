/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel-options.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

#define OPTIONS "options"
#define PANIC "panic="

/* A part of the text that holds words: begin and end are offsets. */
struct span {
	size_t begin, end;
};

static int is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* The next line with words behind *at, which moves on; 0 if there is none. A line's end is not part of it. */
static int next_line(const char *text, enum qmr_options_form form, size_t *at, struct span *ret)
{
	while (text[*at]) {
		size_t begin = *at, end = begin + strcspn(text + begin, "\r\n");

		*at = end + strspn(text + end, "\r\n");
		begin += strspn(text + begin, " \t");
		if (form == QMR_OPTIONS_ENTRY) {
			if (strncmp(text + begin, OPTIONS, strlen(OPTIONS)) || !is_blank(text[begin + strlen(OPTIONS)]))
				continue;
			begin += strlen(OPTIONS);
		} else if (text[begin] == '#' || begin >= end) {
			continue;
		}
		*ret = (struct span){begin, end};
		return 1;
	}
	return 0;
}

/* The next word of the line, which gets shorter by it. lib/cmdline.c of the kernel. 2: a quote is not closed, and has all that follows. */
static int next_word(const char *text, struct span *line, struct span *ret)
{
	int is_quoted = 0;

	while (line->begin < line->end && is_blank(text[line->begin]))
		line->begin++;
	if (line->begin >= line->end)
		return 0;
	ret->begin = line->begin;
	for (; line->begin < line->end && (is_quoted || !is_blank(text[line->begin])); line->begin++)
		is_quoted ^= text[line->begin] == '"';
	ret->end = line->begin;
	return is_quoted ? 2 : 1;
}

static int is_word(const char *text, const struct span *word, const char *is)
{
	return word->end - word->begin == strlen(is) && !strncmp(text + word->begin, is, strlen(is));
}

/* What is found in one go: the panic words, our pair, and the place for a new one. */
struct survey {
	struct qmr_options_panic panic;
	struct span pair;   /* from the mark to the end of our panic= */
	size_t place;       /* where words can be added */
	int has_line, ends; /* there is a line for them; "--" was met, or a quote that is not closed */
};

static void survey(const char *text, enum qmr_options_form form, struct survey *ret)
{
	struct survey s = {.panic.own = -1, .place = strlen(text)};
	struct span line, word, mark = {0};
	size_t at = 0;
	int r;

	while (!s.ends && next_line(text, form, &at, &line)) {
		s.place = line.end;
		s.has_line = 1;
		mark.end = 0;
		while (!s.ends && (r = next_word(text, &line, &word))) {
			int is_panic = !strncmp(text + word.begin, PANIC, strlen(PANIC)) && word.end - word.begin >= strlen(PANIC);

			if (r == 2 || is_word(text, &word, "--")) {
				s.place = word.begin;
				s.ends = 1;
			} else if (is_panic && mark.end && s.panic.own < 0) {
				s.panic.own = atoi(text + word.begin + strlen(PANIC));
				s.pair = (struct span){mark.begin, word.end};
			} else if (is_panic) {
				s.panic.other = 1;
			}
			mark = is_word(text, &word, QMR_OPTIONS_MARK) ? word : (struct span){0};
		}
	}
	*ret = s;
}

void qmr_options_find_panic(const char *text, enum qmr_options_form form, struct qmr_options_panic *ret_panic)
{
	struct survey s;

	survey(text, form, &s);
	*ret_panic = s.panic;
}

static char *replace(const char *text, size_t begin, size_t end, const char *by)
{
	char *result;

	return asprintf(&result, "%.*s%s%s", (int)begin, text, by, text + end) < 0 ? NULL : result;
}

static char *add(const char *text, enum qmr_options_form form, const struct survey *s, int seconds)
{
	char words[64];
	size_t at = s->place;

	if (!s->has_line) {
		snprintf(words, sizeof(words), "%s%s" QMR_OPTIONS_MARK " " PANIC "%d\n", at && text[at - 1] != '\n' ? "\n" : "",
			 form == QMR_OPTIONS_ENTRY ? OPTIONS " " : "", seconds);
		return replace(text, at, at, words);
	}
	if (s->ends) {
		snprintf(words, sizeof(words), QMR_OPTIONS_MARK " " PANIC "%d ", seconds);
		return replace(text, at, at, words);
	}
	while (at && is_blank(text[at - 1]))
		at--;
	snprintf(words, sizeof(words), " " QMR_OPTIONS_MARK " " PANIC "%d", seconds);
	return replace(text, at, at, words);
}

/* With the blank before it; a line that holds nothing else goes too. */
static char *take_back(const char *text, enum qmr_options_form form, const struct span *pair)
{
	size_t begin = pair->begin, end = pair->end, line = begin;

	while (line && text[line - 1] != '\n')
		line--;
	while (begin > line && is_blank(text[begin - 1]))
		begin--;
	if (begin == line && is_blank(text[end])) /* at the front of a line */
		end++;
	if (!text[end] || text[end] == '\n') {
		size_t words = line + (form == QMR_OPTIONS_ENTRY ? strspn(text + line, " \t") + strlen(OPTIONS) : 0);

		if (words == begin)
			return replace(text, line, end + (text[end] == '\n'), "");
	}
	return replace(text, begin, end, "");
}

char *qmr_options_set_panic(const char *text, enum qmr_options_form form, int seconds)
{
	cleanup_free char *old = strdup(text);
	struct survey s;

	survey(text, form, &s);
	while (old && s.panic.own >= 0 && (!seconds || s.panic.other || s.panic.own != seconds)) {
		char *rest = take_back(old, form, &s.pair);

		free(old);
		old = rest;
		if (old)
			survey(old, form, &s);
	}
	if (old && seconds && s.panic.own < 0 && !s.panic.other)
		return add(old, form, &s, seconds);
	text = old;
	old = NULL;
	return (char *)text;
}
