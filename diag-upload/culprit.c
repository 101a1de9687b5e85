/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "culprit.h"

#include <stdio.h>
#include <string.h>

#include "form.h"

#define SAME_CRASH_S 600 /* an oops and its panic; firmware may need minutes to store the first */

const char *qmr_basis_name(enum qmr_basis basis)
{
	static const char *const names[] = {"none", "taint", "trace", "ip"};

	return (unsigned int)basis < 4 ? names[basis] : "none";
}

static void set(struct qmr_culprit *culprit, enum qmr_basis basis, const char *module, const char *function)
{
	culprit->basis = basis;
	snprintf(culprit->module, sizeof(culprit->module), "%s", module);
	snprintf(culprit->function, sizeof(culprit->function), "%s", function);
}

/* Entries with '?' are leftovers on the stack. They count only where unwinding gave nothing at all. */
static const struct qmr_oops_symbol *topmost_module(const struct qmr_oops *oops)
{
	int unwound = 0;

	for (size_t i = 0; i < oops->n_trace; i++)
		if (!oops->trace[i].unreliable)
			unwound = 1;
	for (size_t i = 0; i < oops->n_trace; i++)
		if (oops->trace[i].module[0] && (!unwound || !oops->trace[i].unreliable))
			return &oops->trace[i];
	return NULL;
}

void qmr_culprit_of_oops(const struct qmr_oops *oops, struct qmr_culprit *ret_culprit)
{
	const struct qmr_oops_symbol *top = topmost_module(oops);
	const struct qmr_oops_module *foreign = NULL;
	unsigned int n_foreign = 0;

	memset(ret_culprit, 0, sizeof(*ret_culprit));
	snprintf(ret_culprit->kernel, sizeof(ret_culprit->kernel), "%s", oops->kernel);
	if (oops->ip.module[0]) {
		set(ret_culprit, QMR_BASIS_IP, oops->ip.module, oops->ip.function);
		return;
	}
	if (top) {
		set(ret_culprit, QMR_BASIS_TRACE, top->module, top->function);
		return;
	}
	for (size_t i = 0; i < oops->n_modules; i++)
		if (qmr_oops_module_is_foreign(&oops->modules[i])) {
			foreign = &oops->modules[i];
			n_foreign++;
		}
	if (n_foreign == 1)
		set(ret_culprit, QMR_BASIS_TAINT, foreign->name, "");
}

int qmr_crash_is_same(const struct qmr_crash *a, const struct qmr_crash *b)
{
	uint64_t s = a->dump->time_unix_s, t = b->dump->time_unix_s;

	return a->oops.uptime_ms >= 0 && a->oops.uptime_ms == b->oops.uptime_ms &&
	       !strcmp(a->oops.summary, b->oops.summary) && (s > t ? s - t : t - s) <= SAME_CRASH_S;
}

static unsigned int count_crashes(const struct qmr_crash *crashes, size_t n, const char *module)
{
	unsigned int count = 0;

	for (size_t i = 0; i < n; i++) {
		struct qmr_culprit culprit;
		int seen = 0;

		qmr_culprit_of_oops(&crashes[i].oops, &culprit);
		if (culprit.basis == QMR_BASIS_NONE || !qmr_form_is_same_module(culprit.module, module))
			continue;
		for (size_t j = 0; j < i; j++)
			seen |= qmr_crash_is_same(&crashes[i], &crashes[j]);
		count += !seen;
	}
	return count;
}

void qmr_culprit_find(const struct qmr_crash *crashes, size_t n, struct qmr_culprit *ret_culprit)
{
	struct qmr_culprit best = {0};

	for (size_t i = 0; i < n; i++) {
		struct qmr_culprit culprit;

		qmr_culprit_of_oops(&crashes[i].oops, &culprit);
		if (culprit.basis > best.basis)
			best = culprit;
	}
	if (best.basis != QMR_BASIS_NONE)
		best.crashes = count_crashes(crashes, n, best.module);
	*ret_culprit = best;
}
